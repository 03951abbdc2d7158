"""The verbs of an alignment study: simulate, check, plan, embed, fit, evaluate, report, ablate, power."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.types import Metrics, UserError
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.sides.scans import BrainSide, EncoderSide
from genebrain.simulation.source import CohortSource

if TYPE_CHECKING:
    from genebrain.sides.workspace import Workspace
else:
    Workspace = Any  # loading it costs seconds; the types of the options can be read without

Source = CohortSource | Path | str


def simulate(out: Path | str, **settings: Any) -> Path:
    """Write a known-answer cohort; see :func:`genebrain.simulation.cohort.simulate_cohort`. Returns cohort.yaml."""
    from genebrain.simulation.cohort import simulate_cohort

    path = simulate_cohort(Path(out), **settings)
    print(f"wrote {path}")
    return path


def check(
    cohort: Source,
    genetics: GeneSide | None = None,
    brain: BrainSide | None = None,
    split: SplitSettings | None = None,
    seed: int = 0,
    most_scans: int | None = 50,
) -> None:
    """Print every problem of a cohort and its funnel; raises UserError when a problem forbids a run."""
    from genebrain.cohort.checks.check import check_cohort

    result = check_cohort(
        _path(cohort),
        most_scans=most_scans,
        progress=True,
        needs_time_step=(brain or ConnectomeSide()).needs_time_step,
        unphased=(genetics or GeneSide()).unphased,
        seed=seed,
        **dataclasses.asdict(split or SplitSettings()),
    )
    print(result.text)
    if not result.ok:
        count = len(result.problems.errors)
        raise UserError(f"{count} problem{'s' * (count > 1)} must be mended before a run (listed above)")


def plan(cohort: Source, genetics: GeneSide | None = None, out: Path | str | None = None) -> Metrics:
    """Predict the encoder's work without running it; optionally writes JSON."""
    from genebrain.cohort.notices import tell
    from genebrain.cohort.participants import load_cohort
    from genebrain.common.run_folder import write_json
    from genebrain.genetics.haplotypes.told import told_genotypes

    people = load_cohort(_path(cohort))
    tell((problem.message for problem in people.warnings), "warning: ")
    predicted = (genetics or GeneSide()).plan(people)
    tell(told_genotypes(predicted["report"]))
    if out is not None:
        write_json(Path(out), predicted)
    print(json.dumps({k: v for k, v in predicted.items() if not isinstance(v, (list, dict))}, indent=1))
    return predicted


def embed(
    cohort: Source,
    genetics: GeneSide | None = None,
    brain: BrainSide | None = None,
    store: Path | str | None = None,
    shard: str | None = None,
) -> Metrics:
    """Fill the store: chunk embeddings, scans, and these through a frozen encoder. What is there is not done again.

    ``shard`` (``3/64``, or ``auto`` for the rank of torchrun or srun) encodes that share of the chunks only; a later
    call without it merges all shares.
    """
    from genebrain.genetics.store.shares import shard_of_run
    from genebrain.sides.workspace import Workspace

    share = shard_of_run(shard)
    workspace, brain = Workspace(_path(cohort), store), brain or ConnectomeSide()
    done = {"scans": workspace.ingest(brain)}
    if isinstance(brain, EncoderSide):
        waits = {"waits_for": "the same command without shard, which merges: shares divide the chunks of DNA only"}
        done["scan_embeddings"] = workspace.embed_scans(brain) if share.count == 1 else waits
    done["chunks"] = workspace.embed(genetics or GeneSide(), share)
    print(json.dumps(done, indent=1))
    return done


def fit(
    cohort: Source,
    run: Path | str = "runs/fit",
    seed: int = 0,
    genetics: GeneSide | None = None,
    brain: BrainSide | None = None,
    pooling: GenePooling | None = None,
    alignment: AlignmentSettings | None = None,
    trainer: TrainerSettings | None = None,
    split: SplitSettings | None = None,
    store: Path | str | None = None,
    workspace: Workspace | None = None,
    progress: bool = True,
) -> Path:
    """Train an alignment and leave it in the run folder. A killed run goes on when called again.

    Returns
    -------
    Path
        The run folder: ``config.yaml``, ``split.json``, ``checkpoints/``, ``history.csv``, ``provenance.json``.
    """
    from genebrain import stored_settings
    from genebrain.cohort.column_roles import column_roles, roles_in_words
    from genebrain.runs.fit import Experiment, run_fit, strata_columns
    from genebrain.sides.workspace import Workspace

    experiment = Experiment(
        genetics or GeneSide(),
        brain or ConnectomeSide(),
        pooling or GenePooling(),
        alignment or AlignmentSettings(),
        trainer or TrainerSettings(),
        split or SplitSettings(),
        seed,
    )
    path = _path(cohort)
    workspace = workspace or Workspace(path, store, progress=progress)
    if progress:
        print(roles_in_words(column_roles(workspace.cohort.table, strata_columns(workspace.cohort))))
    record = {"cohort": path, "store": workspace.store, "experiment": experiment}
    folder = run_fit(
        experiment,
        workspace,
        Path(run),
        on_claim=lambda f: stored_settings.save(record, f / "config.yaml"),
        progress=progress,
    )
    if progress:
        print(f"fitted {folder}; judge it with: genebrain evaluate run={folder}")
    return folder


