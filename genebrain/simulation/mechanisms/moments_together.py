"""Activity at the same moments: networks whose signals are not correlated grow loud and quiet together.

The trait moves the correlations of their loudness. Every covariance of a scan is the same for all people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.mechanisms.hrf import memory
from genebrain.simulation.mechanisms.modes import SparseMechanism
from genebrain.simulation.mechanisms.registry import BrainPart, Conditions, Floats, ScanModel, register_mechanism
from genebrain.simulation.scans import Parcels
from genebrain.simulation.tiers import Tier

NETWORKS = 8
LOUDNESS = 0.9
"""What a unit of trait adds to the logarithm of the covariance of the envelopes."""
ENVELOPE, ENVELOPE_S = 0.8, 3.0
"""Standard deviation of the logarithm of the loudness, and its decay time."""
SIGNAL_S, OWN = 0.8, 0.5
"""Decay time of the signals, and what a parcel has of its own."""


@dataclass(frozen=True)
class LoudNetworks(ScanModel):
    """Scans of networks that are loud at moments of their own.

    Attributes
    ----------
    network : int ``[parcels]``
    weight : float ``[parcels]``
    loading : float ``[pairs, k]``
        Orthonormal columns.
    tr : float
    """

    network: NDArray[np.int64]
    weight: Floats
    loading: Floats
    tr: float

    def scans(
        self, trait: Floats, conditions: Conditions, n_frames: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Parcel series ``[people, frames, parcels]``."""
        shape = len(trait), n_frames, NETWORKS
        envelope = memory(rng.standard_normal(shape), self.tr, ENVELOPE_S) @ np.swapaxes(self._root(trait), 1, 2)
        signal = memory(rng.standard_normal(shape), self.tr, SIGNAL_S)
        signal *= np.exp(ENVELOPE * envelope - ENVELOPE**2)
        own = memory(rng.standard_normal((*shape[:2], len(self.weight))), self.tr, SIGNAL_S)
        return (signal[:, :, self.network] * self.weight + OWN * own).astype(np.float32)

    def _root(self, trait: Floats) -> Floats:
        """Square roots ``[people, networks, networks]`` of the correlations of the envelopes."""
        logarithm = np.zeros((len(trait), NETWORKS, NETWORKS))
        one, other = np.triu_indices(NETWORKS, 1)
        logarithm[:, one, other] = logarithm[:, other, one] = LOUDNESS * trait @ self.loading.T
        values, vectors = np.linalg.eigh(logarithm)
        root = (vectors * np.exp(values / 2)[:, None]) @ np.swapaxes(vectors, 1, 2)
        return np.asarray(root / np.linalg.norm(root, axis=2, keepdims=True))


@register_mechanism
class MomentsTogether(SparseMechanism):
    """Sparse additive variants move which networks are loud at the same moments."""

    name = "moments_together"
    summary = "which networks are loud at the same moments; no covariance tells"
    tier = Tier(k=8, h2=0.8, rel=0.96, n_active=12, causal_per_dim=4)

    def brain(self, tier: Tier, settings: Mapping[str, Any], rng: np.random.Generator) -> BrainPart:
        """Draw networks, and what the trait does to pairs of them."""
        parcels = Parcels.of(settings["n_parcels"], rng)
        n, pairs = len(parcels.points), NETWORKS * (NETWORKS - 1) // 2
        loading = np.linalg.qr(rng.standard_normal((pairs, tier.k)))[0]
        model = LoudNetworks(rng.permutation(n) % NETWORKS, rng.uniform(0.7, 1.3, n), loading, settings["tr"])
        return BrainPart(model, parcels, np.zeros((tier.n_sites, n)), LOUDNESS)

    def problems(self, tier: Tier, settings: Mapping[str, Any]) -> list[str]:
        """Every network needs parcels, every dimension a direction among the pairs."""
        pairs, wrong = NETWORKS * (NETWORKS - 1) // 2, []
        if settings["n_parcels"] < 4 * NETWORKS:
            wrong.append(f"n_parcels={settings['n_parcels']} is too few for {NETWORKS} networks: at least 32")
        if tier.k > pairs:
            wrong.append(f"k={tier.k} is more than the {pairs} pairs of networks")
        return wrong
