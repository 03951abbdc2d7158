"""Correlation and partial-correlation features: the textbook connectome.

Moments ``[n, P, P]`` in, Fisher-z values ``[n, P (P - 1) / 2]`` out.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.connectome.base import ConnectomeFeature
from genebrain.brain.connectome.missing_parcels import Float64
from genebrain.brain.connectome.moments import Float32, scan_moments
from genebrain.brain.store.store import ScanStore
from genebrain.common.types import FloatArray, UserError

LARGEST = 1 - 1e-7


class Correlation(ConnectomeFeature):
    """Fisher-z of the correlations of the shared parcels: upper triangle, ``P (P - 1) / 2`` features."""

    words = "connectome, correlations between parcels"

    def fit(self, C0: FloatArray, C1: FloatArray, *more: Any) -> Self:
        """Learn which parcels the training subjects share."""
        self.fit_parcels(C0, C1)
        return self

    def transform(self, C0: FloatArray, C1: FloatArray, *more: Any) -> Float32:
        """Features of any subjects, float32 [n, P (P - 1) / 2]."""
        upper = np.triu_indices(int(self.fitted(C0.shape[-1]).used.sum()), k=1)
        features = np.empty((len(C0), len(upper[0])), np.float32)
        for rows, c0, _, _ in self.batches(C0, C1, None):
            r = self._association(c0)[:, upper[0], upper[1]]
            features[rows] = np.arctanh(np.clip(r, -1 + 1e-7, 1 - 1e-7))
        return features

    def _association(self, C0: Float64) -> Float64:
        deviation = np.sqrt(np.diagonal(C0, axis1=1, axis2=2))
        return np.asarray(C0 / (deviation[:, :, None] * deviation[:, None, :]))


class PartialCorrelation(Correlation):
    """Fisher-z of the partial correlations: inverse of ``(1 - shrinkage) correlation + shrinkage I``."""

    words = "connectome, partial correlations between parcels"

    def __init__(self, shrinkage: float = 0.1) -> None:
        super().__init__()
        if not 0 < shrinkage < 1:
            raise ValueError(f"shrinkage must be in (0, 1): short scans have no inverse, got {shrinkage}")
        self.shrinkage = shrinkage

    def _association(self, C0: Float64) -> Float64:
        correlation = super()._association(C0)
        eye = np.eye(C0.shape[-1])
        precision = np.linalg.inv((1 - self.shrinkage) * correlation + self.shrinkage * eye)
        return -super()._association(np.asarray(precision, np.float64))

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that was learned, as plain arrays for a checkpoint."""
        return super().state() | {"shrinkage": np.array(self.shrinkage)}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild from :meth:`state`."""
        return cls(shrinkage=float(state["shrinkage"])).restore(state)


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
