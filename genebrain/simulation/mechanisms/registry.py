"""Registry of mechanisms, and the parts that every mechanism has.

A mechanism draws genetic values from genomes and makes scans from a trait. Its own defaults (dimensions, heritability)
are a :class:`~genebrain.simulation.tiers.Tier`; families, sites and files belong to the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from genebrain.common.registry import Registry
from genebrain.simulation.genome.sources import Genomes
from genebrain.simulation.scans import Parcels
from genebrain.simulation.tiers import Tier

Floats = NDArray[np.float64]
Streams = Mapping[str, np.random.Generator]


@dataclass(frozen=True)
class Conditions:
    """Under what conditions some people are scanned.

    Attributes
    ----------
    shift : float ``[people, modes]``
        Effect of the scanner on the log power of each mode.
    site : int ``[people]``
    mean_fd : float ``[people]``
        Usual framewise displacement, mm.
    """

    shift: Floats
    site: NDArray[np.int64]
    mean_fd: Floats


@dataclass(frozen=True)
class GeneticPart:
    """Genetic values, and what a learner could know of how they came about.

    Attributes
    ----------
    values : float ``[people, k]``
        Mean 0, identity covariance over the cohort.
    causal : list of (window, site)
        Variants that act; empty where words of the sequence act.
    design : float ``[people, columns]`` or None
        Causal columns, scaled so that their effects are standard normal: given them, the best possible learner is a
        Gaussian posterior (:mod:`genebrain.evaluation.learner`).
    """

    values: Floats
    causal: list[tuple[int, int]]
    design: Floats | None = None


class ScanModel(Protocol):
    """Maker of scans; what derives from it has no other reading of the trait than the trait itself."""

    def scans(
        self, trait: Floats, conditions: Conditions, n_frames: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Parcel series ``[people, frames, parcels]`` of the trait ``[people, k]``, arbitrary units."""
        ...

    def read_trait(self, scans: NDArray[np.floating], trait: Floats, conditions: Conditions) -> Floats:
        """A sufficient statistic ``[people, k]`` of the trait; the trait itself where none is known."""
        return trait


@dataclass(frozen=True)
class BrainPart:
    """The maker of scans, where the parcels lie, and how well the oracle reads them.

    Attributes
    ----------
    model : ScanModel
    parcels : Parcels
    shift : float ``[sites, modes]``
        Effect of each scanner on log powers.
    loudness : float
        Scale of the trait in the scan model's own unit.
    """

    model: ScanModel
    parcels: Parcels
    shift: Floats
    loudness: float


class Mechanism:
    """One way from genomes to scans.

    Attributes
    ----------
    name, summary : str
        As on the command line, and in one line.
    tier : Tier or None
        Its own defaults; None: those of the tier that the user names.
    exact : bool
        Whether a sufficient statistic of the trait is known. Otherwise the oracle is given the trait itself, and the
        ceiling is an upper bound.
    sequences : bool
        Whether it needs the letters of simulated genomes.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    tier: ClassVar[Tier | None] = None
    exact: ClassVar[bool] = False
    sequences: ClassVar[bool] = False

    def genetics(self, source: Genomes, tier: Tier, groups: NDArray[np.int64], rng: Streams) -> GeneticPart:
        """Draw genetic values; ``groups [people]`` are ancestry groups, within which values are centred."""
        raise NotImplementedError

    def brain(self, tier: Tier, settings: Mapping[str, Any], rng: np.random.Generator) -> BrainPart:
        """Draw the maker of scans for ``settings`` of the simulator (``n_parcels``, ``n_frames``, ``tr``)."""
        raise NotImplementedError

    def problems(self, tier: Tier, settings: Mapping[str, Any]) -> list[str]:
        """Why these settings are impossible for this mechanism, in words."""
        return []


MECHANISMS: Registry[Mechanism] = Registry("mechanism")
"""All mechanisms by name."""


def register_mechanism(kind: type[Mechanism]) -> type[Mechanism]:
    """Enter a mechanism under its name (class decorator); a name that is taken is a ``UserError``."""
    MECHANISMS.add(kind.name, kind())
    return kind
