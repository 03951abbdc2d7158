"""Verbs to ask before the work: what it will cost, and which effect it can show."""

from __future__ import annotations

import json
from pathlib import Path

from genebrain.common.types import Metrics
from genebrain.sides.genome import GeneSide
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.simulation.source import CohortSource

Source = CohortSource | Path | str


def plan(cohort: Source, genetics: GenomeSide | None = None, out: Path | str | None = None) -> Metrics:
    """Predict the encoder's work without running it; optionally writes JSON."""
    from genebrain.cohort.notices import tell
    from genebrain.cohort.participants import load_cohort
    from genebrain.common.run_folder import write_json
    from genebrain.genetics.haplotypes.told import told_genotypes

    people = load_cohort(cohort.resolve() if isinstance(cohort, CohortSource) else Path(cohort))
    tell((problem.message for problem in people.warnings), "warning: ")
    predicted = (genetics or GeneSide()).plan(people)
    tell(told_genotypes(predicted["report"]))
    if out is not None:
        write_json(Path(out), predicted)
    print(json.dumps({k: v for k, v in predicted.items() if not isinstance(v, (list, dict))}, indent=1))
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
