"""Verbs to ask before the work: what is wrong with a cohort, what it will cost, and which effect it can show."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.types import Metrics, UserError
from genebrain.common.vectors.kinds import VectorInput
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.scans import BrainSide
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.simulation.source import Source, path_of
from genebrain.tasks.second_cohort import CohortPlace


def check(
    cohort: Source,
    genetics: GenomeSide | None = None,
    brain: BrainSide | None = None,
    split: SplitSettings | None = None,
    seed: int = 0,
    most_scans: int | None = 50,
    genes: VectorInput | None = None,
    brains: VectorInput | None = None,
    participants: VectorInput | None = None,
) -> None:
    """Print every problem of a cohort and its funnel; raises UserError when a problem forbids a run."""
    from genebrain.cohort.checks.check import check_cohort
    from genebrain.sides.vectors.cohorts import vector_files
    from genebrain.tasks.vector_inputs import sources_of

    with TemporaryDirectory() as folder:
        given = sources_of(cohort, genetics, brain, genes, brains, participants, Path(folder))
        result = check_cohort(
            path_of(given.cohort),
            most_scans=most_scans,
            progress=True,
            needs_time_step=given.brain.needs_time_step,
            unphased=given.genetics.unphased,
            seed=seed,
            vectors=vector_files(given.genetics, given.brain),
            **(split or SplitSettings()).arguments(),
        )
    print(result.text)
    if not result.ok:
        count = len(result.problems.errors)
        raise UserError(f"{count} problem{'s' * (count > 1)} must be mended before a run (listed above)")


def plan(
    cohort: Source,
    genetics: GenomeSide | None = None,
    brain: BrainSide | None = None,
    workers: int | None = None,
    out: Path | str | None = None,
) -> Metrics:
    """Predict the work of every stage without doing it: time here and on ``workers`` cores, disk; ``out`` is JSON.

    Small cohorts are counted, of large ones some windows and people are looked at; scans and encoder are tried for
    seconds.
    """
    from genebrain.cohort.notices import tell
    from genebrain.cohort.participants import load_cohort
    from genebrain.common.run_folder import write_json
    from genebrain.genetics.haplotypes.told import told_genotypes
    from genebrain.studies.costs.plan import plan_costs
    from genebrain.studies.costs.stages import table

    if workers is not None and workers < 1:
        raise UserError(f"workers={workers}: at least 1 is wanted")
    people = load_cohort(path_of(cohort))
    tell((problem.message for problem in people.warnings), "warning: ")
    predicted, costs = plan_costs(people, genetics or GeneSide(), brain or ConnectomeSide(), workers=workers)
    if "report" in predicted and "sampled" not in predicted:
        tell(told_genotypes(predicted["report"]))
    predicted["costs"] = costs
    if out is not None:
        write_json(Path(out), predicted)
    if "chunks_unique" in predicted:
        print(
            f"chunks of DNA: {predicted['chunks_naive']:,}, of which {predicted['chunks_unique']:,} are distinct "
            f"({predicted['saving']:.0f} times less work); tokens to read: {predicted['encoder_tokens']:,}\n"
        )
    print(table(costs))
    return predicted


def power(
    n_train: int | None = None,
    n_test: int | None = None,
    gallery_size: int | None = None,
    n_columns: int = 200,
    alpha: float = 0.05,
    power: float = 0.8,
    out: Path | str | None = None,
    cohort: CohortPlace | Path | str | None = None,
) -> Metrics:
    """Say which effect a cohort of this size can detect; the default split of ``cohort`` gives the two numbers."""
    from genebrain.common.run_folder import write_json
    from genebrain.evaluation.power import detectable_effect

    place = cohort.path if isinstance(cohort, CohortPlace) else cohort
    counts = (1000, 500) if place is None else _sizes(Path(place))
    result = detectable_effect(
        n_train=counts[0] if n_train is None else n_train,
        n_test=counts[1] if n_test is None else n_test,
        gene_columns=n_columns,
        gallery_size=gallery_size,
        alpha=alpha,
        power=power,
    )
    if out is not None:
        write_json(Path(out), result)
    print(result["sentence"])
    return result


def _sizes(path: Path) -> tuple[int, int]:
    """People who are learned from and judged in the default split of a cohort."""
    from genebrain.cohort.participants import load_cohort
    from genebrain.cohort.splits.settings import SplitSettings

    split = SplitSettings().make(load_cohort(path), 0)
    return len(split.training), len(split.test)
