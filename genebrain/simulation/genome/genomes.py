"""Phased genomes with real linkage over a few gene windows, by coalescent simulation.

One tree sequence per window (windows are inherited independently), European recent growth, or a split into groups of
equal differentiation. SNPs and short indels; no two records overlap, so every variant can be written into a sequence.

Demography after Tennessen et al. 2012 (Science, doi 10.1126/science.1219240), European branch; mutation rate
2.36e-8 is the one that the model was fitted with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import msprime
import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.genome.packed import PackedAlleles

MUTATION_RATE = 2.36e-8
RECOMBINATION_RATE = 1.2e-8
INDELS_PER_SNP = 0.125
LONGEST_INDEL = 50
INDEL_EXPONENT = 1.6
DELETION_SHARE = 0.55
FLANK_BP = 1_500
GRID_BP = 3_000
DIPLOID_SIZE_OF_GROUPS = 7_310
BASES = np.frombuffer(b"ACGT", np.uint8)


@dataclass
class Region:
    """A gene window with its flanks, and who carries what there.

    Attributes
    ----------
    contig : str
    start, window : int, (int, int)
        Of the region and of the gene window inside, 0-based on the contig, half-open.
    name, strand : str
    sequence : uint8 ``[bases]``
        Reference letters of the region.
    position : int ``[sites]``
        0-based on the contig, increasing.
    ref, alt : list of str
    haplotypes : PackedAlleles ``[sites, people, 2]``
        0 reference, 1 alternate.
    """

    contig: str
    start: int
    window: tuple[int, int]
    name: str
    strand: str
    sequence: NDArray[np.uint8]
    position: NDArray[np.int64]
    ref: list[str]
    alt: list[str]
    haplotypes: PackedAlleles

    def inside(self) -> NDArray[np.bool_]:
        """Which records ``[sites]`` lie wholly inside the gene window."""
        end = self.position + np.array([len(ref) for ref in self.ref], np.int64)
        return np.asarray((self.position >= self.window[0]) & (end <= self.window[1]))


def demography(n_groups: int, fst: float) -> msprime.Demography:
    """European recent growth, or ``n_groups`` populations that split at once.

    The split time gives the wanted differentiation: coalescence within a group takes 2N generations on
    average, across groups T more, so that ``Fst = T / (T + 2N)`` (Slatkin 1991).
    """
    if n_groups > 1:
        split = 2 * DIPLOID_SIZE_OF_GROUPS * fst / (1 - fst)
        model = msprime.Demography()
        names = [f"group{i}" for i in range(n_groups)]
        for name in [*names, "ancestral"]:
            model.add_population(name=name, initial_size=DIPLOID_SIZE_OF_GROUPS)
        model.add_population_split(time=split, derived=names, ancestral="ancestral")
        return model
    recent, earlier = math.log(512_000 / 9_300) / 205, math.log(9_300 / 1_032) / (920 - 205)
    model = msprime.Demography()
    model.add_population(name="europe", initial_size=512_000, growth_rate=recent)
    model.add_population_parameters_change(time=205, initial_size=9_300, growth_rate=earlier)
    model.add_population_parameters_change(time=920, initial_size=1_861, growth_rate=0)
    model.add_population_parameters_change(time=2_040, initial_size=14_474)
    model.add_population_parameters_change(time=5_920, initial_size=7_310)
    return model


def window_lengths(window_bp: int, longest_bp: int | None, n_windows: int) -> list[int]:
    """Bases of each window: all the same, or evenly from the shortest to the longest."""
    if longest_bp is None:
        return [window_bp] * n_windows
    return [round(bases) for bases in np.linspace(window_bp, longest_bp, max(0, n_windows)).tolist()]


def simulate_regions(
    groups: NDArray[np.integer],
    *,
    n_windows: int,
    window_bp: int,
    longest_bp: int | None = None,
    n_contigs: int,
    fst: float,
    rng: np.random.Generator,
) -> Iterator[Region]:
    """Yield one region per window.

    Parameters
    ----------
    groups : int ``[people]``
        Ancestry group of each person, sorted, from 0; all zero for one population.
    n_windows, window_bp, n_contigs : int
        Windows, their length, and the contigs they are spread over.
    longest_bp : int, optional
        Windows grow evenly from ``window_bp`` to this length.
    fst : float
        Differentiation between groups.
    """
    counts = np.bincount(groups)
    model = demography(len(counts), fst)
    samples = {population.name: int(n) for population, n in zip(model.populations, counts, strict=False)}
    per_contig = -(-n_windows // n_contigs)
    first = GRID_BP
    for number, bases in enumerate(window_lengths(window_bp, longest_bp, n_windows)):
        contig, slot = divmod(number, per_contig)
        # Window starts lie on a multiple of 3,000: chunks cut at absolute coordinates then begin there too.
        first = first if slot else GRID_BP
        start, length = first - FLANK_BP, bases + 2 * FLANK_BP
        ancestry, mutation = (int(value) for value in rng.integers(1, 2**31, 2))
        trees = msprime.sim_ancestry(
            samples,
            demography=model,
            sequence_length=length,
            recombination_rate=RECOMBINATION_RATE,
            random_seed=ancestry,
        )
        trees = msprime.sim_mutations(
            trees,
            rate=MUTATION_RATE * (1 + INDELS_PER_SNP),
            model=msprime.BinaryMutationModel(),
            random_seed=mutation,
        )
        places, rows = [], []
        for variant in trees.variants(copy=False):  # the table of all of them would be four bytes an allele
            if variant.genotypes.any() and not variant.genotypes.all():
                places.append(int(variant.site.position))
                rows.append(np.packbits(variant.genotypes.astype(bool)))
        offset = np.array(places, np.int64)
        sequence = BASES[rng.integers(0, 4, length)]
        ref, alt = _alleles(offset, sequence, rng)
        yield Region(
            contig=f"chr{contig + 1}",
            start=start,
            window=(first, first + bases),
            name=f"GENE{number + 1:02d}",
            strand="+-"[number % 2],
            sequence=sequence,
            position=offset + start,
            ref=ref,
            alt=alt,
            haplotypes=PackedAlleles.of_packed(rows, len(groups)),
        )
        first += -(-length // GRID_BP) * GRID_BP


def _alleles(
    offset: NDArray[np.int64], sequence: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Letters of each record: SNPs, and indels anchored at the base before, as VCF wants them."""
    text = sequence.tobytes().decode()
    lengths = np.arange(1, LONGEST_INDEL + 1)
    weights = lengths**-INDEL_EXPONENT
    is_indel = rng.random(len(offset)) < INDELS_PER_SNP / (1 + INDELS_PER_SNP)
    is_deletion = rng.random(len(offset)) < DELETION_SHARE
    size = rng.choice(lengths, len(offset), p=weights / weights.sum())
    shift = rng.integers(1, 4, len(offset))
    # A deletion ends before the next record: two records that overlap cannot both be written.
    room = np.diff(offset, append=len(text)) - 1
    ref, alt = [], []
    for site, here in enumerate(offset):
        base = text[here]
        if is_indel[site] and is_deletion[site] and room[site] > 0:
            ref.append(text[here : here + 1 + min(int(size[site]), int(room[site]))])
            alt.append(base)
        elif is_indel[site]:
            ref.append(base)
            alt.append(base + BASES[rng.integers(0, 4, size[site])].tobytes().decode())
        else:
            ref.append(base)
            alt.append("ACGT"[("ACGT".index(base) + int(shift[site])) % 4])
    return ref, alt
