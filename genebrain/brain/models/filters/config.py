"""Sizes of a bank of temporal filters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FilterBankConfig:
    """Sizes of the bank.

    Attributes
    ----------
    n_parcels : int
    filters : int
    length : int
        Frames of a filter.
    """

    n_parcels: int
    filters: int = 8
    length: int = 13

    @property
    def frame_lengths(self) -> range:
        """Windows that it takes: at least four lengths of a filter."""
        return range(4 * self.length, 1 << 31)
