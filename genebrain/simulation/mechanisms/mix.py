"""Half of the trait in couplings behind haemodynamics, half in oscillators; scans are added at equal power."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.mechanisms.hrf import CoupledNetworks, Hrf, coupled_networks
from genebrain.simulation.mechanisms.oscillators import Oscillators, coupled_oscillators
from genebrain.simulation.mechanisms.registry import BrainPart, Conditions, Floats, ScanModel, register_mechanism
from genebrain.simulation.scans import Parcels
from genebrain.simulation.tiers import Tier


@dataclass(frozen=True)
class TwoSources(ScanModel):
    """Scans that are the sum of two, each of which carries half of the dimensions of the trait."""

    first: CoupledNetworks
    second: Oscillators

    def scans(
        self, trait: Floats, conditions: Conditions, n_frames: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Parcel series ``[people, frames, parcels]``."""
        half = trait.shape[1] // 2
        total = _equal_power(self.first.scans(trait[:, :half], conditions, n_frames, rng))
        total += _equal_power(self.second.scans(trait[:, half:], conditions, n_frames, rng))
        return total


@register_mechanism
class Mix(Hrf):
    """Couplings carry the first half of the dimensions, oscillators the second."""

    name = "mix"
    summary = "half hrf, half oscillators, added at equal power"
    tier = Tier(k=16, h2=0.47, rel=0.99, n_active=20, causal_per_dim=4)

    def brain(self, tier: Tier, settings: Mapping[str, Any], rng: np.random.Generator) -> BrainPart:
        """Draw both."""
        parcels, tr, half = Parcels.of(settings["n_parcels"], rng), settings["tr"], tier.k // 2
        first = coupled_networks(parcels, half, tier.n_sites, tr, rng)
        second = coupled_oscillators(parcels, tier.k - half, tr, rng)
        return BrainPart(TwoSources(first, second), parcels, np.zeros((tier.n_sites, settings["n_parcels"])), 1.0)


def _equal_power(scans: NDArray[np.float32]) -> NDArray[np.float32]:
    return scans / np.sqrt(np.mean(scans**2, axis=(1, 2), keepdims=True))
