"""Lag-0 and lag-1 moments of parcel series: all that the connectome features need to know of a scan.

A series ``[frames, parcels]`` goes in, two matrices ``[parcels, parcels]`` come out; a cohort goes through one scan
at a time, so memory is bounded by the moments and not by the scans.

A parcel that a scan does not have (lost in resampling, constant, not finite) is a row and a column of zeros: the
zero diagonal *is* the validity mask, and everything downstream reads it from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genebrain.brain.connectome.dynamics.series import PeopleSeries
from genebrain.common.types import BoolArray, FloatArray, IntArray

Float32 = NDArray[np.float32]


class Moments(NamedTuple):
    """Moments of ``n`` subjects; ``feature.fit(*moments)`` and ``feature.transform(*moments)`` take it.

    Attributes
    ----------
    C0
        float32 [n, P, P]: covariance over all frames (divided by their number).
    C1
        float32 [n, P, P]: ``mean_t y_t y_{t-1}'`` over the pairs of consecutive frames.
    edges
        float32 [n, 2, r, P]: the frames without a predecessor (0) and without a successor (1), divided by the
        root of the number of pairs. They turn ``C0`` into the exact covariance of all frames that have a
        predecessor (or a successor): see :func:`genebrain.brain.connectome.features.innovation_covariance`.
        ``r`` is the number of unbroken runs of frames, padded with zeros.
    frames
        int64 [n, 2]: number of frames and number of consecutive pairs.
    """

    C0: Float32
    C1: Float32
    edges: Float32
    frames: NDArray[np.int64]


def scan_moments(series: FloatArray, valid: BoolArray | None = None, frame_numbers: IntArray | None = None) -> Moments:
    """Lag-0 and lag-1 covariance of one scan, demeaned and divided by ONE scalar rms, with its edge frames.

    Parcels are not z-scored: their relative variances carry information about the person, the unit of the
    scanner does not.

    Parameters
    ----------
    series
        [frames, parcels], any unit. Computed in float64.
    valid
        bool [parcels]; invalid parcels get rows and columns of zeros. Default: all.
    frame_numbers
        int [frames], increasing: where the frames stood in the recording. A pair of neighbours counts for
        lag 1 only when the numbers differ by one, so nothing is correlated across a scrubbed gap.

    Returns
    -------
    Moments
        With ``n = 1``; ``C1[0, i, j]`` is the mean of ``y_i(t) y_j(t-1)``. The mean diagonal of ``C0`` over valid
        parcels is 1.

    Raises
    ------
    ValueError
        Fewer than 3 frames, no consecutive frames, no variance, or values that are not finite.
    """
    series = np.asarray(series)
    if series.ndim != 2 or len(series) < 3:
        raise ValueError(f"series must be [frames >= 3, parcels], got shape {series.shape}")
    usable = np.ones(series.shape[1], bool) if valid is None else np.asarray(valid, bool)
    y = np.where(usable, series, 0.0).astype(np.float64)
    if not np.isfinite(y).all():
        columns = np.flatnonzero(~np.isfinite(y).all(axis=0))
        raise ValueError(f"{len(columns)} parcels are not finite (columns {columns[:5]}...): mask them as invalid")
    y -= y.mean(axis=0)
    y[:, ~usable] = 0.0
    power = float(np.mean(np.square(y[:, usable]))) if usable.any() else 0.0
    if power <= 0:
        raise ValueError("the scan has no variance in any valid parcel")
    y /= np.sqrt(power)

    follows = np.ones(len(y) - 1, bool)
    if frame_numbers is not None:
        follows = np.diff(np.asarray(frame_numbers)) == 1
    pairs = int(follows.sum())
    if pairs == 0:
        raise ValueError(f"no two of the {len(y)} frames are consecutive: lag-1 moments do not exist")
    C0 = y.T @ y / len(y)
    C1 = (y[1:] * follows[:, None]).T @ y[:-1] / pairs
    first = y[np.concatenate([[True], ~follows])]
    last = y[np.concatenate([~follows, [True]])]
    edges = np.stack([first, last]) / np.sqrt(pairs)
    return Moments(
        C0[None].astype(np.float32),
        C1[None].astype(np.float32),
        edges[None].astype(np.float32),
        np.array([[len(y), pairs]]),
    )


def subject_moments(scans: Sequence[Moments]) -> Moments:
    """Pool the scans of ONE person: moments are averaged with the numbers of frames as weights.

    Every scan keeps its own mean and its own rms, and no pair of frames crosses from one scan into the next.

    Raises
    ------
    ValueError
        No scan, or scans with different numbers of parcels.
    """
    if not scans:
        raise ValueError("a subject needs at least one scan")
    widths = {scan.C0.shape[-1] for scan in scans}
    if len(widths) > 1:
        raise ValueError(f"scans of one person have different numbers of parcels: {sorted(widths)}")
    frames = np.concatenate([scan.frames for scan in scans])
    weights = frames / frames.sum(axis=0)
    # A parcel counts as valid only where every scan has it; otherwise its covariances would mix scans.
    shared = np.all([np.diagonal(scan.C0[0]) > 0 for scan in scans], axis=0)
    C0 = sum(w * scan.C0.astype(np.float64) for w, scan in zip(weights[:, 0], scans, strict=True))
    C1 = sum(w * scan.C1.astype(np.float64) for w, scan in zip(weights[:, 1], scans, strict=True))
    edges = np.concatenate([np.sqrt(w) * scan.edges for w, scan in zip(weights[:, 1], scans, strict=True)], axis=2)
    both = np.outer(shared, shared)
    return Moments(
        (np.asarray(C0) * both).astype(np.float32),
        (np.asarray(C1) * both).astype(np.float32),
        (edges * shared).astype(np.float32),
        frames.sum(axis=0, keepdims=True),
    )


def stack_moments(subjects: Iterable[Moments], n: int) -> Moments:
    """Collect ``n`` one-subject moments into one :class:`Moments`, padding ``edges`` with zero rows.

    Takes an iterable and writes into arrays made once, so that a cohort is never held twice. It is gone through with
    one thread of BLAS: tables of one scan are small, and on a busy machine threads wait ten times as long as they work.
    """
    C0 = C1 = None
    edges: list[Float32] = []
    frames = np.zeros((n, 2), np.int64)
    with threadpool_limits(1, user_api="blas"):
        for row, one in enumerate(subjects):
            if C0 is None or C1 is None:
                P = one.C0.shape[-1]
                C0, C1 = np.empty((n, P, P), np.float32), np.empty((n, P, P), np.float32)
            C0[row], C1[row], frames[row] = one.C0[0], one.C1[0], one.frames[0]
            edges.append(one.edges[0])
    if C0 is None or C1 is None or len(edges) != n:
        raise ValueError(f"{n} subjects announced, {len(edges)} given")
    padded = np.zeros((n, 2, max(e.shape[1] for e in edges), C0.shape[-1]), np.float32)
    for row, e in enumerate(edges):
        padded[row, :, : e.shape[1]] = e
    return Moments(C0, C1, padded, frames)


class ScanSummary(NamedTuple):
    """:class:`Moments` of ``n`` people together with what further features need of their scans.

    Attributes
    ----------
    C0, C1, edges, frames
        As in :class:`Moments`.
    powers
        float32 [n, bands, P], see :func:`~genebrain.brain.connectome.band_powers.band_powers`; zeros where the time
        step of a scan is unknown.
    seconds
        float64 [n]: length of all scans of a person.
    series
        The scans themselves, read when they are asked for.
    """

    C0: Float32
    C1: Float32
    edges: Float32
    frames: NDArray[np.int64]
    powers: Float32
    seconds: NDArray[np.float64]
    series: PeopleSeries

    @property
    def moments(self) -> Moments:
        """The moments alone."""
        return Moments(self.C0, self.C1, self.edges, self.frames)
