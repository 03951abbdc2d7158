"""Small-cell rule of cohort agreements, with complementary suppression.

Counts in, what may stand in a figure or report out. Files that stay with the data (``metrics.json``) keep the exact
numbers.
"""

from __future__ import annotations

from genebrain.common.types import Metrics

MIN_CELL = 10
"""Fewest people that a displayed group may have."""


def shown_count(count: int, min_cell: int = MIN_CELL) -> str:
    """The count as it may be displayed: exact, or "fewer than ..." for a small group."""
    return f"fewer than {min_cell}" if 0 < count < min_cell else f"{count:,}"


def shown_strata(within: Metrics | None, min_cell: int = MIN_CELL) -> list[Metrics]:
    """Strata of ``metrics["within_stratum"]["per_stratum"]`` that may be displayed, largest first.

    Strata under ``min_cell`` people are hidden. When the hidden people (left-out ones included) are fewer
    than ``min_cell``, or a single small stratum is hidden, its size would follow from the total; then the
    smallest of the others is hidden with it.
    """
    if not within:
        return []
    table = sorted(within.get("per_stratum") or [], key=lambda one: -one["n"])
    shown = [one for one in table if one["n"] >= min_cell]
    small = [one["n"] for one in table[len(shown) :]]
    left_out = within.get("left_out") or {"subjects": 0, "strata": 0}
    people = sum(small) + left_out["subjects"]
    alone = len(small) + left_out["strata"] == 1 and len(small) == 1
    return shown[:-1] if 0 < people < min_cell or alone else shown
