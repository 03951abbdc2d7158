"""Proof that a split is clean: nobody's family, genome or known relative stands on two sides, sites are
balanced.

Counts only, JSON-ready, no ids. Judges a split however it was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.cohort.participants import Cohort
from genebrain.common.types import IntArray, UserError
from genebrain.common.words import counted


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


def audit_saved(cohort: Cohort, rows: Mapping[str, IntArray], audit: Any, parts: Sequence[str], path: Path) -> None:
    """Audit a split that was read back.

    Parameters
    ----------
    rows : mapping
        Rows of the cohort by side, and of ``left_out``.
    audit : mapping
        What was found when the split was made; a split of the user's own may have been let through then.

    Raises
    ------
    UserError
        Rows that are no people of the cohort, people on two sides or on none, families, genomes or relatives on two
        sides that were not there when the split was made.
    """
    people = np.concatenate([values.reshape(-1) for values in rows.values()])
    n, problems = len(cohort), []
    if strange := int(((people < 0) | (people >= n)).sum()):
        problems.append(f"{strange} rows are no people of this cohort of {n}")
    if twice := int((np.unique(people, return_counts=True)[1] > 1).sum()):
        problems.append(f"{counted(twice, 'person')} on two sides")
    if not problems and len(people) < n:
        problems.append(f"{counted(n - len(people), 'person')} on no side")
    if not problems:
        side = np.full(n, -1, np.int64)
        for code, part in enumerate(parts):
            side[rows[part]] = code
        found = audit_split(cohort, side, parts, pd.Series(["all"] * n, dtype=str))
        before = audit if isinstance(audit, Mapping) else {}
        for what in ("families", "genomes", "pairs"):
            if found[f"{what}_crossing"] > (before.get(f"{what}_crossing") or 0):
                problems.append(f"{found[f'{what}_crossing']} {what} are on two sides")
    if problems:
        raise UserError(
            f"{path} was changed or damaged: {'; '.join(problems)}. Results would be too good, or of other people: "
            "restore it from a copy, or, where the cohort has learned of relatives since, fit again in another folder "
            "(run=)"
        )


def _crossing(labels: IntArray, side: IntArray) -> int:
    """How many labels occur on more than one side."""
    return int((pd.Series(side).groupby(labels).nunique() > 1).sum())


def _chi_square_p(table: IntArray) -> float | None:
    """P of independence of site and side; None when there is one site or one side."""
    table = table[:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return None
    from scipy.stats import chi2_contingency  # takes a second to import

    return float(chi2_contingency(table, correction=False).pvalue)
