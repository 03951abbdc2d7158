"""Polygenic traits: effects on every variant, and a few shared loci over a polygenic rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.genome.sources import Genomes
from genebrain.simulation.mechanisms.modes import ModeMechanism
from genebrain.simulation.mechanisms.registry import Floats, GeneticPart, Streams, register_mechanism
from genebrain.simulation.tiers import Tier
from genebrain.simulation.traits import choose_causal, whitened

N_LOCI = 6
SHARE_OF_LOCI = 0.4
"""Of the genetic variance; each locus acts on all dimensions."""

LOWEST_MAF = 0.01


@register_mechanism
class Dense(ModeMechanism):
    """Normal effects of every variant with MAF >= 1 % on every dimension; scans as in ``modes``."""

    name = "dense"
    summary = "every variant with MAF >= 1 % acts on every dimension of the trait"
    tier = Tier(k=16, h2=0.49, rel=0.99, n_active=20, causal_per_dim=4)

    def genetics(self, source: Genomes, tier: Tier, groups: NDArray[np.int64], rng: Streams) -> GeneticPart:
        """Independent normal effects."""
        columns, sites = common_columns(source)
        p = columns.shape[1]
        values, n = columns @ rng["trait"].normal(size=(p, tier.k)), source.n_fitted
        values = whitened(values, groups, n, f"{p} variants with MAF >= {LOWEST_MAF}")
        return GeneticPart(values, sites, columns / np.sqrt(p))


def common_columns(source: Genomes) -> tuple[Floats, list[tuple[int, int]]]:
    """Standardised dosages ``[people, variants]`` of frequent variants inside the windows, and which these are.

    Frequencies and scales are those of the people who are fitted (:attr:`Genomes.n_fitted`).
    """
    columns, sites, n = [], [], source.n_fitted
    for window, (dosage, usable) in enumerate(zip(source.dosages, source.usable, strict=True)):
        share = dosage[:, :n].mean(axis=1) / 2
        kept = np.flatnonzero((np.minimum(share, 1 - share) >= LOWEST_MAF) & usable)
        centred = dosage[kept] - 2 * share[kept, None]
        columns.append((centred / centred[:, :n].std(axis=1, keepdims=True)).T)
        sites += [(window, int(site)) for site in kept]
    return np.concatenate(columns, axis=1), sites


@register_mechanism
class FewLoci(ModeMechanism):
    """Six loci that act on all dimensions carry 40 % of the genetic variance, all frequent variants the rest."""

    name = "few_loci"
    summary = "six shared loci over a polygenic rest, heritability .2"
    tier = Tier(k=16, h2=0.2, rel=0.99, n_active=20, causal_per_dim=4)

    def genetics(self, source: Genomes, tier: Tier, groups: NDArray[np.int64], rng: Streams) -> GeneticPart:
        """Normal effects of two sizes."""
        columns, sites = common_columns(source)
        n = source.n_fitted
        loci = choose_causal((dosage[:, :n] for dosage in source.dosages), source.usable, N_LOCI, rng["causal"])
        p = columns.shape[1]
        variance = np.full(p, (1 - SHARE_OF_LOCI) / p)
        variance[[sites.index(locus) for locus in loci]] += SHARE_OF_LOCI / len(loci)
        effects = np.sqrt(variance)[:, None] * rng["trait"].normal(size=(p, tier.k))
        values = whitened(columns @ effects, groups, n, f"{p} variants")
        return GeneticPart(values, sites, columns * np.sqrt(variance))
