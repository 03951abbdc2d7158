"""Memory of a batch of regressions: the form that fits, and the number of columns that would.

Numbers in, numbers out; nothing is allocated.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from genebrain.alignment.closed_form.columns import MOST_OF_A_WINDOW, MOST_OF_AN_ITEM, ColumnSettings
from genebrain.alignment.closed_form.regression_data import Form, Moments, PeopleRows
from genebrain.common.types import UserError


class TooManyColumnsError(UserError):
    """The windows give more gene columns than the memory of this machine holds."""


def memory_budget() -> float:
    """Bytes that a fit may use: half of the memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2


@dataclass(frozen=True)
class Size:
    """Extent of a batch of fits, and the bytes that each form needs at its peak, columns and coefficients included."""

    people: int
    columns: int
    fits: int
    dims: int

    @property
    def of_moments(self) -> int:
        """One table of columns by columns per fit, whole and reduced, and those of their sums or of one reduction."""
        return int(8 * (self._linear * self.columns + self._tables * self.columns**2))

    @property
    def of_rows(self) -> int:
        """The table of people by people, those of one reduction, and one reduced table per fit."""
        return int(8 * (self._linear * self.columns + self._of_people))

    def most_columns(self, budget: float) -> int:
        """Columns of as many people that fit into ``budget`` bytes in one of the forms."""
        left, linear, square = budget / 8, self._linear, self._tables
        of_moments = (np.sqrt(linear**2 + 4 * square * left) - linear) / (2 * square)
        of_rows = (left - self._of_people) / linear
        return int(max(min(of_moments, self.people), of_rows))

    @property
    def _linear(self) -> int:
        # Columns in two precisions and once more while they are made; sums, means and variances of coefficients.
        return 3 * self.people + 6 * self.fits * self.dims

    @property
    def _tables(self) -> float:
        return 1.5 * self.fits + 3  # what is left of a reduction is a triangle

    @property
    def _of_people(self) -> float:
        return (4 + 0.5 * self.fits) * self.people**2 + 3 * self.people * self.fits * self.dims


def form_for(size: Size, budget: float) -> Form:
    """The faster form that fits into ``budget`` bytes; `PeopleRows` also where neither does."""
    fits = size.columns <= size.people and size.of_moments <= budget
    return Moments if fits else PeopleRows


def too_many_columns(size: Size, budget: float, n_windows: int, columns: ColumnSettings) -> str:
    """Both numbers, and the ways down that lead far enough."""
    most = size.most_columns(budget)
    text = (
        f"{size.columns:,} gene columns of {size.people:,} people from {n_windows} windows need "
        f"{size.of_rows / 1e9:.3g} GB, and half of this machine's memory, {budget / 1e9:.3g} GB, holds {max(0, most):,}"
    )
    if most < MOST_OF_A_WINDOW:
        return f"{text}: {size.people:,} people need a machine with more memory"
    if columns.kind == "dosages":
        return f"{text}: use fewer windows, or only the more frequent variants"
    whole = most // MOST_OF_A_WINDOW
    fewer = f"at most {whole} windows" if columns.item_width is None and whole > 1 else "fewer windows"
    if columns.item_width is None or n_windows * MOST_OF_A_WINDOW > most:
        return f"{text}: use {fewer}"
    return (
        f"{text}. pooling.chunk=mean takes a window as a whole, {MOST_OF_A_WINDOW} columns at most, "
        f"{n_windows * MOST_OF_A_WINDOW:,} in all; stored embeddings are used again. Or use {fewer}, or longer chunks "
        f"(genetics.chunk_bp: {MOST_OF_AN_ITEM} columns a chunk at most)"
    )
