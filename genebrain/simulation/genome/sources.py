"""Sources of simulated genomes: a coalescent simulation, or 300 real people.

Both give the dosages from which traits are made, a panel for principal components, and write the files that
``cohort.yaml`` names.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import cyvcf2
import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.simulation.genome import awkward as simulated_awkward
from genebrain.simulation.genome.families import Pedigree, inherit
from genebrain.simulation.genome.genomes import RECOMBINATION_RATE, Region, simulate_regions
from genebrain.simulation.genome.packed import PackedAlleles
from genebrain.simulation.genome.writer import Record, write_reference, write_vcf, write_windows

REAL_GENOMES = "chr20_1000g"
PANEL_CONTIGS = 22
Dosages = NDArray[np.int8]


class Genomes(Protocol):
    """What the simulator needs to know of genomes.

    Attributes
    ----------
    samples : list of str
        Names in the genotype file, in the order of the ``people`` axis.
    dosages, usable : over windows of int8 ``[sites, people]`` and bool ``[sites]``
        Alternate alleles, and whether a record may be causal (inside the window, overlapping no other).
    panel : int8 ``[people, SNPs]``
        Dosages for principal components.
    n_fitted : int or None
        How many of the people, the first ones, decide what is causal and how effects are scaled; None: everybody.
    """

    samples: list[str]
    n_fitted: int | None

    @property
    def dosages(self) -> Iterable[Dosages]:  # noqa: D102
        ...

    @property
    def usable(self) -> list[NDArray[np.bool_]]:  # noqa: D102
        ...

    @property
    def panel(self) -> Dosages:  # noqa: D102
        ...

    def write(self, folder: Path, causal: Sequence[tuple[int, int]]) -> dict[str, str]:
        """Write the genotype files; return their names by key of ``cohort.yaml``."""
        ...


@dataclass
class SimulatedGenomes:
    """Genomes by coalescent simulation; see :class:`Genomes`."""

    samples: list[str]
    regions: list[Region]
    panel_alleles: NDArray[np.int8]
    awkward_seed: int | None
    write_panel: bool
    n_fitted: int | None = None

    @classmethod
    def simulate(
        cls,
        pedigree: Pedigree,
        groups: NDArray[np.int64],
        samples: list[str],
        *,
        n_windows: int,
        window_bp: int,
        longest_bp: int | None,
        n_contigs: int,
        n_genomewide: int,
        fst: float,
        awkward_seed: int | None,
        write_panel: bool,
        rng: np.random.Generator,
    ) -> SimulatedGenomes:
        """Simulate founders and let the people of the pedigree inherit.

        ``groups`` holds the ancestry group of each founder, sorted; ``fst`` the differentiation of groups;
        ``n_genomewide`` counts unlinked SNPs outside the windows, for principal components and kinship.
        """
        regions = []
        for region in simulate_regions(
            groups,
            n_windows=n_windows,
            window_bp=window_bp,
            longest_bp=longest_bp,
            n_contigs=n_contigs,
            fst=fst,
            rng=rng,
        ):
            crossing = np.diff(region.position, prepend=region.position[:1]) * RECOMBINATION_RATE
            regions.append(region if pedigree.is_only_founders else _of_people(region, pedigree, crossing, rng))
        frequency = rng.uniform(0.2, 0.5, n_genomewide)
        if groups.max(initial=0) > 0:
            spread = (1 - fst) / fst
            shape = (groups.max() + 1, n_genomewide)
            by_group = rng.beta(frequency * spread, (1 - frequency) * spread, shape).clip(0.02, 0.98)
        else:
            by_group = frequency[None]
        chance = by_group.astype(np.float32)[groups].T[:, :, None]
        founders = (rng.random((n_genomewide, len(groups), 2), dtype=np.float32) < chance).astype(np.int8)
        panel = inherit(founders, pedigree, np.full(n_genomewide, 0.5), rng)
        return cls(samples, regions, panel, awkward_seed, write_panel)

    @property
    def dosages(self) -> Iterable[Dosages]:  # noqa: D102
        return (region.haplotypes.dosages() for region in self.regions)

    @property
    def usable(self) -> list[NDArray[np.bool_]]:  # noqa: D102
        return [region.inside() for region in self.regions]

    @property
    def panel(self) -> Dosages:  # noqa: D102
        return self.panel_alleles.sum(axis=2, dtype=np.int8).T

    def write(self, folder: Path, causal: Sequence[tuple[int, int]]) -> dict[str, str]:
        """Write ``genotypes.vcf.gz``, ``reference.fa``, ``windows.bed`` and, if wanted, ``genomewide.vcf.gz``."""
        rng = np.random.default_rng(self.awkward_seed or 0)
        records: list[Iterable[Record]] = []
        contigs: dict[str, NDArray[np.uint8]] = {}
        for number, region in enumerate(self.regions):
            kept = {site for window, site in causal if window == number}
            sequence = region.sequence
            if self.awkward_seed is None:
                records.append(simulated_awkward.plain_records(region))
            else:
                extra, sequence = simulated_awkward.awkward_records(region, kept, rng)
                records.append(extra)
            gap = rng.choice(np.frombuffer(b"ACGT", np.uint8), region.start - len(contigs.get(region.contig, b"")))
            before = contigs.get(region.contig, np.zeros(0, np.uint8))
            contigs[region.contig] = np.concatenate([before, gap, sequence])
        lengths = {name: len(letters) for name, letters in contigs.items()}
        header = "" if self.awkward_seed is None else simulated_awkward.HEADER
        write_vcf(folder / "genotypes.vcf.gz", self.samples, lengths, chain.from_iterable(records), header)
        write_reference(folder / "reference.fa", contigs)
        write_windows(folder / "windows.bed", ((r.contig, *r.window, r.name, r.strand) for r in self.regions))
        files = {"genotypes": "genotypes.vcf.gz", "reference": "reference.fa", "windows": "windows.bed"}
        if self.write_panel:
            self._write_panel(folder / "genomewide.vcf.gz")
            files["genomewide"] = "genomewide.vcf.gz"
        return files

    def _write_panel(self, path: Path) -> None:
        """Unlinked SNPs, unphased as an array gives them, spread over 22 contigs."""
        per_contig = -(-len(self.panel_alleles) // PANEL_CONTIGS)
        step = 1_000_000
        contigs = {f"chr{i + 1}": (per_contig + 1) * step for i in range(PANEL_CONTIGS)}
        records = (
            Record(f"chr{i // per_contig + 1}", (i % per_contig + 1) * step, f"snp{i}", "A", ["G"], alleles, False)
            for i, alleles in enumerate(np.sort(self.panel_alleles, axis=2))
        )
        write_vcf(path, self.samples, contigs, records)


def _of_people(region: Region, pedigree: Pedigree, crossing: NDArray[np.float64], rng: np.random.Generator) -> Region:
    """The region with the people's genomes, without sites that nobody inherited or everybody carries."""
    haplotypes = inherit(region.haplotypes[:], pedigree, crossing, rng)
    kept = haplotypes.any(axis=(1, 2)) & ~haplotypes.all(axis=(1, 2))
    sites = np.flatnonzero(kept)
    region.position = region.position[kept]
    region.ref, region.alt = [region.ref[i] for i in sites], [region.alt[i] for i in sites]
    region.haplotypes = PackedAlleles.of(haplotypes[kept])
    return region


