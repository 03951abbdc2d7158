"""Correlations of one scan after another, for whoever wants a matrix per scan and no population.

Fisher-z values of the upper triangle, fixed width: a parcel that a scan lacks gives zeros, so that columns mean the
same in every scan.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.connectome.moments import scan_moments
from genebrain.brain.store.store import ScanStore
from genebrain.common.types import UserError

LARGEST = 1 - 1e-7


class CorrelationRows:
    """Correlations of the scans of a store of parcels; ``width`` is P (P - 1) / 2."""

    def __init__(self, store: ScanStore) -> None:
        self.store = store
        (parcels,) = store.shape
        if parcels < 2:
            raise UserError(f"{parcels} parcel has no correlations: is this atlas a mask?")
        self._upper = np.triu_indices(parcels, k=1)
        self.width = len(self._upper[0])

    def of(self, key: str) -> NDArray[np.float32]:
        """Fisher-z of one scan, float32 ``[width]``."""
        moments = scan_moments(self.store.read(key), self.store.valid(key), self.store.frame_numbers(key))
        covariance = np.asarray(moments.C0, np.float64).reshape(len(self.store.valid(key)), -1)
        deviation = np.sqrt(np.diagonal(covariance))
        rate = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        r = (covariance * rate[:, None] * rate)[self._upper]
        return np.asarray(np.arctanh(np.clip(r, -LARGEST, LARGEST)), np.float32)
