"""Couplings between networks, seen through blood: what a scanner makes of a trait in functional connectivity.

The trait moves couplings between pairs of networks. Between neural activity and the scan stand each person's own
double-gamma response, a global signal, drift, motion spikes, and white and spatially correlated noise whose amount
differs by scanner. A lag-0 covariance keeps the couplings; what a frame adds to the one before is mostly noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma as gamma_function

from genebrain.simulation.mechanisms.modes import SparseMechanism
from genebrain.simulation.mechanisms.registry import BrainPart, Conditions, Floats, ScanModel, register_mechanism
from genebrain.simulation.scans import Parcels
from genebrain.simulation.tiers import Tier

N_NETWORKS = 12
LOUDNESS = 0.6
"""Standard deviation of a coupling (entry of the logarithm of the networks' covariance) per unit of trait."""
MEMORY_S = 1.0
"""Decay time of neural activity, seconds."""
RESPONSE_S = 32.0
PEAK_S, PEAK_SPREAD, UNDERSHOOT_S, RATIO = 5.5, 0.6, 15.0, 6.0
"""Of the double-gamma response: time of its peak and that between people, undershoot, ratio of both (Glover 1999)."""
LOCAL = 0.5
"""Standard deviation of activity of a parcel's own, where that of its network is 1."""
GLOBAL, DRIFT = 0.5, 0.5
N_COSINES = 3
SPIKE_RATE, SPIKE_SIZE = 0.25, 6.0
"""Share of frames with a spike per mm of mean displacement, and its size in standard deviations of a parcel."""
WHITE, WHITE_BY_SITE = 0.9, 0.4
"""Standard deviation of thermal noise, and that of its logarithm between scanners."""
SMOOTH, SMOOTH_BY_SITE, SMOOTH_MM = 0.4, 0.35, 25.0


@dataclass(frozen=True)
class CoupledNetworks(ScanModel):
    """Scans of coupled networks.

    Attributes
    ----------
    weight : float ``[parcels, networks]``
        What each parcel hears of its network.
    base : float ``[networks, networks]``
        Logarithm of the covariance of a person with a zero trait.
    loading : float ``[pairs, k]``
        Orthonormal columns.
    spatial : float ``[parcels, parcels]``
        Square root of the spatial correlation of scanner noise.
    white, smooth : float ``[sites]``
        Noise of each scanner.
    tr : float
    """

    weight: Floats
    base: Floats
    loading: Floats
    spatial: Floats
    white: Floats
    smooth: Floats
    tr: float

    def scans(
        self, trait: Floats, conditions: Conditions, n_frames: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Parcel series ``[people, frames, parcels]``."""
        n, parcels = len(trait), len(self.weight)
        lead = int(np.ceil(RESPONSE_S / self.tr))
        root = self._coupling_root(trait)
        activity = memory(rng.standard_normal((n, n_frames + lead, N_NETWORKS)) @ np.swapaxes(root, 1, 2), self.tr)
        own = memory(rng.standard_normal((n, n_frames + lead, parcels)), self.tr)
        neural = activity @ self.weight.T + LOCAL * own
        peak = PEAK_S + PEAK_SPREAD * rng.standard_normal(n)
        bold = _unit_scans(np.stack([_convolved(one, p, self.tr)[lead:] for one, p in zip(neural, peak, strict=True)]))
        gain = 1 + 0.3 * rng.standard_normal((n, 1, parcels))
        level = GLOBAL * np.exp(0.3 * rng.standard_normal((n, 1, 1)))
        bold += level * gain * _unit_scans(memory(rng.standard_normal((n, n_frames, 1)), self.tr, 8.0))
        time = (np.arange(n_frames) + 0.5) / n_frames
        cosines = np.cos(np.pi * np.arange(1, N_COSINES + 1)[:, None] * time)
        bold += DRIFT / N_COSINES * np.swapaxes(rng.standard_normal((n, parcels, N_COSINES)) @ cosines, 1, 2)
        white, smooth = self.white[conditions.site], self.smooth[conditions.site]
        bold += white[:, None, None] * rng.standard_normal((n, n_frames, parcels))
        bold += smooth[:, None, None] * (rng.standard_normal((n, n_frames, parcels)) @ self.spatial)
        hit = rng.random((n, n_frames, 1)) < SPIKE_RATE * conditions.mean_fd[:, None, None]
        size = SPIKE_SIZE * rng.gamma(4, 0.25, (n, n_frames, 1))
        bold += hit * size * rng.standard_normal((n, n_frames, parcels))
        return bold.astype(np.float32)

    def _coupling_root(self, trait: Floats) -> Floats:
        """Square roots ``[people, networks, networks]`` of the networks' covariances, unit mean variance."""
        logarithm = np.repeat(self.base[None], len(trait), axis=0)
        one, other = np.triu_indices(N_NETWORKS, 1)
        moved = LOUDNESS * trait @ self.loading.T
        logarithm[:, one, other] += moved
        logarithm[:, other, one] += moved
        values, vectors = np.linalg.eigh(logarithm)
        values = np.exp(values)
        values /= values.mean(axis=1, keepdims=True)
        return (vectors * np.sqrt(values)[:, None]) @ np.swapaxes(vectors, 1, 2)


@register_mechanism
class Hrf(SparseMechanism):
    """Sparse additive variants move couplings between networks; scans with the artefacts of real ones."""

    name = "hrf"
    summary = "couplings between 12 networks behind haemodynamics, motion spikes and scanner noise"
    tier = Tier(k=16, h2=0.48, rel=0.99, n_active=20, causal_per_dim=4)

    def brain(self, tier: Tier, settings: Mapping[str, Any], rng: np.random.Generator) -> BrainPart:
        """Draw networks, couplings and scanners."""
        parcels = Parcels.of(settings["n_parcels"], rng)
        model = coupled_networks(parcels, tier.k, tier.n_sites, settings["tr"], rng)
        return BrainPart(model, parcels, np.zeros((tier.n_sites, settings["n_parcels"])), LOUDNESS)

    def problems(self, tier: Tier, settings: Mapping[str, Any]) -> list[str]:
        """Every network needs parcels, every dimension a direction among the couplings."""
        pairs, wrong = N_NETWORKS * (N_NETWORKS - 1) // 2, []
        if settings["n_parcels"] < 2 * N_NETWORKS:
            wrong.append(f"n_parcels={settings['n_parcels']} is too few for {N_NETWORKS} networks: at least 24")
        if tier.k > pairs:
            wrong.append(f"k={tier.k} is more than the {pairs} couplings")
        return wrong


def coupled_networks(parcels: Parcels, k: int, n_sites: int, tr: float, rng: np.random.Generator) -> CoupledNetworks:
    """Networks around twelve points, the same in both hemispheres; couplings that differ from pair to pair."""
    points = parcels.points
    folded = np.abs(points) * [1, 0, 0] + points * [0, 1, 1]
    right = np.sort(parcels.pairs[:, 0])
    centres = folded[rng.choice(right, N_NETWORKS, replace=False)]
    network = np.linalg.norm(folded[:, None] - centres, axis=2).argmin(axis=1)
    weight = np.zeros((len(points), N_NETWORKS))
    weight[np.arange(len(points)), network] = rng.uniform(0.6, 1.2, len(points))
    base = np.zeros((N_NETWORKS, N_NETWORKS))
    one, other = np.triu_indices(N_NETWORKS, 1)
    base[one, other] = base[other, one] = 0.2 * rng.standard_normal(len(one))
    loading = np.linalg.qr(rng.standard_normal((len(one), k)))[0]
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    values, vectors = np.linalg.eigh(np.exp(-((distance / SMOOTH_MM) ** 2)))
    spatial = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    white = WHITE * np.exp(WHITE_BY_SITE * rng.standard_normal(n_sites))
    smooth = SMOOTH * np.exp(SMOOTH_BY_SITE * rng.standard_normal(n_sites))
    return CoupledNetworks(weight, base, loading, spatial, white, smooth, tr)


def memory(noise: Floats, tr: float, decay_s: float = MEMORY_S) -> Floats:
    """First-order autoregression along the second axis, in place, unit variance for unit noise."""
    phi = np.exp(-tr / decay_s)
    noise[:, 1:] *= np.sqrt(1 - phi**2)
    for t in range(1, noise.shape[1]):
        noise[:, t] += phi * noise[:, t - 1]
    return noise


def _convolved(series: Floats, peak: float, tr: float) -> Floats:
    """``series [frames, parcels]`` behind a double-gamma response with its peak at ``peak`` seconds."""
    time = np.arange(0, RESPONSE_S, tr)
    # Shape a and unit scale give a peak at a - 1.
    rise, fall = (
        time ** (p - 1) * np.exp(-time) / gamma_function(p) for p in (peak + 1, peak + 1 + UNDERSHOOT_S - PEAK_S)
    )
    response = rise - fall / RATIO
    size = len(series) + len(response) - 1
    spectrum = np.fft.rfft(series, size, axis=0) * np.fft.rfft(response, size)[:, None]
    return np.fft.irfft(spectrum, size, axis=0)[: len(series)]


def _unit_scans(scans: Floats) -> Floats:
    """Each scan demeaned and divided by one rms."""
    scans = scans - scans.mean(axis=1, keepdims=True)
    return scans / np.sqrt(np.mean(scans**2, axis=(1, 2), keepdims=True))