@dataclass
class RealGenomes:
    """The 1000 Genomes slice that the project ships; see :class:`Genomes` and its README for the origin."""

    samples: list[str]
    dosages: list[Dosages]
    usable: list[NDArray[np.bool_]]
    source: Path
    n_fitted: int | None = None

    @classmethod
    def read(cls, n_people: int) -> RealGenomes:
        """Read the first ``n_people`` people over the gene windows."""
        source = real_genomes_folder()
        reader = cyvcf2.VCF(str(source / "genotypes.vcf.gz"), gts012=True)
        samples = list(reader.samples)[:n_people]
        dosages, usable = [], []
        for line in (source / "genes.bed").read_text().splitlines():
            contig, start, end = line.split("\t")[:3]
            first, last, calls = [], [], []
            for record in reader(f"{contig}:{int(start) + 1}-{end}"):
                first.append(record.POS - 1)
                last.append(record.POS - 1 + len(record.REF))
                calls.append(record.gt_types[:n_people].astype(np.int8))
            begin, finish = np.array(first), np.array(last)
            alone = np.append(begin[1:] >= finish[:-1], True)
            alone[1:] &= begin[1:] >= np.maximum.accumulate(finish)[:-1]
            dosages.append(np.stack(calls))
            usable.append(alone & (begin >= int(start)) & (finish <= int(end)))
        reader.close()
        return cls(samples, dosages, usable, source)

    @property
    def panel(self) -> Dosages:  # noqa: D102
        return np.concatenate(self.dosages).T

    def write(self, folder: Path, causal: Sequence[tuple[int, int]]) -> dict[str, str]:
        """Copy the files; the genomes stay as they are."""
        for file in sorted(self.source.iterdir()):
            if file.suffix != ".md":
                shutil.copyfile(file, folder / file.name)
        return {"genotypes": "genotypes.vcf.gz", "reference": "reference.fa.gz", "windows": "genes.bed"}


def real_genomes_folder() -> Path:
    """Folder of the shipped genomes, in a checkout or in an installed package."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package.parent / "data" / REAL_GENOMES, package / "data" / REAL_GENOMES):
        if (folder / "genotypes.vcf.gz").is_file():
            return folder
    raise UserError(f"data/{REAL_GENOMES} is not installed with {package.name}; use genomes=msprime")
