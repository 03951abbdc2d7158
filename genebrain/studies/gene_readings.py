"""Readings of the genes that a model stacks: what each set of columns reaches, and its weight."""

from __future__ import annotations

from genebrain.alignment.closed_form.fit import ClosedForm
from genebrain.common.types import Metrics


def gene_readings(closed: ClosedForm) -> Metrics | None:
    """Sets of gene columns with what they reach in cross-validation, best prior of each; None where there is one set.

    Returns
    -------
    dict
        ``stack`` and ``alone`` (by family): recall@1 in cross-validation; ``sets``: per set its ``columns``,
        ``family``, best ``mode``, ``recall@1`` of that alone, ``weight`` of all its priors in the stack.
    """
    genes = closed.chosen.get("genes")
    if not genes:
        return None
    sets: dict[str, Metrics] = {}
    for row in genes["members"]:
        own = sets.setdefault(row["columns"], {**row, "weight": 0.0})
        weight = own["weight"] + row["weight"]
        if row["recall@1"] > own["recall@1"]:
            own.update(row)
        own["weight"] = weight
    return {
        "stack": closed.chosen["recall@1"],
        "alone": dict(genes["alone"]),
        "sets": list(sets.values()),
    }
