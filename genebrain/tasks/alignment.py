"""The verbs of an alignment study: simulate, embed, fit, evaluate, report, ablate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.types import Metrics
from genebrain.common.vectors.kinds import VectorInput
from genebrain.engines.settings import EngineSettings
from genebrain.messages import first_rank
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.sides.scans import BrainSide, EncoderSide
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.simulation.source import Source, path_of
from genebrain.studies.fold_runs import evaluate_folds, fit_folds
from genebrain.tasks.second_cohort import CohortPlace, evaluate_elsewhere, refuse_out

if TYPE_CHECKING:
    from genebrain.sides.workspace import Workspace
else:
    Workspace = Any  # loading it costs seconds; the types of the options can be read without


def simulate(out: Path | str, **settings: Any) -> Path:
    """Write a known-answer cohort; see :func:`genebrain.simulation.cohort.simulate_cohort`. Returns cohort.yaml."""
    from genebrain.simulation.cohort import simulate_cohort

    path = simulate_cohort(Path(out), **settings)
    print(f"wrote {path}")
    return path


def embed(
    cohort: Source,
    genetics: GenomeSide | None = None,
    brain: BrainSide | None = None,
    store: Path | str | None = None,
    shard: str | None = None,
    engine: EngineSettings | None = None,
    split: SplitSettings | None = None,
    seed: int = 0,
) -> Metrics:
    """Fill the store: chunk embeddings, scans, and these through a frozen encoder. What is there is not done again.

    The training people of ``split`` and ``seed`` decide which alleles are rare (``genetics.rare_below``), and so which
    chunks ``fit`` with the same split will read; it reads itself what another split lacks.

    ``shard`` (``3/64``, ``next`` for one free share after the other, ``auto`` for the rank of torchrun or srun) does
    that share of the scans and of the chunks only; a later call without it merges all shares.
    """
    from genebrain.engines.run import using
    from genebrain.engines.share import Waiting
    from genebrain.genetics.store.shares import shard_of_run
    from genebrain.sides.genes.rare import needs_split
    from genebrain.sides.vectors.cohorts import open_cohort
    from genebrain.sides.workspace import Workspace
    from genebrain.tasks.told import embedded_in_words

    share = shard_of_run(shard)
    genetics, brain = genetics or GeneSide(), brain or ConnectomeSide()
    workspace = Workspace(open_cohort(path_of(cohort), genetics, brain), store)
    done: Metrics = {}
    with using(engine, share):
        try:
            done["scans"] = workspace.ingest(brain)
            rows = (split or SplitSettings()).make(workspace.cohort, seed).training if needs_split(genetics) else None
            done["chunks"] = workspace.embed(genetics, share, rows)
            if isinstance(brain, EncoderSide):
                done["scan_embeddings"] = workspace.embed_scans(brain)
        except Waiting as others:
            done["waits_for"] = str(others)
    print(embedded_in_words(done))
    return done


def fit(
    cohort: Source | None = None,
    run: Path | str = "runs/fit",
    seed: int = 0,
    genetics: GenomeSide | None = None,
    brain: BrainSide | None = None,
    pooling: GenePooling | None = None,
    alignment: AlignmentSettings | None = None,
    trainer: TrainerSettings | None = None,
    split: SplitSettings | None = None,
    store: Path | str | None = None,
    workspace: Workspace | None = None,
    progress: bool = True,
    genes: VectorInput | None = None,
    brains: VectorInput | None = None,
    participants: VectorInput | None = None,
    ids: Sequence[str] | None = None,
    engine: EngineSettings | None = None,
    report: bool = False,
) -> Path:
    """Train an alignment and leave it in the run folder. A killed run goes on when called again.

    Parameters
    ----------
    genes, brains : path, array or DataFrame, optional
        Vectors in the place of genotypes and scans: files, arrays ``[people, columns]``, or frames whose index are ids;
        see ``genebrain/tasks/vector_inputs.py``. With both, no ``cohort`` is needed.
    participants, ids : optional
        Table (file or frame) of these people: families, site, ancestry, age, sex; ids of the rows of arrays, without
        which row i of both arrays is one person.
    engine : EngineSettings, optional
        Who reads scans and encodes DNA that the store does not hold yet; the training itself runs here.
    report : bool
        Judge the run and write its page at once, as :func:`evaluate` and :func:`report` do; left to these where several
        processes train.

    Returns
    -------
    Path
        The run folder: ``config.yaml``, ``split.json``, ``checkpoints/``, ``history.csv``, ``provenance.json``.
    """
    if split is not None and split.folds is not None and split.fold is None:
        folder = fit_folds(
            fit, Path(run), split, cohort=cohort, seed=seed, genetics=genetics, brain=brain, pooling=pooling,
            alignment=alignment, trainer=trainer, store=store, workspace=workspace, progress=progress, genes=genes,
            brains=brains, participants=participants, ids=ids,
        )  # fmt: skip
        return _to_the_page(folder, None, progress) if report else folder
    from genebrain.cohort.column_roles import column_roles, roles_in_words, strata_columns
    from genebrain.common.run_folder import refuse_another, refused_leaves_nothing
    from genebrain.engines.run import using
    from genebrain.runs.fit import Experiment, run_fit
    from genebrain.runs.places import kept_places, refuse_another_cohort
    from genebrain.sides.workspace import Workspace
    from genebrain.tasks.vector_inputs import open_sources, sources_of
    from genebrain.training.collectives import world_size

    with refused_leaves_nothing(run):
        given = sources_of(cohort, genetics, brain, genes, brains, participants, Path(run), ids)
        experiment = Experiment(
            given.genetics, given.brain, pooling or GenePooling(), alignment or AlignmentSettings(),
            trainer or TrainerSettings(), split or SplitSettings(), seed,
        )  # fmt: skip
        experiment.check()
        refuse_another(run, asdict(experiment), not_yet_known=["cohort"])  # before files of people are read
        path = path_of(given.cohort)
        workspace = workspace or Workspace(open_sources(path, given), store, progress=progress)
        refuse_another_cohort(Path(run), path, workspace.cohort.fingerprint)
        if progress and first_rank("stdout"):
            people = workspace.cohort
            strata = strata_columns(people.table, people.own.strata)
            print(roles_in_words(column_roles(people.table, strata, people.own.confounds)))
        record = {**kept_places(Path(run), cohort=path, store=workspace.store), "experiment": experiment}
        with using(engine):
            folder = run_fit(experiment, workspace, Path(run), record=record, progress=progress)
    if report and world_size() == 1:
        return _to_the_page(folder, workspace, progress)
    if progress and first_rank("stdout"):
        print(f"fitted {folder}; judge it with: genebrain evaluate run={folder}")
    return folder


def _to_the_page(folder: Path, workspace: Workspace | None, progress: bool) -> Path:
    """Judge a run and write its page; returns its folder."""
    evaluate(folder, workspace=workspace, progress=progress)
    report(folder)
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
    cohort: CohortPlace | Path | str | None = None,
    out: Path | str | None = None,
    store: Path | str | None = None,
    findings: bool = True,
) -> Metrics:
    """Judge a run on people it has not seen, against all comparisons or some; writes ``metrics.json``, ``figures/``.

    ``cohort`` is a second cohort, everybody of which is judged and nothing of which is learned (``out``: folder of its
    metrics); or the cohort of the run, where it has moved. ``split=validation`` judges the closed form fitted on the
    train people alone; see :mod:`genebrain.runs.train_only`.
    """
    from genebrain.cohort.column_roles import roles_in_words
    from genebrain.evaluation.report.comparisons import terminal_table
    from genebrain.evaluation.result_files import result_path
    from genebrain.runs.places import open_stored
    from genebrain.studies.baselines import COMPARISONS
    from genebrain.studies.folds import is_folded
    from genebrain.studies.judged import JudgementSettings
    from genebrain.studies.judgement import judge_run
    from genebrain.training.wandb_log import log_results

    named = tuple(COMPARISONS if comparisons is None else comparisons)
    settings = JudgementSettings(
        split, gallery_size, n_bootstrap, n_permutations,
        strata if isinstance(strata, str) else tuple(strata), named, findings,
    )  # fmt: skip
    if is_folded(Path(run)):
        return evaluate_folds(Path(run), settings, cohort.path if isinstance(cohort, CohortPlace) else cohort, progress)
    opened = open_stored(run, results=False)
    experiment = opened.experiment
    place = cohort.path if isinstance(cohort, CohortPlace) else cohort
    if place is not None:
        metrics = evaluate_elsewhere(Path(run), experiment, Path(place), settings, out, store, progress=progress)
    else:
        refuse_out(out)
        workspace = workspace or opened.workspace(store=store, progress=progress)
        metrics = judge_run(Path(run), experiment, workspace, settings)
        if "wandb" in experiment.trainer.loggers:
            log_results(Path(run), metrics, result_path(Path(run), "figures", split), split)
    if progress:
        print(roles_in_words(metrics["columns"]))
        print(terminal_table(metrics))
        page = f"run={run if place is None or out is None else out}" + ("" if split == "test" else f" split={split}")
        print(f"{metrics['verdict']}\nas a page: genebrain report {page}")
    return metrics


def report(run: Path | str, split: str = "test") -> Path:
    """Write ``report.html`` (of the validation people ``report.validation.html``) from what ``evaluate`` left."""
    from genebrain.evaluation.report.page import write_report

    path = write_report(Path(run), split)
    print(f"wrote {path}")
    return path


def ablate(
    cohort: Source | None,
    ablation: Mapping[str, Any],
    run: Path | str = "runs/ablation",
    seeds: Sequence[int] = (0, 1, 2),
    reference: str | None = None,
    gallery_size: int | None = None,
    genetics: GenomeSide | None = None,
    brain: BrainSide | None = None,
    pooling: GenePooling | None = None,
    alignment: AlignmentSettings | None = None,
    trainer: TrainerSettings | None = None,
    split: SplitSettings | None = None,
    store: Path | str | None = None,
    jobs: int = 2,
    genes: VectorInput | None = None,
    brains: VectorInput | None = None,
    participants: VectorInput | None = None,
    arms: Mapping[str, Any] | Path | str | None = None,
) -> Path:
    """Run every arm (``arms``: one's own) with every seed on the same splits; writes a table and a figure."""
    from genebrain.runs.fit import Experiment
    from genebrain.sides.workspace import Workspace
    from genebrain.studies.ablation import own_arms, run_ablation
    from genebrain.tasks.vector_inputs import open_sources, sources_of

    given = sources_of(cohort, genetics, brain, genes, brains, participants, Path(run))
    base = Experiment(
        given.genetics, given.brain, pooling or GenePooling(), alignment or AlignmentSettings(train="none"),
        trainer or TrainerSettings(), split or SplitSettings(), 0,
    )  # fmt: skip
    workspace = Workspace(open_sources(path_of(given.cohort), given), store)
    return run_ablation(
        workspace, base, dict(ablation["arms"]) if arms is None else own_arms(arms), Path(run), list(seeds),
        reference=reference, gallery_size=gallery_size, jobs=jobs, fit=fit, evaluate=evaluate,
    )  # fmt: skip
