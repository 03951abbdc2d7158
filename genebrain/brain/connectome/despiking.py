"""Interpolation of motion spikes that a series shows by itself, without confounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import BoolArray, FloatArray, IntArray

LIMIT = 4.0
"""Robust standard deviations above the median at which a step is a spike."""
ROBUST = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
MOST = 0.5
"""Share of the frames: a scan of which so much is flagged is left as it is."""


def spiked_frames(series: FloatArray, frame_numbers: IntArray | None = None) -> BoolArray:
    """Both frames of every step that is far larger than this scan's usual ones, bool ``[frames]``.

    Parameters
    ----------
    series : float ``[frames, parcels]``
    frame_numbers : int ``[frames]``, optional
        Where the frames stood in the recording; a step over a gap is none.
    """
    steps = np.sqrt(np.mean(np.square(np.diff(np.asarray(series, np.float64), axis=0)), axis=1))
    follows = np.ones(len(steps), bool) if frame_numbers is None else np.diff(np.asarray(frame_numbers)) == 1
    flagged = np.zeros(len(series), bool)
    if follows.sum() < 3:
        return flagged
    median = np.median(steps[follows])
    spread = ROBUST * np.median(np.abs(steps[follows] - median))
    # Steps that are all alike have no usual size of their differences.
    large = follows & (steps > median + LIMIT * spread) if spread > 0 else np.zeros_like(follows)
    flagged[1:] |= large
    flagged[:-1] |= large
    return flagged if flagged.sum() < MOST * len(series) else np.zeros_like(flagged)


def despiked(series: FloatArray, frame_numbers: IntArray | None = None) -> tuple[NDArray[np.float64], int]:
    """The series with spiked frames interpolated linearly between their neighbours, and how many these are.

    Parameters
    ----------
    series, frame_numbers
        See :func:`spiked_frames`.
    """
    y = np.array(series, np.float64)
    flagged = spiked_frames(y, frame_numbers)
    if flagged.any():
        y[flagged] = interpolated(y[~flagged], *_times(frame_numbers, flagged))
    return y, int(flagged.sum())


def interpolated(series: NDArray[np.float64], known: IntArray, wanted: IntArray) -> NDArray[np.float64]:
    """``series [known frames, parcels]`` at other frames, linear; the nearest frame beyond both ends."""
    after = np.clip(np.searchsorted(known, wanted), 1, len(known) - 1)
    before = after - 1
    share = np.clip((wanted - known[before]) / (known[after] - known[before]), 0.0, 1.0)[:, None]
    return np.asarray((1 - share) * series[before] + share * series[after])


def _times(frame_numbers: IntArray | None, flagged: BoolArray) -> tuple[IntArray, IntArray]:
    times = np.arange(len(flagged)) if frame_numbers is None else np.asarray(frame_numbers)
    return times[~flagged], times[flagged]