def evaluate(
    run: Path | str,
    split: str = "test",
    gallery_size: int | None = None,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    strata: str | Sequence[str] = "auto",
    comparisons: Sequence[str] | None = None,
    workspace: Workspace | None = None,
    progress: bool = True,
) -> Metrics:
    """Judge a run on people it has not seen, against all comparisons or some; writes ``metrics.json``, ``figures/``.

    ``split=validation`` judges the closed form fitted on the train people alone; see
    :mod:`genebrain.runs.train_only`.
    """
    from genebrain import stored_settings
    from genebrain.cohort.column_roles import roles_in_words
    from genebrain.sides.workspace import Workspace
    from genebrain.studies.baselines import COMPARISONS
    from genebrain.studies.judgement import JudgementSettings, judge_run

    stored = stored_settings.load(Path(run) / "config.yaml")
    named = tuple(COMPARISONS if comparisons is None else comparisons)
    settings = JudgementSettings(
        split, gallery_size, n_bootstrap, n_permutations,
        strata if isinstance(strata, str) else tuple(strata), named,
    )  # fmt: skip
    workspace = workspace or Workspace(stored["cohort"], stored["store"], progress=progress)
    metrics = judge_run(Path(run), stored["experiment"], workspace, settings)
    if progress:
        print(roles_in_words(metrics["columns"]))
        print(metrics["verdict"])
    return metrics


def report(run: Path | str, split: str = "test") -> Path:
    """Write ``report.html`` (of the validation people ``report.validation.html``) from what ``evaluate`` left."""
    from genebrain.evaluation.report.page import write_report

    path = write_report(Path(run), split)
    print(f"wrote {path}")
    return path


def ablate(
    cohort: Source,
    ablation: Mapping[str, Any],
    run: Path | str = "runs/ablation",
    seeds: Sequence[int] = (0, 1, 2),
    reference: str | None = None,
    gallery_size: int | None = None,
    genetics: GeneSide | None = None,
    brain: BrainSide | None = None,
    pooling: GenePooling | None = None,
    alignment: AlignmentSettings | None = None,
    trainer: TrainerSettings | None = None,
    split: SplitSettings | None = None,
    store: Path | str | None = None,
    jobs: int = 2,
) -> Path:
    """Run every arm with every seed on the same splits; writes ``results.csv``, a table and a figure."""
    from genebrain.runs.fit import Experiment
    from genebrain.sides.workspace import Workspace
    from genebrain.studies.ablation import run_ablation

    base = Experiment(
        genetics or GeneSide(),
        brain or ConnectomeSide(),
        pooling or GenePooling(),
        alignment or AlignmentSettings(train="none"),
        trainer or TrainerSettings(),
        split or SplitSettings(),
        0,
    )
    return run_ablation(
        Workspace(_path(cohort), store), base, dict(ablation["arms"]), Path(run), list(seeds),
        reference=reference, gallery_size=gallery_size, jobs=jobs, fit=fit, evaluate=evaluate,
    )  # fmt: skip


def power(
    n_train: int = 1000,
    n_test: int = 500,
    gallery_size: int | None = None,
    n_columns: int = 200,
    alpha: float = 0.05,
    power: float = 0.8,
    out: Path | str | None = None,
) -> Metrics:
    """Say which effect a cohort of this size can detect."""
    from genebrain.common.run_folder import write_json
    from genebrain.evaluation.power import detectable_effect

    result = detectable_effect(
        n_train=n_train,
        n_test=n_test,
        gene_columns=n_columns,
        gallery_size=gallery_size,
        alpha=alpha,
        power=power,
    )
    if out is not None:
        write_json(Path(out), result)
    print(result["sentence"])
    return result


def _path(cohort: Source) -> Path:
    return cohort.resolve() if isinstance(cohort, CohortSource) else Path(cohort)
