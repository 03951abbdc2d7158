"""Checks of genotypes before any work: contigs, reference build, phase, missing calls, duplicates.

Reads variant records of the windows, as many as asked for, before any policy is applied. Says what it found, changes
nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from genebrain.cohort.checks.contigs import windows_on_known_contigs, windows_with_records
from genebrain.cohort.tables.problems import Problems, named
from genebrain.common.types import IntArray, UserError
from genebrain.common.words import no_bar
from genebrain.genetics.genome.gene_windows import Window, read_windows
from genebrain.genetics.genome.reference import Reference, agrees
from genebrain.genetics.genotypes.allele_kinds import in_several_sets, is_readable, symbolic_carriers
from genebrain.genetics.genotypes.records import MISSING, GenotypeFile, Sites
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.haplotypes.allele_calls import repeated_records
from genebrain.genetics.haplotypes.resolve import open_genotypes
from genebrain.genetics.haplotypes.told import told_left_out, told_phase_sets, told_repeated, told_symbolic

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
    still_windows: list[str] = field(default_factory=list)
    symbolic: list[int] = field(default_factory=list)
    repeated: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    phase_sets: list[tuple[NDArray[np.bool_], NDArray[np.int64]]] = field(default_factory=list)
    phase_set_windows: int = 0
    several_sets: set[int] = field(default_factory=set)
    dosages: list[NDArray[np.int8]] = field(default_factory=list)

    def add(self, sites: Sites, rows: NDArray[np.intp], contig: str, letters: list[bytes]) -> None:
        """Count the records ``rows`` of ``sites``; ``letters`` are what the reference has under them."""
        for row, expected in zip(rows, letters, strict=True):
            written = sites.reference[row].upper()
            if not agrees(written, expected):
                where = f"{contig}:{sites.position[row] + 1}"
                self.mismatches.append(f"{where} {written[:10].decode()} (reference {expected[:10].decode()})")
        alleles, phased = sites.alleles[rows], sites.phased[rows]
        missing = (alleles == MISSING).any(axis=2)
        heterozygous = (alleles >= 0).all(axis=2) & (alleles[..., 0] != alleles[..., 1])
        self.records += len(rows)
        self.missing += missing.sum(axis=0)
        self.heterozygous += int(heterozygous.sum())
        self.unphased += int((heterozygous & ~phased).sum())
        self.symbolic += [n for row in rows.tolist() if (n := symbolic_carriers(sites, row))]
        self.repeated += repeated_records(sites, rows)
        self.left_out.update(sites.left_out)
        if sites.phase_set is not None:
            self.phase_sets.append((heterozygous & phased, sites.phase_set[rows]))
        if len(self.dosages) < MOST_DUPLICATE_SITES:
            dosage = np.where(missing, -1, (alleles > 0).sum(axis=2)).astype(np.int8)
            self.dosages.extend(dosage[heterozygous.any(axis=1)])

    def close_window(self, name: str, *, empty: bool, varies: bool) -> None:
        """Draw together what is known only of a whole window."""
        if empty:
            self.empty_windows.append(name)
        if not varies:
            self.still_windows.append(name)
        if self.phase_sets:
            known, sets = (np.concatenate(part) for part in zip(*self.phase_sets, strict=True))
            several = np.flatnonzero(in_several_sets(known, sets))
            self.several_sets.update(several.tolist())
            self.phase_set_windows += len(several) > 0
            self.phase_sets = []


@dataclass(frozen=True)
class GenotypeFindings:
    """How many ``records`` were looked at, and groups of ``people`` (rows) with ``identical`` calls.

    ``windows`` counts the windows that were looked at, those that vary among the people, and names the others.
    """

    records: int = 0
    windows: dict[str, Any] = field(default_factory=dict)
    identical: tuple[tuple[int, ...], ...] = ()


def check_genotypes(
    genotypes: Path | GenotypeSource,
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
        try:
            usable = windows_with_records(usable, file.recorded, genotypes.name, problems)
        except UserError as error:
            problems.error("unreadable genetics", str(error))
            return GenotypeFindings()
        if not usable:
            return GenotypeFindings()
        fasta.check(usable)
        row_of = {name: row for row, name in enumerate(file.samples)}
        rows = [row_of[name] for name in people] if people is not None else list(range(len(row_of)))
        n_windows = max(1, min(len(usable), most // FEWEST_PER_WINDOW))
        chosen = [usable[i] for i in np.linspace(0, len(usable) - 1, n_windows).astype(int)]
        tally = _Tally(np.zeros(len(rows), np.int64))
        for window in tqdm(chosen, "variants", unit="window", disable=no_bar(progress)):
            try:
                _look(window, file, rows, fasta.fetch(window), most // n_windows, tally)
            except UserError as error:
                problems.error("unreadable genetics", f"window {window.name}: {error}")
                break
    _report(tally, len(chosen), genotypes.name, reference.name, unphased, problems)
    looked = {
        "people": len(rows),
        "windows": len(chosen),
        "windows_that_vary": len(chosen) - len(tally.still_windows),
        "windows_without_variation": tally.still_windows,
    }
    return GenotypeFindings(tally.records, looked, _identical(tally))


def _slices(window: Window) -> Iterator[Window]:
    """Short pieces of a window, so that a gene of a million bases never fills the memory with calls."""
    for start in range(window.start, window.end, SLICE_BP):
        yield Window(window.contig, start, min(start + SLICE_BP, window.end), window.name)


def _look(window: Window, file: GenotypeFile, people: list[int], sequence: bytes, most: int, tally: _Tally) -> None:
    """Add up to ``most`` records that lie whole inside a window with the letters ``sequence``.

    A window in which nobody differs so far is read to its end: that nothing varies must be true of all of it.
    """
    n_left, varies, empty = most, False, True
    for piece in _slices(window):
        sites = file.read(piece, people)
        lengths = np.array([len(reference) for reference in sites.reference], dtype=np.int64)
        starts_here = (sites.position >= piece.start) & (sites.position < piece.end)
        inside = np.flatnonzero(starts_here & (sites.position + lengths <= window.end))
        varies = varies or _vary(sites, inside)
        empty = empty and not len(inside)
        rows = inside[:n_left]
        offsets = sites.position[rows] - window.start
        letters = [sequence[i : i + n] for i, n in zip(offsets, lengths[rows], strict=True)]
        tally.add(sites, rows, window.contig, letters)
        n_left -= len(rows)
        if n_left == 0 and varies:
            break
    tally.close_window(window.name, empty=empty, varies=varies)


def _vary(sites: Sites, rows: NDArray[np.intp]) -> bool:
    """Whether haplotypes of these people differ in any of the records, by alleles whose letters are known."""
    for row in rows.tolist():
        alleles = sites.alleles[row]
        unread = [n for n, alt in enumerate(sites.alternatives[row], start=1) if not is_readable(alt)]
        alleles = np.where(np.isin(alleles, unread), 0, alleles)[alleles >= 0]
        if len(alleles) and np.any(alleles != alleles[0]):
            return True
    return False


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
    if tally.symbolic:
        words = told_symbolic(len(tally.symbolic), sum(tally.symbolic))
        problems.warning("symbolic alleles", words, records=len(tally.symbolic), carriers=sum(tally.symbolic))
    if tally.repeated:
        problems.warning("repeated records", told_repeated(tally.repeated), records=tally.repeated)
    if n_people := len(tally.several_sets):
        words = told_phase_sets(n_people, len(tally.missing), tally.phase_set_windows, n_windows)
        problems.warning("phase sets", words, people=n_people, windows=tally.phase_set_windows)
    for words in told_left_out(tally.left_out):
        problems.warning("filtered records", words, **tally.left_out)
    if still := [name for name in tally.still_windows if name not in tally.empty_windows]:
        problems.warning(
            "no variation",
            f"{len(still)} of {n_windows} windows looked at have variants that nobody of these people differs in: "
            f"{named(still)}; there everybody has the same sequence",
            windows=len(still),
        )
    if tally.empty_windows:
        problems.warning(
            "empty windows",
            f"{len(tally.empty_windows)} of {n_windows} windows looked at have no variant: "
            f"{named(tally.empty_windows)}; there everybody has the reference sequence",
            windows=len(tally.empty_windows),
        )
