"""Robust scaling of parcels as published."""

from __future__ import annotations

import numpy as np

from genebrain.brain.models.scaling import Float64, _divide
from genebrain.common.types import FloatArray


def robust_scale(series: FloatArray) -> Float64:
    """``(x - median) / (75th - 25th percentile)`` per parcel over the frames of this scan."""
    low, median, high = np.percentile(np.asarray(series, np.float64), [25, 50, 75], axis=0)
    return _divide(series - median, high - low)
