"""Tangent-space features of what covariances hold beside the global signal.

The global signal, the mean of all parcels, differs in strength from person to person (arousal, breathing, movement)
and is part of every covariance. Regressed out of every parcel, it takes with it what only it told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from genebrain.brain.connectome.missing_parcels import Float64
from genebrain.brain.connectome.tangent import Lag0Tangent, leading_components
from genebrain.common.types import FloatArray

TINY = 1e-9
"""Share of all power below which there is no global signal: it was taken out before."""


class WithoutGlobalSignal(Lag0Tangent):
    """Tangent space of the covariance of what the mean of all parcels does not explain of each.

    From moments alone: of a covariance ``C`` and equal weights ``w`` the rest is ``C - C w w' C / (w' C w)``, scaled
    to parcels of mean power 1.
    """

    one_size = True
    words = "connectome, tangent space of the covariance without the global signal"

    def fit(self, C0: FloatArray, C1: FloatArray, *more: Any) -> Self:
        """Learn parcels, basis and mean from TRAINING people."""
        used = self.fit_parcels(C0, C1).used.sum()
        total = np.zeros((used, used))
        for _, c0, _, _ in self.batches(C0, C1, None):
            total += c0.sum(axis=0)
        self.basis = leading_components(total / len(C0), self.n_components)
        mean = self.basis.T @ total @ self.basis / len(C0)
        return self.from_means(mean, np.zeros_like(mean), mean)

    def batches(
        self, C0: FloatArray, C1: FloatArray, edges: FloatArray | None, basis: Float64 | None = None
    ) -> Iterator[tuple[slice, Float64, Float64, Float64 | None]]:
        """As of the base, without the global signal of the first matrix."""
        for rows, c0, c1, e in super().batches(C0, C1, edges):
            with_mean = c0.mean(axis=2)
            power = np.maximum(with_mean.mean(axis=1), TINY * np.trace(c0, axis1=1, axis2=2))
            c0 = c0 - with_mean[:, :, None] * with_mean[:, None, :] / power[:, None, None]
            c0 /= np.trace(c0, axis1=1, axis2=2)[:, None, None] / c0.shape[1]  # as scans are, before the signal goes
            yield rows, c0 if basis is None else basis.T @ c0 @ basis, c1, e
