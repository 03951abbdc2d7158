"""Coupled oscillators near their bifurcation: the trait in local strength and in local frequency of rhythms.

Stuart-Landau oscillators on a connectome (Deco et al., Scientific Reports 2017): even dimensions of the trait move the
bifurcation parameters of parcels, odd ones their frequencies. Who looks at covariances only sees little of either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.mechanisms.modes import SparseMechanism
from genebrain.simulation.mechanisms.registry import BrainPart, Conditions, Floats, ScanModel, register_mechanism
from genebrain.simulation.scans import Parcels, synthetic_connectome
from genebrain.simulation.tiers import Tier

STEP_S = 0.1
SETTLING_S = 30.0
FREQUENCY_HZ = (0.04, 0.07)
"""Natural frequencies of the parcels are spread over this range."""
BIFURCATION, STRENGTH = -0.1, 0.05
"""Mean bifurcation parameter (1/s), and its standard deviation over parcels per unit of trait."""
SHIFT_HZ = 0.006
"""Standard deviation over parcels of the shift of the frequency per unit of trait."""
COUPLING, NOISE = 0.1, 0.12
MEASUREMENT = 0.3
"""Standard deviation of white noise, where that of a scan is 1."""


@dataclass(frozen=True)
class Oscillators(ScanModel):
    """Scans of coupled oscillators.

    Attributes
    ----------
    connectome : float ``[parcels, parcels]``
        Rows sum to 1.
    frequency : float ``[parcels]``
        Hz, of a person with a zero trait.
    strength, shift : float ``[parcels, k]``
        What a unit of trait adds to bifurcation parameters (1/s) and to frequencies (Hz).
    tr : float
    """

    connectome: Floats
    frequency: Floats
    strength: Floats
    shift: Floats
    tr: float

    def scans(
        self, trait: Floats, conditions: Conditions, n_frames: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Parcel series ``[people, frames, parcels]``, by Euler-Maruyama steps of a tenth of a second or less."""
        n, parcels = len(trait), len(self.frequency)
        per_frame = int(np.ceil(self.tr / STEP_S))
        step = self.tr / per_frame
        growth = (BIFURCATION + trait @ self.strength.T - COUPLING) + 2j * np.pi * (
            self.frequency + trait @ self.shift.T
        )
        growth = growth.astype(np.complex64)
        mixing = (COUPLING * self.connectome.T).astype(np.float32)
        state = np.zeros((n, parcels), np.complex64)
        scans = np.empty((n, n_frames, parcels), np.float32)
        settling = int(np.ceil(SETTLING_S / self.tr))
        for frame in range(-settling, n_frames):
            noise = rng.standard_normal((per_frame, n, 2 * parcels), dtype=np.float32).view(np.complex64)
            noise *= np.float32(NOISE * np.sqrt(step))
            for kick in noise:
                power = state.real**2 + state.imag**2
                heard = (state.real @ mixing) + 1j * (state.imag @ mixing)
                state = state + np.float32(step) * ((growth - power) * state + heard) + kick
            if frame >= 0:
                scans[:, frame] = state.real
        scans /= np.sqrt(np.mean(scans**2, axis=(1, 2), keepdims=True))
        scans += np.float32(MEASUREMENT) * rng.standard_normal(scans.shape, dtype=np.float32)
        return scans


@register_mechanism
class OscillatorMechanism(SparseMechanism):
    """Sparse additive variants move bifurcation parameters and frequencies of Stuart-Landau oscillators."""

    name = "oscillators"
    summary = "local strength and frequency of coupled Stuart-Landau oscillators"
    tier = Tier(k=16, h2=0.45, rel=0.99, n_active=20, causal_per_dim=4)

    def brain(self, tier: Tier, settings: Mapping[str, Any], rng: np.random.Generator) -> BrainPart:
        """Draw the connectome, frequencies and what the trait does to them."""
        parcels = Parcels.of(settings["n_parcels"], rng)
        model = coupled_oscillators(parcels, tier.k, settings["tr"], rng)
        return BrainPart(model, parcels, np.zeros((tier.n_sites, settings["n_parcels"])), STRENGTH)


def coupled_oscillators(parcels: Parcels, k: int, tr: float, rng: np.random.Generator) -> Oscillators:
    """Oscillators on a synthetic connectome; each dimension has a pattern of its own over the parcels."""
    n = len(parcels.points)
    connectome = synthetic_connectome(parcels, rng)
    frequency = rng.uniform(*FREQUENCY_HZ, n)
    pattern = np.sqrt(n) * np.linalg.qr(rng.standard_normal((n, k)))[0]
    even = np.arange(k) % 2 == 0
    rows = connectome / connectome.sum(axis=1, keepdims=True)
    return Oscillators(rows, frequency, STRENGTH * pattern * even, SHIFT_HZ * pattern * ~even, tr)
