"""A series at other time steps: linear, or low-passed first where frames are left out.

Frames ``[frames, ...]`` in and out, one contiguous stretch at a time; nothing outside the given frames is looked at.
The low-pass is a Hann-windowed sinc cut at the new Nyquist frequency, its weights renormalised at the ends: what a
polyphase filter does, at any ratio.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import FloatArray

HALF_WIDTH = 8
"""Of the filter, in frames of the new time step."""


def margin(ratio: float, low_pass: bool) -> int:
    """Frames beyond a stretch that its resampled values depend on."""
    return int(np.ceil(HALF_WIDTH * ratio)) if low_pass else 1


def weights(times: FloatArray, n_frames: int, ratio: float, low_pass: bool) -> NDArray[np.float64]:
    """What each resampled frame takes of each given one, ``[len(times), n_frames]``, rows sum to 1.

    Parameters
    ----------
    times
        Where the resampled frames lie, in units of the given frames, within ``[0, n_frames - 1]``.
    n_frames
        Given frames.
    ratio
        New time step over the given one.
    low_pass
        Whether to filter; only sensible for ratios above 1.
    """
    distance = np.asarray(times, np.float64)[:, None] - np.arange(n_frames)
    if not low_pass:
        return np.clip(1 - np.abs(distance), 0, None)
    scaled = distance / ratio
    kernel = np.where(np.abs(scaled) < HALF_WIDTH, np.sinc(scaled) * np.cos(np.pi * scaled / (2 * HALF_WIDTH)) ** 2, 0)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))


def resample(frames: FloatArray, times: FloatArray, ratio: float, low_pass: bool) -> NDArray[np.float32]:
    """Frames ``[frames, ...]`` at ``times``, float32 ``[len(times), ...]``."""
    flat = np.asarray(frames, np.float32).reshape(len(frames), -1)
    table = weights(times, len(frames), ratio, low_pass).astype(np.float32)
    return np.asarray((table @ flat).reshape(len(times), *frames.shape[1:]))
