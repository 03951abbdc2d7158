"""The default mechanism: a few additive variants shape the powers of connectome modes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.genome.sources import Genomes
from genebrain.simulation.mechanisms.registry import (
    BrainPart,
    Conditions,
    Floats,
    GeneticPart,
    Mechanism,
    ScanModel,
    Streams,
    register_mechanism,
)
from genebrain.simulation.scans import BrainModel, Parcels, loudness_for, synthetic_connectome
from genebrain.simulation.tiers import REFERENCE_FRAMES, Tier
from genebrain.simulation.traits import choose_causal, genetic_values


@dataclass(frozen=True)
class ModeScans:
    """Scans whose connectome modes carry the trait in their innovation variance, and its sufficient statistic."""

    model: BrainModel

    def scans(
        self, trait: Floats, conditions: Conditions, n_frames: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Parcel series ``[people, frames, parcels]``."""
        return self.model.scans(trait, conditions.shift, n_frames, rng)

    def read_trait(self, scans: NDArray[np.floating], trait: Floats, conditions: Conditions) -> Floats:
        """Trait plus noise, ``[people, k]``."""
        return self.model.read_trait(scans, conditions.shift)


class SparseMechanism(Mechanism):
    """Base of the mechanisms in which a few variants per dimension make the trait, whatever the scans."""

    def genetics(self, source: Genomes, tier: Tier, groups: NDArray[np.int64], rng: Streams) -> GeneticPart:
        """Effects of ``causal_per_dim`` variants per dimension, of the architecture of the tier."""
        n, wanted = source.n_fitted, tier.k * tier.causal_per_dim
        causal = choose_causal((d[:, :n] for d in source.dosages), source.usable, wanted, rng["causal"])
        found = [
            dosages[[site for here, site in causal if here == window]] for window, dosages in enumerate(source.dosages)
        ]
        columns = np.ascontiguousarray(np.concatenate(found).T)
        return GeneticPart(genetic_values(columns, tier.k, tier.architecture, groups, rng["trait"], n), causal)

    def problems(self, tier: Tier, settings: Mapping[str, Any]) -> list[str]:
        """Every dimension needs a direction among the parcels."""
        if tier.k <= settings["n_parcels"]:
            return []
        return [f"k={tier.k} is more than n_parcels={settings['n_parcels']}"]


class GroupMechanism(SparseMechanism):
    """Base of the mechanisms in which each dimension of the trait acts on a group of parcels of its own.

    Attributes
    ----------
    fewest_parcels : int
        Of a group.
    loudness : float
        Scale of the trait in the scan model's own unit.
    """

    fewest_parcels: ClassVar[int]
    loudness: ClassVar[float]

    def scan_model(self, group: NDArray[np.int64], weight: Floats, tr: float) -> ScanModel:
        """Maker of scans of ``group [parcels]`` (a dimension each) and ``weight [parcels]``."""
        raise NotImplementedError

    def brain(self, tier: Tier, settings: Mapping[str, Any], rng: np.random.Generator) -> BrainPart:
        """Draw which parcels belong together."""
        parcels = Parcels.of(settings["n_parcels"], rng)
        n = len(parcels.points)
        model = self.scan_model(rng.permutation(n) % tier.k, rng.uniform(0.7, 1.3, n), settings["tr"])
        return BrainPart(model, parcels, np.zeros((tier.n_sites, n)), self.loudness)

    def problems(self, tier: Tier, settings: Mapping[str, Any]) -> list[str]:
        """Every group needs parcels."""
        needed = self.fewest_parcels * tier.k
        if settings["n_parcels"] >= needed:
            return []
        return [f"n_parcels={settings['n_parcels']} is too few: k={tier.k} groups need {needed}"]


class ModeMechanism(Mechanism):
    """Base of the mechanisms whose scans are those of connectome modes."""

    exact = True

    def brain(self, tier: Tier, settings: Mapping[str, Any], rng: np.random.Generator) -> BrainPart:
        """Modes of a synthetic connectome."""
        loudness = loudness_for(tier.rel, REFERENCE_FRAMES)
        parcels = Parcels.of(settings["n_parcels"], rng)
        model = BrainModel.build(
            synthetic_connectome(parcels, rng),
            k=tier.k, n_active=tier.n_active, loudness=loudness, tr=settings["tr"], rng=rng,
        )  # fmt: skip
        shift = tier.site_shift * rng.normal(size=(tier.n_sites, settings["n_parcels"]))
        return BrainPart(ModeScans(model), parcels, shift, loudness)

    def problems(self, tier: Tier, settings: Mapping[str, Any]) -> list[str]:
        """The modes that carry the trait must exist."""
        if tier.k < tier.n_active < settings["n_parcels"]:
            return []
        return [
            f"n_parcels={settings['n_parcels']} is too few: it must be above the {tier.n_active} modes in which"
            f" brains differ (n_active), and these above the {tier.k} dimensions of the trait (k)"
        ]


@register_mechanism
class Modes(ModeMechanism, SparseMechanism):
    """A few causal variants per dimension; the trait in the log innovation variance of connectome modes."""

    name = "modes"
    summary = "a few additive variants shape the powers of connectome modes (the tiers)"
