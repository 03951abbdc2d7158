"""Proof that a split is clean: nobody's family, genome or known relative stands on two sides, sites are
balanced.

Counts only, JSON-ready, no ids. Judges a split however it was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency

from genebrain.cohort.participants import Cohort
from genebrain.common.types import IntArray


def audit_split(cohort: Cohort, side: IntArray, parts: Sequence[str], sites: pd.Series[str]) -> dict[str, Any]:
    """Count what crosses between the sides.

    Parameters
    ----------
    cohort : Cohort
    side : int array ``[people]``
        Index into ``parts``, -1 for people on no side.
    parts : sequence of str
        Names of the sides.
    sites : Series ``[people]``
        Site labels.

    Returns
    -------
    dict
        ``sizes`` and ``left_out``; ``families_crossing``, ``genomes_crossing``, ``pairs_crossing`` (all must
        be 0), ``pairs_checked`` and ``relatedness_known``; ``largest_family``; ``site_table`` (people per
        site and side) with ``site_chi_square_p`` (small: sites are unequal over the sides).
    """
    placed = side >= 0
    pairs = cohort.pairs
    first, second = side[pairs.first], side[pairs.second]
    both_placed = (first >= 0) & (second >= 0)
    families = cohort.table["family"].to_numpy()
    table = pd.crosstab(sites[placed].to_numpy(), np.array(parts)[side[placed]])
    table = table.reindex(columns=list(parts), fill_value=0)
    return {
        "sizes": {part: int((side == code).sum()) for code, part in enumerate(parts)},
        "left_out": int((~placed).sum()),
        "families_crossing": _crossing(families[placed], side[placed]),
        "genomes_crossing": _crossing(cohort.table["genome"].to_numpy()[placed], side[placed]),
        "pairs_crossing": int((both_placed & (first != second)).sum()),
        "pairs_checked": int(both_placed.sum()),
        "relatedness_known": list(cohort.relatedness),
        "largest_family": int(np.bincount(families).max()),
        "site_table": {str(site): {part: int(row[part]) for part in parts} for site, row in table.iterrows()},
        "site_chi_square_p": _chi_square_p(table.to_numpy()),
    }


def _crossing(labels: IntArray, side: IntArray) -> int:
    """How many labels occur on more than one side."""
    return int((pd.Series(side).groupby(labels).nunique() > 1).sum())


def _chi_square_p(table: IntArray) -> float | None:
    """P of independence of site and side; None when there is one site or one side."""
    table = table[:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return None
    return float(chi2_contingency(table, correction=False).pvalue)
