"""Regional delays of the haemodynamic response: the same signals everywhere, in some regions seconds later.

A delay turns no variance and next to no covariance of the whole scan; it shows in who runs ahead of whom.
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

SOURCES = 6
"""Signals that all parcels mix."""
MEMORY_S, OWN_MEMORY_S = 4.0, 2.0
"""Decay time of the signals, and of what a parcel has of its own."""
OWN, WHITE = 0.3, 0.3
DELAY_S = 0.5
"""Standard deviation of the delay over parcels per unit of trait."""
LEAD_S = 44.0
"""Of signal around the scan, that delays do not wrap around."""


@dataclass(frozen=True)
class DelayedSources(ScanModel):
    """Scans of shared signals that reach each parcel at a time of its own.

    Attributes
    ----------
    mixing : float ``[parcels, sources]``
    delay : float ``[parcels, k]``
        Seconds per unit of trait.
    tr : float
    """

    mixing: Floats
    delay: Floats
    tr: float

    def scans(
        self, trait: Floats, conditions: Conditions, n_frames: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Parcel series ``[people, frames, parcels]``."""
        n, lead = len(trait), int(np.ceil(LEAD_S / self.tr))
        length = n_frames + 2 * lead
        signals = memory(rng.standard_normal((n, length, SOURCES)), self.tr, MEMORY_S) @ self.mixing.T
        turn = -2j * np.pi * np.fft.rfftfreq(length, self.tr)[:, None] * (trait @ self.delay.T)[:, None, :]
        found = np.fft.irfft(np.fft.rfft(signals, axis=1) * np.exp(turn), length, axis=1)[:, lead : lead + n_frames]
        found += OWN * memory(rng.standard_normal(found.shape), self.tr, OWN_MEMORY_S)
        return (found + WHITE * rng.standard_normal(found.shape)).astype(np.float32)


@register_mechanism
class Delays(SparseMechanism):
    """Sparse additive variants move when signals arrive in each parcel."""

    name = "delays"
    summary = "regional delays of shared signals"
    tier = Tier(k=8, h2=0.8, rel=0.96, n_active=12, causal_per_dim=4)

    def brain(self, tier: Tier, settings: Mapping[str, Any], rng: np.random.Generator) -> BrainPart:
        """Draw what parcels mix, and the pattern of delays of every dimension."""
        parcels = Parcels.of(settings["n_parcels"], rng)
        n = len(parcels.points)
        mixing = rng.standard_normal((n, SOURCES)) / np.sqrt(SOURCES)
        pattern = np.sqrt(n) * np.linalg.qr(rng.standard_normal((n, tier.k)))[0]
        model = DelayedSources(mixing, DELAY_S * pattern, settings["tr"])
        return BrainPart(model, parcels, np.zeros((tier.n_sites, n)), DELAY_S)
