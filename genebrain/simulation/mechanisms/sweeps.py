"""Sweeps of frequency that run up or down: the trait in how often they run upwards.

A sweep and its mirror image in time have one power spectrum and one autocovariance, and either sign is as likely. So
no covariance, no power and no average over a scan tells them apart: only a filter of about that shape does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from genebrain.simulation.mechanisms.modes import GroupMechanism
from genebrain.simulation.mechanisms.registry import Conditions, Floats, ScanModel, register_mechanism
from genebrain.simulation.tiers import Tier

FRAMES = 12
"""Length of a sweep."""
SLOW, FAST = 0.03, 0.42
"""Cycles per frame at its two ends."""
EVERY = 12
"""Mean frames from the start of one sweep of a group to that of the next."""
SIZES = (0.7, 1.3)
LOUDNESS = 1.5
"""What a unit of trait adds to the log odds of running upwards."""
NOISE = 0.25
FEWEST_PARCELS = 2


def upward() -> Floats:
    """Shape ``[frames]`` of a sweep that runs upwards, of length 1."""
    t = np.arange(FRAMES)
    phase = 2 * np.pi * (SLOW * t + (FAST - SLOW) * t**2 / (2 * (FRAMES - 1)))
    shape = np.cos(phase) * np.sqrt(np.sin(np.pi * (t + 0.5) / FRAMES))
    return np.asarray(shape / np.linalg.norm(shape))


@dataclass(frozen=True)
class Sweeps(ScanModel):
    """Scans of groups of parcels with sweeps of their own.

    Attributes
    ----------
    group : int ``[parcels]``
        One group for each dimension of the trait.
    weight : float ``[parcels]``
    """

    group: NDArray[np.int64]
    weight: Floats

    def scans(
        self, trait: Floats, conditions: Conditions, n_frames: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Parcel series ``[people, frames, parcels]``."""
        n, k = trait.shape
        starts = (n, n_frames + FRAMES - 1, k)  # a sweep may have begun before the scan
        size = (rng.random(starts) < 1 / EVERY) * rng.choice([-1, 1], starts) * rng.uniform(*SIZES, starts)
        up = size * (rng.random(starts) < expit(LOUDNESS * trait)[:, None])
        found = np.zeros((n, n_frames, k))
        for i, (forward, backward) in enumerate(zip(upward(), upward()[::-1], strict=True)):
            moment = slice(FRAMES - 1 - i, FRAMES - 1 - i + n_frames)
            found += forward * up[:, moment] + backward * (size - up)[:, moment]
        series = found[:, :, self.group] * self.weight
        return (series + NOISE * rng.standard_normal(series.shape)).astype(np.float32)


@register_mechanism
class SweepsUpwards(GroupMechanism):
    """Sparse additive variants move the share of sweeps that run upwards."""

    name = "sweeps"
    summary = "sweeps of frequency; the trait in how many run upwards, which no covariance or power shows"
    tier = Tier(k=8, h2=0.8, rel=0.96, n_active=12, causal_per_dim=4)
    fewest_parcels, loudness = FEWEST_PARCELS, LOUDNESS

    def scan_model(self, group: NDArray[np.int64], weight: Floats, tr: float) -> ScanModel:
        """Groups of parcels with sweeps of their own."""
        return Sweeps(group, weight)
