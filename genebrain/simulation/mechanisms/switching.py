"""Connectivity that switches between two states: the trait in how long each lasts.

Groups of parcels go between a coupled and an uncoupled state. Even dimensions of the trait move the share of time that
a group is coupled, odd ones how often it switches; the second leaves every covariance over the whole scan as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.mechanisms.modes import GroupMechanism
from genebrain.simulation.mechanisms.registry import Conditions, Floats, ScanModel, register_mechanism
from genebrain.simulation.tiers import Tier

FEWEST_PARCELS = 4
DWELL_S = 5.0
"""Mean time in a state, of a person with a zero trait."""
LOUDNESS = 0.9
"""What a unit of trait adds to the logarithm of a dwell time."""
COUPLED, MEMORY_S, NOISE = 0.8, 1.0, 0.3
"""Correlation of the parcels of a coupled group, decay time of their activity, and white noise."""


@dataclass(frozen=True)
class SwitchingGroups(ScanModel):
    """Scans of groups of parcels that are coupled part of the time.

    Attributes
    ----------
    group : int ``[parcels]``
        One group for each dimension of the trait.
    weight : float ``[parcels]``
    tr : float
    """

    group: NDArray[np.int64]
    weight: Floats
    tr: float

    def scans(
        self, trait: Floats, conditions: Conditions, n_frames: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Parcel series ``[people, frames, parcels]``."""
        n, k = trait.shape
        coupled = self.states(trait, n_frames, rng)
        share = COUPLED * coupled[:, :, self.group]
        noise = np.sqrt(share) * rng.standard_normal((n, n_frames, k))[:, :, self.group]
        noise += np.sqrt(1 - share) * rng.standard_normal((n, n_frames, len(self.group)))
        phi = np.exp(-self.tr / MEMORY_S)
        for t in range(1, n_frames):
            noise[:, t] = phi * noise[:, t - 1] + np.sqrt(1 - phi**2) * noise[:, t]
        noise *= self.weight
        return (noise + NOISE * rng.standard_normal(noise.shape)).astype(np.float32)

    def states(self, trait: Floats, n_frames: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Whether each group is coupled at each frame, ``[people, frames, k]``: a Markov chain per group."""
        even = np.arange(trait.shape[1]) % 2 == 0
        moved = LOUDNESS * trait
        # Even: one dwell time grows as the other shrinks. Odd: both grow.
        inside = DWELL_S * np.exp(np.where(even, moved / 2, moved))
        outside = DWELL_S * np.exp(np.where(even, -moved / 2, moved))
        leave, enter = (1 - np.exp(-self.tr / dwell) for dwell in (inside, outside))
        states = np.empty((len(trait), n_frames, trait.shape[1]), bool)
        chance = rng.random(states.shape)
        states[:, 0] = chance[:, 0] < enter / (enter + leave)
        for t in range(1, n_frames):
            before = states[:, t - 1]
            states[:, t] = np.where(before, chance[:, t] >= leave, chance[:, t] < enter)
        return states


@register_mechanism
class Switching(GroupMechanism):
    """Sparse additive variants move dwell times of connectivity states."""

    name = "switching"
    summary = "connectivity states that switch in time; the trait in their dwell times"
    tier = Tier(k=8, h2=0.8, rel=0.96, n_active=12, causal_per_dim=4)
    fewest_parcels, loudness = FEWEST_PARCELS, LOUDNESS

    def scan_model(self, group: NDArray[np.int64], weight: Floats, tr: float) -> ScanModel:
        """Groups of parcels that are coupled part of the time."""
        return SwitchingGroups(group, weight, tr)
