"""Look at genotypes before anything is computed: contigs, reference build, phase, missing calls, duplicates.

Reads variant records of the windows, as many as asked for, before any policy is applied. Says what it found,
changes nothing. Does not know scans, or what a policy would make of an odd record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from genebrain.cohort.checks.contigs import windows_on_known_contigs
from genebrain.cohort.tables.problems import Problems, named
from genebrain.common.types import IntArray, UserError
from genebrain.genetics.genome.gene_windows import Window, read_windows
from genebrain.genetics.genome.haplotypes import open_genotypes
from genebrain.genetics.genome.reference import Reference
from genebrain.genetics.genome.vcf import MISSING, GenotypeFile, Sites

SLICE_BP = 10_000
FEWEST_PER_WINDOW = 20
MISSING_PER_PERSON = 0.1
DUPLICATE_SITES = 200
MOST_DUPLICATE_SITES = 2000


@dataclass
class _Tally:
    """Counts over the records that were looked at; ``missing`` is per person."""

    missing: IntArray
    records: int = 0
    mismatches: list[str] = field(default_factory=list)
    heterozygous: int = 0
    unphased: int = 0
    empty_windows: list[str] = field(default_factory=list)
    dosages: list[NDArray[np.int8]] = field(default_factory=list)

    def add(self, sites: Sites, rows: NDArray[np.intp], contig: str, letters: list[bytes]) -> None:
        """Count the records ``rows`` of ``sites``; ``letters`` are what the reference has under them."""
        for row, expected in zip(rows, letters, strict=True):
            written = sites.reference[row].upper()
            if written != expected:
                where = f"{contig}:{sites.position[row] + 1}"
                self.mismatches.append(f"{where} {written[:10].decode()} (reference {expected[:10].decode()})")
        alleles, phased = sites.alleles[rows], sites.phased[rows]
        missing = (alleles == MISSING).any(axis=2)
        heterozygous = (alleles >= 0).all(axis=2) & (alleles[..., 0] != alleles[..., 1])
        self.records += len(rows)
        self.missing += missing.sum(axis=0)
        self.heterozygous += int(heterozygous.sum())
        self.unphased += int((heterozygous & ~phased).sum())
        if len(self.dosages) < MOST_DUPLICATE_SITES:
            dosage = np.where(missing, -1, (alleles > 0).sum(axis=2)).astype(np.int8)
            self.dosages.extend(dosage[heterozygous.any(axis=1)])


@dataclass(frozen=True)
class GenotypeFindings:
    """How many ``records`` were looked at, and groups of ``people`` (rows) with ``identical`` calls."""

    records: int = 0
    identical: tuple[tuple[int, ...], ...] = ()


def check_genotypes(
    genotypes: Path,
    reference: Path,
    windows: Path,
    problems: Problems,
    *,
    people: Sequence[str] | None = None,
    most: int = 20_000,
    unphased: str = "error",
    progress: bool = False,
) -> GenotypeFindings:
    """Add the problems of the genotype file to ``problems``.

    Parameters
    ----------
    people : sequence of str, optional
        Sample names to look at; None: everybody in the file.
    most : int
        Records to look at in all, spread evenly over the windows.
    unphased : str
        Policy for unphased heterozygous calls that the run will use; with ``error`` an error here too.
    """
    try:
        file = open_genotypes(genotypes)
        regions = read_windows(windows)
        fasta = Reference(reference)
    except UserError as error:
        problems.error("unreadable genetics", str(error))
        return GenotypeFindings()
    with fasta:
        usable = windows_on_known_contigs(regions, file.contigs, fasta.contigs, problems)
        if not usable:
            return GenotypeFindings()
        fasta.check(usable)
        row_of = {name: row for row, name in enumerate(file.samples)}
        rows = [row_of[name] for name in people] if people is not None else list(range(len(row_of)))
        n_windows = max(1, min(len(usable), most // FEWEST_PER_WINDOW))
        chosen = [usable[i] for i in np.linspace(0, len(usable) - 1, n_windows).astype(int)]
        tally = _Tally(np.zeros(len(rows), np.int64))
        for window in tqdm(chosen, "variants", unit="window", disable=not progress):
            try:
                _look(window, file, rows, fasta.fetch(window), most // n_windows, tally)
            except UserError as error:
                problems.error("unreadable genetics", f"window {window.name}: {error}")
                break
    _report(tally, len(chosen), genotypes.name, reference.name, unphased, problems)
    return GenotypeFindings(tally.records, _identical(tally))


def _slices(window: Window) -> Iterator[Window]:
    """Short pieces of a window, so that a gene of a million bases never fills the memory with calls."""
    for start in range(window.start, window.end, SLICE_BP):
        yield Window(window.contig, start, min(start + SLICE_BP, window.end), window.name)


def _look(window: Window, file: GenotypeFile, people: list[int], sequence: bytes, most: int, tally: _Tally) -> None:
    """Add up to ``most`` records that lie whole inside a window with the letters ``sequence``."""
    n_left = most
    for piece in _slices(window):
        sites = file.read(piece, people)
        lengths = np.array([len(reference) for reference in sites.reference], dtype=np.int64)
        starts_here = (sites.position >= piece.start) & (sites.position < piece.end)
        rows = np.flatnonzero(starts_here & (sites.position + lengths <= window.end))[:n_left]
        offsets = sites.position[rows] - window.start
        letters = [sequence[i : i + n] for i, n in zip(offsets, lengths[rows], strict=True)]
        tally.add(sites, rows, window.contig, letters)
        n_left -= len(rows)
        if n_left == 0:
            break
    if n_left == most:
        tally.empty_windows.append(window.name)


def _identical(tally: _Tally) -> tuple[tuple[int, ...], ...]:
    """Groups of people with equal calls at every variable site, if there are enough to mean something."""
    if len(tally.dosages) < DUPLICATE_SITES:
        return ()
    groups: dict[bytes, list[int]] = {}
    for person, calls in enumerate(np.stack(tally.dosages, axis=1)):
        groups.setdefault(calls.tobytes(), []).append(person)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _report(tally: _Tally, n_windows: int, genotypes: str, reference: str, unphased: str, problems: Problems) -> None:
    if tally.records == 0:
        words = f"{genotypes} has no variant in any of the {n_windows} windows looked at"
        problems.error("no records", words, windows=n_windows)
        return
    if n_wrong := len(tally.mismatches):
        share = n_wrong / tally.records
        cause = "Is it another genome build?" if share > 0.2 else "Mend these records or take them out"
        problems.error(
            "reference mismatch",
            f"{n_wrong} of {tally.records} records ({share:.1%}) have a REF that {reference} does not have there: "
            f"{named(tally.mismatches)}. {cause}",
            mismatches=n_wrong,
            records=tally.records,
        )
    if tally.unphased:
        add = problems.error if unphased == "error" else problems.warning
        add(
            "unphased",
            f"{tally.unphased} of {tally.heterozygous} heterozygous calls ({tally.unphased / tally.heterozygous:.1%}) "
            "are unphased: which copy carries the variant is unknown. Phase the file, or choose the policy "
            "`unphased: as_written` or `unphased: random`",
            unphased=tally.unphased,
            heterozygous=tally.heterozygous,
        )
    if n_missing := int(tally.missing.sum()):
        n_calls = tally.records * len(tally.missing)
        many = int((tally.missing > MISSING_PER_PERSON * tally.records).sum())
        problems.warning(
            "missing genotypes",
            f"{n_missing} of {n_calls} calls ({n_missing / n_calls:.2%}) are missing; {many} people miss more than "
            f"{MISSING_PER_PERSON:.0%}. A missing allele counts as the reference allele; a run masks windows of people "
            "who miss more than `genetics.missing_threshold`",
            missing=n_missing,
            calls=n_calls,
            people=many,
        )
    if tally.empty_windows:
        problems.warning(
            "empty windows",
            f"{len(tally.empty_windows)} of {n_windows} windows looked at have no variant: "
            f"{named(tally.empty_windows)}; there everybody has the reference sequence",
            windows=len(tally.empty_windows),
        )
