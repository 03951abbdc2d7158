"""Verbs to ask before the work: what it will cost, and which effect it can show."""

from __future__ import annotations

import json
from pathlib import Path

from genebrain.common.types import Metrics, UserError
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.scans import BrainSide
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.simulation.source import CohortSource

Source = CohortSource | Path | str


def plan(
    cohort: Source,
    genetics: GenomeSide | None = None,
    brain: BrainSide | None = None,
    workers: int | None = None,
    out: Path | str | None = None,
) -> Metrics:
    """Predict the work of every stage without doing it: time here and on ``workers`` cores, disk; may write JSON.

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
    people = load_cohort(cohort.resolve() if isinstance(cohort, CohortSource) else Path(cohort))
    tell((problem.message for problem in people.warnings), "warning: ")
    predicted, costs = plan_costs(people, genetics or GeneSide(), brain or ConnectomeSide(), workers=workers)
    if "report" in predicted and "sampled" not in predicted:
        tell(told_genotypes(predicted["report"]))
    predicted["costs"] = costs
    if out is not None:
        write_json(Path(out), predicted)
    print(json.dumps({k: v for k, v in predicted.items() if not isinstance(v, (list, dict))}, indent=1))
    print(table(costs))
    return predicted


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
