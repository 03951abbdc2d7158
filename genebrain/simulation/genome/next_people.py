"""Other people of the population that some genomes were drawn from.

A further haplotype is a mosaic of those that are known, with the chance of a switch that Li and Stephens (2003,
Genetics 165:2213) give for the next draw from a coalescent; and it carries as many variants that nobody was seen with
as are expected of the next one (Good 1953: singletons over haplotypes). Sites, letters and linkage stay those of the
population.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.genome.families import Pedigree, inherit
from genebrain.simulation.genome.genomes import BASES, DIPLOID_SIZE_OF_GROUPS, RECOMBINATION_RATE, Region
from genebrain.simulation.genome.packed import PackedAlleles
from genebrain.simulation.genome.sources import SimulatedGenomes

Donors = list[NDArray[np.float64]]


def joined_genomes(
    known: SimulatedGenomes,
    known_groups: NDArray[np.int64],
    pedigree: Pedigree,
    groups: NDArray[np.int64],
    samples: list[str],
    *,
    fst: float,
    rng: np.random.Generator,
) -> SimulatedGenomes:
    """The known people and behind them new ones, over all sites of both; the known ones decide what is causal.

    Parameters
    ----------
    known_groups : int ``[people]``
        Ancestry group of the known people.
    pedigree, groups, samples
        Of the new people: who descends from whom, the group of each founder, names.
    fst : float
        Distance of the allele frequencies from those of the known people, 0 for the same.
    """
    weights = _weights(known_groups, fst, rng)
    regions = []
    for region in known.regions:
        grown = _with_new_sites(region, groups, weights, rng)
        crossing = np.diff(grown.position, prepend=grown.position[:1]) * RECOMBINATION_RATE
        n_known = region.haplotypes.shape[1]
        haplotypes = grown.haplotypes[:]
        people = inherit(haplotypes[:, n_known:], pedigree, crossing, rng)
        grown.haplotypes = PackedAlleles.of(np.concatenate([haplotypes[:, :n_known], people], axis=1))
        regions.append(grown)
    panel = np.concatenate([known.panel_alleles, _panel(known.panel_alleles, pedigree, groups, weights, rng)], axis=1)
    return SimulatedGenomes(
        [*known.samples, *samples], regions, panel, None, known.write_panel, n_fitted=len(known.samples)
    )


def only_new(joined: SimulatedGenomes, n_known: int) -> SimulatedGenomes:
    """The new people alone, without sites that none of them carries or all do."""
    regions = []
    for region in joined.regions:
        carried = region.haplotypes[:][:, n_known:]
        kept = np.flatnonzero(carried.any(axis=(1, 2)) & ~carried.all(axis=(1, 2)))
        regions.append(_picked(region, kept, PackedAlleles.of(carried[kept])))
    return SimulatedGenomes(
        joined.samples[n_known:], regions, joined.panel_alleles[:, n_known:], None, joined.write_panel
    )


def _weights(groups: NDArray[np.int64], fst: float, rng: np.random.Generator) -> Donors:
    """Chance of each known haplotype ``[2 * people]`` to be copied, by ancestry group.

    With weights of a symmetric Dirichlet distribution, frequencies p move by a variance of p (1 - p) times the sum of
    the squared weights, which is Fst.
    """
    chances = []
    for group in range(int(groups.max(initial=0)) + 1):
        donors = np.repeat(groups == group, 2).astype(np.float64)
        n = donors.sum()
        if fst > 0 and n * fst > 1:
            donors[donors > 0] = rng.dirichlet(np.full(int(n), (1 - fst) / (n * fst - 1)))
        chances.append(donors / donors.sum())
    return chances


def _with_new_sites(region: Region, groups: NDArray[np.int64], weights: Donors, rng: np.random.Generator) -> Region:
    """The region with the founders' haplotypes behind the known ones, and with variants that they alone carry."""
    known = region.haplotypes[:].reshape(len(region.position), -1)
    gaps = np.diff(region.position, prepend=region.position[:1])
    parts = []
    for group, chance in enumerate(weights):
        n = 2 * int((groups == group).sum())
        switch = 1 - np.exp(-4 * DIPLOID_SIZE_OF_GROUPS * RECOMBINATION_RATE * gaps / np.count_nonzero(chance))
        parts.append(_mosaic(known, switch, n, chance, rng))
    founders = np.concatenate(parts, axis=1)
    singletons = int(np.isin(known.sum(axis=1), (1, known.shape[1] - 1)).sum())
    owners = np.repeat(np.arange(founders.shape[1]), rng.poisson(singletons / known.shape[1], founders.shape[1]))
    places = _free_places(region, len(owners), rng)
    owners = rng.permutation(owners)[: len(places)]
    new = np.zeros((len(places), known.shape[1] + founders.shape[1]), np.int8)
    new[np.arange(len(places)), known.shape[1] + owners] = 1
    position = np.concatenate([region.position, places])
    order = np.argsort(position, kind="stable")
    letters = region.sequence[places - region.start]
    other = (np.searchsorted(BASES, letters) + rng.integers(1, 4, len(places))) % 4
    ref = [*region.ref, *(chr(letter) for letter in letters)]
    alt = [*region.alt, *(chr(BASES[letter]) for letter in other)]
    carried = np.concatenate([np.concatenate([known, founders], axis=1), new])[order]
    return replace(
        region,
        position=position[order],
        ref=[ref[i] for i in order],
        alt=[alt[i] for i in order],
        haplotypes=PackedAlleles.of(carried.reshape(len(order), -1, 2)),
    )


def _mosaic(
    known: NDArray[np.int8],
    switch: NDArray[np.float64],
    n: int,
    chance: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    """Haplotypes ``[sites, n]`` that copy known ones ``[sites, haplotypes]`` and switch between them."""
    crossed = rng.random((len(known), n)) < switch[:, None]
    crossed[:1] = True
    donors = rng.choice(len(chance), size=crossed.shape, p=chance)
    since = np.maximum.accumulate(np.where(crossed, np.arange(len(known))[:, None], 0), axis=0)
    return np.take_along_axis(known, np.take_along_axis(donors, since, axis=0), axis=1)


def _free_places(region: Region, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions inside the region, of which no record covers a letter; fewer where there is no room."""
    free = np.ones(len(region.sequence), bool)
    for position, ref in zip(region.position - region.start, region.ref, strict=True):
        free[position : position + len(ref)] = False
    places = rng.permutation(np.flatnonzero(free))[:n]
    return np.sort(places).astype(np.int64) + region.start


def _panel(
    known: NDArray[np.int8], pedigree: Pedigree, groups: NDArray[np.int64], weights: Donors, rng: np.random.Generator
) -> NDArray[np.int8]:
    """Unlinked SNPs of the new people ``[SNPs, people, 2]``, every allele a known one of the group."""
    haplotypes = known.reshape(len(known), -1)
    chance = np.stack([haplotypes @ weights[group] for group in range(len(weights))])
    founders = (rng.random((len(known), len(groups), 2)) < chance[groups].T[:, :, None]).astype(np.int8)
    return inherit(founders, pedigree, np.full(len(known), 0.5), rng)


def _picked(region: Region, sites: NDArray[np.int64], haplotypes: PackedAlleles) -> Region:
    return replace(
        region,
        position=region.position[sites],
        ref=[region.ref[i] for i in sites],
        alt=[region.alt[i] for i in sites],
        haplotypes=haplotypes,
    )
