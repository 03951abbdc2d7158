"""Robust scaling of parcel series, per scan or with the statistics of a training set.

``[frames, parcels]`` in and out; a spread of zero gives zeros, never infinities.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import FloatArray

UK_BIOBANK_TR = 0.735
"""Seconds per frame of the scans of the pretraining."""
VIT_DIVISOR = 5.6430855
"""Largest scaled value of the pretraining, by which the published image models divide."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class CohortScaling:
    """Median and interquartile range per parcel [P] of training scans, each minus its own mean.

    The scaling that BrainLM (Ortega Caro et al., ICLR 2024) describes. Its toolkit divides only the median by
    the range (an operator precedence slip) and takes the statistics over test scans too; this does neither.
    """

    median: Float64
    spread: Float64

    @classmethod
    def fit(cls, training: Iterable[FloatArray]) -> CohortScaling:
        """Statistics over the concatenated training scans, an iterable of [frames, P]."""
        stacked = np.concatenate([_centred(series) for series in training])
        low, median, high = np.percentile(stacked, [25, 50, 75], axis=0)
        return cls(median, high - low)

    def apply(self, series: FloatArray) -> Float64:
        """``(x - own mean - median) / spread``, [frames, P]."""
        return _divide(_centred(series) - self.median, self.spread)


def _centred(series: FloatArray) -> Float64:
    x = np.asarray(series, np.float64)
    return np.asarray(x - x.mean(axis=0))


def _divide(x: Float64, spread: Float64) -> Float64:
    return np.divide(x, spread, out=np.zeros_like(x, dtype=np.float64), where=spread > 0)
