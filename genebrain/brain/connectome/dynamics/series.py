"""Series of people's scans, read when they are asked for: what covariances do not hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.connectome.despiking import despiked, interpolated
from genebrain.common.types import BoolArray, IntArray

Statistic = Callable[[NDArray[np.float64], BoolArray, float], NDArray[np.float64]]
"""Of a series ``[frames, parcels]``, its usable parcels and the seconds between two frames."""


class ReadsScans(Protocol):
    """What this file needs of :class:`genebrain.brain.store.store.ScanStore`."""

    def read(self, scan_key: str) -> NDArray[np.float32]:
        """Series ``[frames, parcels]``."""
        ...

    def valid(self, scan_key: str) -> BoolArray:
        """Usable parcels ``[parcels]``."""
        ...

    def frame_numbers(self, scan_key: str) -> IntArray:
        """Positions of the frames in the recording ``[frames]``."""
        ...


@dataclass(frozen=True)
class PeopleSeries:
    """Series of the scans of some people.

    Attributes
    ----------
    store : ReadsScans
    keys : sequence of sequence of str
        Scans of every person.
    steps : mapping of str to float
        Seconds between two frames by scan.
    usual : float
        Of scans that are not named there; NaN where it is unknown.
    despike : bool
        Whether motion spikes are interpolated.
    known : dict
        Statistics of single scans by scan, of the last label; people who are taken out share it.
    """

    store: ReadsScans
    keys: Sequence[Sequence[str]]
    steps: Mapping[str, float]
    usual: float
    despike: bool = True
    known: dict[Any, dict[str, NDArray[np.float64]]] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def shape(self) -> tuple[int]:
        """Number of people."""
        return (len(self.keys),)

    def __getitem__(self, rows: IntArray | slice) -> PeopleSeries:
        chosen = np.arange(len(self))[rows].tolist()
        return PeopleSeries(
            self.store, [self.keys[row] for row in chosen], self.steps, self.usual, self.despike, self.known
        )

    def joined(self, other: PeopleSeries) -> PeopleSeries:
        """These people, then others of the same store, which was filled with them and opened again since."""
        keys = [*self.keys, *other.keys]
        return PeopleSeries(other.store, keys, {**self.steps, **other.steps}, self.usual, self.despike, self.known)

    def means(self, label: Any, statistic: Statistic) -> NDArray[np.float64]:
        """Mean of a statistic over the scans of each person that tell it, by their frames, ``[people, numbers]``.

        Parameters
        ----------
        label : hashable
            Names the statistic: what was computed of a scan under it is not computed again.
        """
        if label not in self.known:
            self.known.clear()  # of a large cohort one is enough
            self.known[label] = {}
        return np.stack([self._mean(keys, self.known[label], statistic) for keys in self.keys])

    def _mean(
        self, keys: Sequence[str], known: dict[str, NDArray[np.float64]], statistic: Statistic
    ) -> NDArray[np.float64]:
        for key in keys:
            if key not in known:
                series, usable = self.read(key)
                value = statistic(series, usable, self.steps.get(key, self.usual))
                known[key] = np.append(value, len(series)).astype(np.float32)
        rows = np.stack([known[key] for key in keys]).astype(np.float64)
        told = np.isfinite(rows[:, :-1])  # a run that is too short, or lacks a network, takes nothing from the others
        frames = told * rows[:, -1:]
        total = np.where(told, frames * rows[:, :-1], 0).sum(axis=0)
        return np.where(told.any(axis=0), total / np.maximum(frames.sum(axis=0), 1), np.nan)

    def read(self, key: str) -> tuple[NDArray[np.float64], BoolArray]:
        """One series without gaps, demeaned, and its usable parcels."""
        series, numbers = self.store.read(key), np.asarray(self.store.frame_numbers(key))
        y = despiked(series, numbers)[0] if self.despike else np.asarray(series, np.float64)
        whole = np.arange(numbers[0], numbers[-1] + 1)
        if len(whole) > len(numbers):
            y = interpolated(y, numbers, whole)
        return y - y.mean(axis=0), np.asarray(self.store.valid(key), bool)


def series_of(values: Sequence[Any]) -> PeopleSeries:
    """The series among what a feature is given behind the moments.

    Raises
    ------
    ValueError
        There are none.
    """
    if not values or not isinstance(values[-1], PeopleSeries):
        raise ValueError("these features are made of series: give them a ScanSummary, not moments alone")
    return values[-1]
