"""Look at genotypes before anything is computed: contig names, reference build, phase, missing calls,
duplicates.

Streams variant records of the windows, as many as asked for, straight from the file and before any policy is
applied. Says what it found, changes nothing. Does not know scans or what a policy would make of an odd
record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pysam
from tqdm import tqdm

from genebrain.cohort.problems import Problems, named
from genebrain.cohort.raw_records import RawRecords, open_records
from genebrain.genetics.windows import Window, read_windows
from genebrain.types import IntArray, UserError

FEWEST_PER_WINDOW = 20
MISSING_PER_PERSON = 0.1
DUPLICATE_SITES = 200
MOST_DUPLICATE_SITES = 2000


@dataclass
class _Tally:
    """Counts over the records that were looked at."""

    missing: IntArray
    records: int = 0
    mismatches: list[str] = field(default_factory=list)
    n_mismatches: int = 0
    heterozygous: int = 0
    unphased: int = 0
    calls: int = 0
    empty_windows: list[str] = field(default_factory=list)
    dosages: list[IntArray] = field(default_factory=list)


@dataclass(frozen=True)
class GenotypeFindings:
    """``records`` looked at in ``windows``; groups of people (rows of ``people``) of ``identical`` calls."""

    records: int = 0
    windows: int = 0
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
        The policy for unphased heterozygous calls that the run will use; with ``error`` they are an error
        here too.
    """
    try:
        regions = read_windows(windows)
        records = open_records(genotypes)
        fasta = pysam.FastaFile(str(reference))
    except (UserError, OSError, ValueError) as error:
        problems.error("unreadable genetics", f"genotypes, reference or windows cannot be opened: {error}")
        return GenotypeFindings()
    with fasta, records:
        usable = _check_contigs(regions, records, fasta, problems)
        if not usable:
            return GenotypeFindings()
        row = {name: i for i, name in enumerate(records.samples)}
        rows = np.array([row[name] for name in people]) if people is not None else np.arange(len(row))
        n_windows = max(1, min(len(usable), most // FEWEST_PER_WINDOW))
        chosen = [usable[i] for i in np.linspace(0, len(usable) - 1, n_windows).astype(int)]
        tally = _Tally(missing=np.zeros(len(rows), np.int64))
        for window, in_records, in_fasta in tqdm(chosen, "variants", unit="window", disable=not progress):
            sequence = fasta.fetch(in_fasta, window.start, window.end).upper()
            _look(window, in_records, sequence, records, rows, max(1, most // n_windows), tally)
    _report(tally, len(chosen), genotypes.name, reference.name, unphased, problems)
    return GenotypeFindings(tally.records, len(chosen), _identical(tally))


def _other_name(contig: str) -> str:
    """``chr1`` for ``1`` and the reverse; the mitochondrion is ``chrM`` and ``MT``."""
    if contig.startswith("chr"):
        return {"chrM": "MT"}.get(contig, contig[3:])
    return {"MT": "chrM"}.get(contig, f"chr{contig}")


def _names_in(wanted: list[str], present: Sequence[str]) -> dict[str, str]:
    """Name that each wanted contig has among those ``present``, as it is or with the other prefix."""
    names: dict[str, str] = {}
    for contig in wanted:
        for name in (contig, _other_name(contig)):
            if name in present:
                names.setdefault(contig, name)
    return names


def _check_contigs(
    windows: list[Window], records: RawRecords, fasta: pysam.FastaFile, problems: Problems
) -> list[tuple[Window, str, str]]:
    """Windows that can be looked at, with their contig's names in the genotype file and the reference."""
    names: list[dict[str, str]] = []
    wanted = list(dict.fromkeys(window.contig for window in windows))
    for what, present in (("genotype file", records.contigs), ("reference", list(fasta.references))):
        found = _names_in(wanted, present)
        absent = [contig for contig in wanted if contig not in found]
        renamed = [contig for contig, name in found.items() if contig != name]
        if absent:
            lost = sum(window.contig in absent for window in windows)
            problems.error(
                "contig absent",
                f"{lost} of {len(windows)} windows lie on contigs that the {what} does not have: "
                f"{named(absent)}; "
                f"it has {named(present)}",
                windows=lost,
                contigs=len(absent),
            )
        if renamed:
            problems.warning(
                "contig naming",
                f"windows say {named(renamed)}, the {what} says "
                f"{named(found[contig] for contig in renamed)}; "
                "they are taken as the same contigs",
                contigs=len(renamed),
            )
        names.append(found)
    in_records, in_fasta = names
    both = in_records.keys() & in_fasta.keys()
    usable = [(w, in_records[w.contig], in_fasta[w.contig]) for w in windows if w.contig in both]
    beyond = [window.name for window, _, contig in usable if window.end > fasta.get_reference_length(contig)]
    if beyond:
        problems.error(
            "window beyond contig",
            f"{len(beyond)} of {len(windows)} windows end beyond their contig of the reference: "
            f"{named(beyond)}; wrong "
            "genome build?",
            windows=len(beyond),
        )
    return [entry for entry in usable if entry[0].name not in beyond]


def _look(
    window: Window,
    contig: str,
    sequence: str,
    records: RawRecords,
    rows: IntArray,
    most: int,
    tally: _Tally,
) -> None:
    """Add up to ``most`` records of one window to the tally."""
    seen = 0
    for record in records.read(contig, window.start, window.end):
        offset = record.position - window.start
        if offset < 0 or offset + len(record.reference) > len(sequence):
            continue
        seen += 1
        expected = sequence[offset : offset + len(record.reference)]
        if record.reference.upper() != expected:
            tally.n_mismatches += 1
            if len(tally.mismatches) < 5:
                where = f"{contig}:{record.position + 1}"
                tally.mismatches.append(f"{where} {record.reference[:10]} (reference has {expected[:10]})")
        alleles, phased = record.alleles[rows], record.phased[rows]
        missing = (alleles == -1).any(axis=1)
        heterozygous = (alleles >= 0).all(axis=1) & (alleles[:, 0] != alleles[:, 1])
        tally.missing += missing
        tally.calls += len(rows)
        tally.heterozygous += int(heterozygous.sum())
        tally.unphased += int((heterozygous & ~phased).sum())
        if len(tally.dosages) < MOST_DUPLICATE_SITES and heterozygous.any():
            tally.dosages.append(np.where(missing, -1, (alleles > 0).sum(axis=1)).astype(np.int8))
        if seen == most:
            break
    tally.records += seen
    if not seen:
        tally.empty_windows.append(window.name)


def _identical(tally: _Tally) -> tuple[tuple[int, ...], ...]:
    """Groups of people with equal calls at every variable site, if there are enough to mean something."""
    if len(tally.dosages) < DUPLICATE_SITES:
        return ()
    groups: dict[bytes, list[int]] = {}
    for person, calls in enumerate(np.stack(tally.dosages, axis=1)):
        groups.setdefault(calls.tobytes(), []).append(person)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _report(
    tally: _Tally, n_windows: int, genotypes: str, reference: str, unphased: str, problems: Problems
) -> None:
    if tally.records == 0:
        words = f"{genotypes} has no variant in any of the {n_windows} windows looked at"
        problems.error("no records", words, windows=n_windows)
        return
    if tally.n_mismatches:
        share = tally.n_mismatches / tally.records
        cause = "Is it another genome build?" if share > 0.2 else "Mend these records or take them out"
        problems.error(
            "reference mismatch",
            f"{tally.n_mismatches} of {tally.records} records ({share:.1%}) have a REF that {reference} "
            f"does not have "
            f"there: {'; '.join(tally.mismatches)}. {cause}",
            mismatches=tally.n_mismatches,
            records=tally.records,
        )
    if tally.unphased:
        add = problems.error if unphased == "error" else problems.warning
        add(
            "unphased",
            f"{tally.unphased} of {tally.heterozygous} heterozygous calls "
            f"({tally.unphased / tally.heterozygous:.1%}) "
            "are unphased: which copy carries the variant is unknown. Phase the file, or choose the policy "
            "`unphased: as_written` or `unphased: random`",
            unphased=tally.unphased,
            heterozygous=tally.heterozygous,
        )
    if n_missing := int(tally.missing.sum()):
        many = int((tally.missing > MISSING_PER_PERSON * tally.records).sum())
        problems.warning(
            "missing genotypes",
            f"{n_missing} of {tally.calls} calls ({n_missing / tally.calls:.2%}) are missing; {many} people "
            f"miss more than "
            f"{MISSING_PER_PERSON:.0%}. A missing allele counts as the reference allele",
            missing=n_missing,
            calls=tally.calls,
            people=many,
        )
    if tally.empty_windows:
        problems.warning(
            "empty windows",
            f"{len(tally.empty_windows)} of {n_windows} windows looked at have no variant: "
            f"{named(tally.empty_windows)}; "
            "there everybody has the reference sequence",
            windows=len(tally.empty_windows),
        )
