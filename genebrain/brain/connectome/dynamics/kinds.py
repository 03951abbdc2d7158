"""Three kinds of scan features that a covariance does not hold: who leads, how networks hold together, and when.

- ``directed``: what of the covariance with the frame before is not symmetric, so which component runs ahead of which.
- ``coherence``: of each network of parcels how much it moves as one, how that varies and how long it lasts.
- ``envelopes``: which networks are active at the same moments, whether or not their signals are correlated.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from genebrain.brain.connectome.base import BeyondMoments
from genebrain.brain.connectome.dynamics.networks import coherence_width, network_labels, network_statistics
from genebrain.brain.connectome.dynamics.series import PeopleSeries, series_of
from genebrain.brain.connectome.missing_parcels import Float64
from genebrain.brain.connectome.moments import Float32
from genebrain.brain.connectome.tangent import Lag0Tangent
from genebrain.common.types import FloatArray, UserError


class DirectedCoupling(Lag0Tangent):
    """The antisymmetric part of the covariance with the frame before, on whitened leading components."""

    one_size = True
    words = "which components run ahead of which, from one frame to the next"

    def transform(self, C0: FloatArray, C1: FloatArray, *more: Any) -> Float32:
        """Features of any people, float32 ``[people, q (q - 1) / 2]``."""
        self.fitted(C0.shape[-1])
        one, other = np.triu_indices(self.basis.shape[1], 1)
        features = np.empty((len(C0), len(one)), np.float32)
        for rows, _, c1, _ in self.batches(C0, C1, None, self.basis):
            led = self.whitening @ c1 @ self.whitening
            features[rows] = (led[:, one, other] - led[:, other, one]) / np.sqrt(2)
        return features


class NetworkFeature(BeyondMoments):
    """What networks of parcels do in time; base of two kinds that share one reading of the scans."""

    series_needed = True
    learned = ("labels", "mean")

    def learn(self, *series: PeopleSeries) -> None:
        """Learn networks, and what is known of training people."""
        assert self.shared is not None
        shared = self.shared
        self.labels = np.full(len(shared.used), -1)
        self.labels[shared.used] = network_labels(shared.C0)
        found = self._statistics(series_of(series))
        known = np.isfinite(found)
        if not known.any():
            raise UserError("no scan has a time step (tr), frames and parcels enough to see networks in time")
        self.mean = np.where(known, found, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)

    def _statistics(self, series: PeopleSeries) -> Float64:
        """Own part of the statistics of networks, ``[people, numbers]``; NaN where unknown."""
        labels = self.labels
        found = series.means(labels.tobytes(), lambda y, usable, tr: network_statistics(y, usable, tr, labels))
        width = coherence_width(int(labels.max()) + 1)
        return self.part(found, width)

    def part(self, found: Float64, width: int) -> Float64:
        """Own columns of the statistics, of which the first ``width`` tell coherence."""
        raise NotImplementedError

    def known(self, series: tuple[PeopleSeries, ...]) -> Float64:
        """Statistics of any people; the mean of training people where a network has no parcels."""
        found = self._statistics(series_of(series))
        unknown = ~np.isfinite(found)
        self.report["subjects_filled"] = int(unknown.any(axis=1).sum())
        return np.where(unknown, self.mean, found)


class Coherence(NetworkFeature):
    """Mean, deviation and autocorrelations of the coherence of every network."""

    words = "how networks of parcels hold together, and how long"

    def part(self, found: Float64, width: int) -> Float64:
        """The first columns."""
        return found[:, :width]

    def features(self, *series: PeopleSeries) -> Float32:
        """Features of any people, float32 ``[people, networks x 7]``."""
        return self.known(series).astype(np.float32)


class Envelopes(NetworkFeature):
    """Tangent space of the covariance of the envelopes of networks."""

    words = "which networks of parcels are active at the same moments"

    def part(self, found: Float64, width: int) -> Float64:
        """All columns behind the coherence."""
        return found[:, width:]

    def learn(self, *series: PeopleSeries) -> None:
        """As the base, and the mean of the covariances."""
        super().learn(*series)
        covariance = self._covariance(series)
        self.tangent = Lag0Tangent(None).fit(covariance, covariance)

    def features(self, *series: PeopleSeries) -> Float32:
        """Features of any people, float32 ``[people, networks (networks + 1) / 2]``."""
        covariance = self._covariance(series)
        return self.tangent.transform(covariance, covariance)

    def _covariance(self, series: tuple[PeopleSeries, ...]) -> Float64:
        known = self.known(series)
        n = int(self.labels.max()) + 1
        one, other = np.triu_indices(n)
        covariance = np.empty((len(known), n, n))
        covariance[:, one, other] = covariance[:, other, one] = known
        return covariance

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that was learned, as plain arrays for a checkpoint."""
        return super().state() | {f"tangent.{name}": values for name, values in self.tangent.state().items()}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild from :meth:`state`."""
        made = super().from_state(state)
        own = {name.removeprefix("tangent."): v for name, v in state.items() if name.startswith("tangent.")}
        made.tangent = Lag0Tangent.from_state(own)
        return made
