"""Lag moments of a cohort from a scan store, one scan in memory at a time.

One subject per entry, several scans of a person pooled: ``[n, P, P]`` matrices (80 parcels: 51 kB a person; 424: 1.4
MB).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from genebrain.brain.connectome.band_powers import N_BANDS, band_powers
from genebrain.brain.connectome.base import needed
from genebrain.brain.connectome.despiking import despiked
from genebrain.brain.connectome.dynamics.series import PeopleSeries
from genebrain.brain.connectome.moments import (
    Float32,
    Moments,
    ScanSummary,
    scan_moments,
    stack_moments,
    subject_moments,
)
from genebrain.common.types import BoolArray, IntArray
from genebrain.common.words import no_bar
from genebrain.engines.run import current

Keys = Sequence[str | Sequence[str]]
"""One entry per subject: a scan key, or all the keys of that subject."""


USUAL_TR = 0.735
"""Seconds between two frames where no scan of a cohort states them: then only their order counts."""


AT_A_TIME = 500
"""People whose moments are held together where there are very many."""
BLOCKS_OF_A_WORKER = 4
"""Blocks of so many people that a process of its own must have to do, at least: it needs seconds to start."""


class ReadsScans(Protocol):
    """What this file needs of :class:`genebrain.brain.store.store.ScanStore`."""

    def read(self, scan_key: str, t0: int | None = None, t1: int | None = None) -> Float32:
        """Series [frames, parcels]."""
        ...

    def valid(self, scan_key: str) -> BoolArray:
        """Usable parcels [parcels]."""
        ...

    def frame_numbers(self, scan_key: str) -> NDArray[np.int64]:
        """Positions of the frames in the recording [frames]."""
        ...

    def only(self, scan_keys: Iterable[str]) -> ReadsScans:
        """With these scans alone, for another process."""
        ...


def moments_from_store(store: ReadsScans, keys: Keys, *, progress: bool = False) -> Moments:
    """Moments of the subjects in the order of ``keys``, float32 ``[n, P, P]``.

    Lag-1 pairs never cross a dropped frame, nor two scans of one person.
    """
    return stack_moments(_subjects(store, keys, progress), len(keys))


def summaries_from_store(
    store: ReadsScans,
    keys: Keys,
    steps: Mapping[str, float],
    *,
    despike: bool = True,
    powers: bool = True,
    progress: bool = False,
) -> ScanSummary:
    """Moments and band powers of the subjects in the order of ``keys``; each scan is read once.

    Parameters
    ----------
    steps : mapping
        Seconds between two frames by scan key; scans that are not named, or with NaN, have unknown ones. Where no scan
        of the cohort is named, all are taken to have the same (:data:`USUAL_TR`).
    despike : bool
        Interpolate motion spikes (:mod:`genebrain.brain.connectome.despiking`) before anything is computed.
    powers : bool
        Whether band powers are wanted; zeros without.
    """
    known = {key: tr for key, tr in steps.items() if tr > 0}
    pooled: list[Float32] = []
    seconds = np.zeros(len(keys))

    def subjects() -> Iterator[Moments]:
        for row, entry in enumerate(tqdm(keys, desc="scans", unit="subject", disable=no_bar(progress))):
            moments, bands, lengths = [], [], []
            for key in [entry] if isinstance(entry, str) else entry:
                series, valid, numbers = store.read(key), store.valid(key), store.frame_numbers(key)
                y = despiked(series, numbers)[0] if despike else series
                moments.append(scan_moments(y, valid, numbers))
                tr = known.get(key, np.nan) if known else USUAL_TR
                lengths.append(len(y) * tr)
                if powers and np.isfinite(tr):
                    bands.append(band_powers(y, tr, valid, numbers))
            pooled.append(_pooled_powers(bands, [length for length in lengths if np.isfinite(length)], y.shape[1]))
            seconds[row] = np.nansum(lengths)
            yield subject_moments(moments)

    stacked = stack_moments(subjects(), len(keys))
    each = [[entry] if isinstance(entry, str) else list(entry) for entry in keys]
    series = PeopleSeries(store, each, known, np.nan if known else USUAL_TR, despike)
    return ScanSummary(*stacked, np.stack(pooled), seconds, series)


@dataclass(frozen=True)
class ManyScans:
    """Scans of so many people that their moments are never held together: features are made some people at a time.

    Attributes
    ----------
    store : ReadsScans
    keys : sequence of sequence of str
        Scans of every person.
    steps, despike, progress
        As in :func:`summaries_from_store`.
    """

    store: ReadsScans
    keys: Sequence[Sequence[str]]
    steps: Mapping[str, float]
    despike: bool = True
    progress: bool = False
    _last: dict[bytes, ScanSummary] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.keys)

    def summary(self, rows: IntArray) -> ScanSummary:
        """What :func:`summaries_from_store` gives of some people, kept until others are asked for."""
        if rows.tobytes() not in self._last:
            self._last.clear()
            self._last[rows.tobytes()] = self._summary(rows.tolist(), progress=self.progress)
        return self._last[rows.tobytes()]

    def transform(self, features: Mapping[str, Any], rows: IntArray | None = None) -> dict[str, Float32]:
        """Values by feature, ``[people, columns]``; NaN of people who are not among ``rows`` (None: everybody)."""
        self._last.clear()
        powers = any(getattr(feature, "powers_needed", True) for feature in features.values())
        found: dict[str, Float32] = {}
        people = np.arange(len(self)) if rows is None else rows
        known = all(type(one).__module__.startswith("genebrain.") for one in features.values())
        for some, parts in self.each(people, partial(_values, features), powers=powers, alone=not known):
            for name, values in parts.items():
                if name not in found:
                    found[name] = np.full((len(self), values.shape[1]), np.nan, np.float32)
                found[name][some] = values
        return found

    def covariances(self, rows: IntArray) -> Iterator[tuple[IntArray, Float32]]:
        """Covariances of some of these people after the others ``[some, P, P]``, and who they are."""
        return self.each(rows, _covariances)

    def each(
        self, rows: IntArray, work: Callable[[ScanSummary], Any], *, powers: bool = False, alone: bool = False
    ) -> Iterator[tuple[IntArray, Any]]:
        """Who some of these people are after the others, and what ``work`` makes of their summary.

        By the processes of the engine, unless it must stay in this one (``alone``: others do not know a plugin).
        """
        blocks = [rows[start : start + AT_A_TIME] for start in range(0, len(rows), AT_A_TIME)]
        workers = min(current().settings.workers, len(blocks) // BLOCKS_OF_A_WORKER)
        if workers < 2 or alone:
            made = (work(self._summary(block.tolist(), powers=powers)) for block in blocks)
        else:
            from joblib import Parallel, delayed

            asked = ([self.keys[row] for row in block.tolist()] for block in blocks)
            made = Parallel(workers, return_as="generator")(
                delayed(_worked)(
                    work, self.store.only(chain.from_iterable(keys)), keys, self.steps, self.despike, powers
                )
                for keys in asked
            )
        shown = tqdm(blocks, desc="scans", unit=f"{AT_A_TIME} people", disable=no_bar(self.progress))
        yield from zip(shown, made, strict=True)

    def _summary(self, rows: Sequence[int], **asked: bool) -> ScanSummary:
        keys = [self.keys[row] for row in rows]
        return summaries_from_store(self.store, keys, self.steps, despike=self.despike, **asked)


def _worked(
    work: Callable[[ScanSummary], Any], store: ReadsScans, keys: Keys, steps: Mapping[str, float], *asked: bool
) -> Any:
    """The work of :meth:`ManyScans.each` in a process of its own."""
    despike, powers = asked
    return work(summaries_from_store(store, keys, steps, despike=despike, powers=powers))


def _values(features: Mapping[str, Any], summary: ScanSummary) -> dict[str, Float32]:
    with threadpool_limits(1, user_api="blas"):
        return {name: feature.transform(*needed(feature, summary)) for name, feature in features.items()}


def _covariances(summary: ScanSummary) -> Float32:
    return summary.C0


def values_of(features: Mapping[str, Any], inputs: Any, rows: IntArray | None = None) -> dict[str, Any]:
    """Values of everybody by feature, from what a side reads of their scans.

    Of very many people only those of ``rows`` where these are named; the values of the others are NaN.
    """
    if isinstance(inputs, ManyScans):
        return inputs.transform(features, rows)
    return {name: feature.transform(*needed(feature, inputs)) for name, feature in features.items()}


def _pooled_powers(bands: list[Float32], seconds: list[float], n_parcels: int) -> Float32:
    """Powers of one person: the mean over the scans that reach a band, by their length; only parcels that all have."""
    if not bands:
        return np.zeros((N_BANDS, n_parcels), np.float32)
    if len(bands) == 1:
        return bands[0]
    every, weight = np.stack(bands).astype(np.float64), np.array(seconds)[:, None]
    reached = (every > 0).any(axis=2) * weight
    pooled = np.einsum("sb,sbp->bp", reached, every) / np.maximum(reached.sum(axis=0), 1e-300)[:, None]
    return (pooled * (every > 0).any(axis=1).all(axis=0)).astype(np.float32)


def _subjects(store: ReadsScans, keys: Keys, progress: bool = False) -> Iterator[Moments]:
    for entry in tqdm(keys, desc="moments", unit="subject", disable=no_bar(progress)):
        scans = [entry] if isinstance(entry, str) else entry
        yield subject_moments(
            [scan_moments(store.read(key), store.valid(key), store.frame_numbers(key)) for key in scans]
        )
