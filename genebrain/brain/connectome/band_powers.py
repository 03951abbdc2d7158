"""Power of every parcel in fine frequency bands: what the log spectra are made of, small enough for any cohort.

Bands have fixed edges in Hz, so that scans of different length and repetition time share them. A coefficient of the
discrete cosine transform stands for an interval of frequencies, and its power is spread over the bands that the
interval meets: short scans fill narrow bands, long ones average within them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from genebrain.brain.connectome.despiking import interpolated
from genebrain.common.types import BoolArray, FloatArray, IntArray

FINE_HZ, FINE_BANDS, GROWTH, WIDE_BANDS = 0.005, 20, 1.12, 22
EDGES = np.concatenate(
    [FINE_HZ * np.arange(FINE_BANDS + 1), FINE_HZ * FINE_BANDS * GROWTH ** np.arange(1, WIDE_BANDS + 1)]
)
"""Edges of the bands in Hz: 5 mHz wide up to 0.1 Hz, then 12 % wider one after another, up to 1.2 Hz."""
N_BANDS = len(EDGES) - 1


def band_powers(
    series: FloatArray, tr: float, valid: BoolArray | None = None, frame_numbers: IntArray | None = None
) -> NDArray[np.float32]:
    """Mean power density in each band, float32 ``[bands, parcels]``, 1 / Hz: variance is the integral over frequency.

    Parameters
    ----------
    series : float ``[frames, parcels]``
        Any unit; divided by one rms.
    tr : float
        Seconds between two frames.
    valid : bool ``[parcels]``
        Invalid parcels get zeros.
    frame_numbers : int ``[frames]``
        Where the frames stood in the recording; frames that are missing in between are interpolated.

    Returns
    -------
    ndarray
        Bands that lie beyond half of the sampling frequency for more than half of their width are zero.
    """
    y = np.asarray(series, np.float64)
    if frame_numbers is not None:
        times = np.asarray(frame_numbers)
        whole = np.arange(times[0], times[-1] + 1)
        if len(whole) > len(times):
            y = interpolated(y, times, whole)
    y = y - y.mean(axis=0)
    usable = np.ones(y.shape[1], bool) if valid is None else np.asarray(valid, bool)
    y = np.where(usable, y, 0.0)
    y /= np.sqrt(np.mean(np.square(y[:, usable])))
    power = np.square(dct(y, axis=0, norm="ortho")[1:])
    # A coefficient holds the density times half the sampling rate: scans of other rates would differ by that alone.
    return (2 * tr * (_spreading(len(y), float(tr)) @ power)).astype(np.float32)


@lru_cache(maxsize=64)
def _spreading(frames: int, tr: float) -> NDArray[np.float64]:
    """Share of each coefficient 1..frames-1 in the mean of each band, ``[bands, frames - 1]``; rows sum to 1 or 0."""
    unit = 1 / (2 * frames * tr)
    middle = unit * np.arange(1, frames)
    low = middle - unit / 2
    low[0] = 0.0  # nothing lies below the first coefficient: the mean has been taken out
    high = middle + unit / 2
    overlap = np.minimum(high, EDGES[1:, None]) - np.maximum(low, EDGES[:-1, None])
    overlap = np.maximum(overlap, 0.0)
    reach = overlap.sum(axis=1)
    met = reach >= 0.5 * np.diff(EDGES)
    return np.where(met[:, None], overlap / np.where(reach > 0, reach, 1)[:, None], 0.0)
