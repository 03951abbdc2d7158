"""Draw of a cohort: genomes, genetic values and the maker of scans, by the settings and their seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.genome.families import Pedigree, plan_families
from genebrain.simulation.genome.sources import REAL_GENOMES, Genomes, RealGenomes, SimulatedGenomes
from genebrain.simulation.mechanisms.registry import BrainPart, GeneticPart
from genebrain.simulation.settings import mechanism_of
from genebrain.simulation.tiers import Tier

FST = 0.05
STREAMS = ("genomes", "causal", "people", "trait", "brain")
TWIN_STREAM = 104


@dataclass(frozen=True)
class Drawn:
    """Genomes of a cohort and what acts on its scans.

    Attributes
    ----------
    groups : int ``[people]``
        Ancestry group.
    streams : dict
        Random streams of the cohort by name, where the draws left them.
    prefix : str
        Of the names of participants.
    first_site : int
        Number of the first scanner in ``brain.shift``.
    """

    source: Genomes
    groups: NDArray[np.int64]
    pedigree: Pedigree
    genetic: GeneticPart
    brain: BrainPart
    streams: dict[str, np.random.Generator]
    prefix: str = "S"
    first_site: int = 0


def streams_of(seed: int) -> dict[str, np.random.Generator]:
    """Random streams of a cohort by name."""
    streams = {name: np.random.default_rng([seed, stream]) for stream, name in enumerate(STREAMS)}
    return streams | {"twin": np.random.default_rng([seed, TWIN_STREAM])}


def draw(tier: Tier, settings: dict[str, Any]) -> Drawn:
    """Draw a cohort that stands by itself."""
    n, rng = settings["n_subjects"], streams_of(settings["seed"])
    pedigree = plan_families(n, tier.siblings, tier.twins)
    groups = np.arange(pedigree.n_founders) * tier.n_groups // pedigree.n_founders
    source = _genomes(settings, tier, pedigree, groups, rng["genomes"])
    groups = groups[:n] if tier.n_groups > 1 else np.zeros(n, np.int64)
    mechanism = mechanism_of(settings)
    genetic = mechanism.genetics(source, tier, groups, rng)
    brain = mechanism.brain(tier, settings, rng["brain"])
    return Drawn(source, groups, pedigree, genetic, brain, rng)


def _genomes(
    settings: dict[str, Any], tier: Tier, pedigree: Pedigree, groups: NDArray[np.int64], rng: np.random.Generator
) -> Genomes:
    n = settings["n_subjects"]
    if settings["genomes"] == REAL_GENOMES:
        return RealGenomes.read(n)
    numbers = np.random.default_rng([settings["seed"], len(STREAMS)]).permutation(n)
    return SimulatedGenomes.simulate(
        pedigree,
        groups,
        [f"G{number + 1:06d}" for number in numbers],
        n_windows=settings["n_windows"],
        window_bp=settings["window_bp"],
        longest_bp=settings.get("longest_bp"),
        n_contigs=settings["n_contigs"],
        n_genomewide=settings["n_genomewide"],
        fst=FST,
        awkward_seed=settings["seed"] + 1 if settings["awkward"] else None,
        write_panel=bool(tier.siblings or tier.twins),
        rng=rng,
    )
