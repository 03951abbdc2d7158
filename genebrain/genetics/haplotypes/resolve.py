"""Alleles that each haplotype carries, from the records of a window, and a count of what was odd.

Apply one explicit policy to every irregularity of real genotype files. The result lies inside the window, holds only
records that some haplotype uses, and no record touches bases that an earlier record of the same haplotype has
replaced (the first one wins, as in ``bcftools consensus``); everything dropped or changed is counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.genome.contigs import canonical
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genome.reference import agrees
from genebrain.genetics.genotypes.allele_kinds import (
    in_several_sets,
    is_readable,
    is_symbolic,
    symbolic_carriers,
    usable,
)
from genebrain.genetics.genotypes.pgen import PgenFile
from genebrain.genetics.genotypes.record_filter import RecordFilter
from genebrain.genetics.genotypes.records import (
    ABSENT,
    MISSING,
    Alleles,
    GenotypeFile,
    Sites,
    recorded_contigs,
    sample_rows,
)
from genebrain.genetics.genotypes.several_files import SeveralFiles
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.genotypes.vcf import VcfFile
from genebrain.genetics.haplotypes.allele_calls import n_repeated, where_written
from genebrain.genetics.haplotypes.counts import is_complete, n_varying, record_counts
from genebrain.genetics.haplotypes.policies import Mask, Policies

__all__ = ["Policies", "WindowAlleles", "is_symbolic", "open_genotypes", "resolve", "usable"]


@dataclass(frozen=True)
class WindowAlleles:
    """What the haplotypes of a window carry.

    Attributes
    ----------
    position, end : int64 ``[sites]``
        0-based half-open span of REF in the genome, ascending by position.
    alternatives : list of tuple of bytes
        ALT alleles, upper case.
    alleles : int8 or int16 ``[sites, subjects, 2]``
        0 = reference letters; every other number is applied, none overlaps another on its haplotype (but for
        the anchor base of an indel, which may lie under the record before it).
    exists : bool ``[subjects, 2]``
        False where the haplotype does not exist (haploid) or the window of the subject is masked.
    counts : dict of str to int
        Every event of this window.
    mismatches : list of dict
        Records whose REF differs from the FASTA: contig, 1-based position, both letters.
    haploid : bool ``[subjects]``
        Has no second haplotype here.
    several_sets : bool ``[subjects]``
        Heterozygous genotypes of the window were phased in more than one set (FORMAT/PS): the order of the
        haplotypes is unknown across them.
    """

    position: NDArray[np.int64]
    end: NDArray[np.int64]
    alternatives: list[tuple[bytes, ...]]
    alleles: Alleles
    exists: NDArray[np.bool_]
    counts: dict[str, int]
    mismatches: list[dict[str, Any]]
    haploid: NDArray[np.bool_]
    several_sets: NDArray[np.bool_]


def open_genotypes(path: str | Path | GenotypeSource) -> GenotypeFile:
    """Open a VCF, BCF or PGEN by its name, or several that hold one cohort.

    Raises
    ------
    UserError
        Absent file, unknown kind, no index, truncated.
    """
    source = path if isinstance(path, GenotypeSource) else GenotypeSource((Path(path),))
    files = [_open_one(file, source.filters) for file in source.files]
    return files[0] if len(files) == 1 else SeveralFiles(files, source.name)


def sites_of(
    genotypes: str | Path | GenotypeSource, windows: Sequence[Window], samples: Sequence[str]
) -> Iterator[Sites]:
    """Records of one window after another, for these samples in their order."""
    source = genotypes if isinstance(genotypes, GenotypeSource) else GenotypeSource((Path(genotypes),))
    with open_genotypes(source) as file:
        rows = sample_rows(file, samples, source)
        recorded_contigs(windows, file, str(source))
        for window in windows:
            yield file.read(window, rows)


def _open_one(path: Path, filters: RecordFilter) -> GenotypeFile:
    if path.is_dir():
        raise UserError(f"genotypes {path} are a folder; name the file in it, or several by a pattern such as *.vcf.gz")
    if not path.is_file():
        raise UserError(f"genotypes {path} do not exist")
    if path.suffix == ".pgen":
        return PgenFile(path, filters)
    if path.suffix == ".bcf" or path.name.endswith((".vcf", ".vcf.gz", ".vcf.bgz")):
        return VcfFile(path, filters)
    raise UserError(
        f"genotypes {path}: the name must end in .vcf.gz, .vcf.bgz, .bcf or .pgen "
        "(PLINK 1 .bed files have no phase, so they have no haplotypes)"
    )


def resolve(
    sites: Sites,
    window: Window,
    letters: bytes,
    policies: Policies,
    mask: Mask | None = None,
    *,
    samples: Sequence[str],
) -> WindowAlleles:
    """Apply the policies to the records of one window.

    Parameters
    ----------
    sites : Sites
    window : Window
    letters : bytes
        Upper-case plus-strand reference of the window.
    policies : Policies
        The ``error`` choices raise nothing here: the caller adds up all windows first.
    mask : callable, optional
        Writes rare alleles as the major one, in place: of positions, REF, ALT and alleles to a count.
    samples : sequence of str
        Ids of the subjects, for draws that belong to a person.
    """
    used, symbolic, edge = usable(sites, window)
    complete = is_complete(sites.alleles)
    counts = record_counts(sites, window, complete)
    counts |= {"edge_records": int(edge.sum()), "used_records": int(used.sum())}
    carriers = [symbolic_carriers(sites, row) for row in np.flatnonzero(symbolic).tolist()]
    counts |= {"symbolic_carriers": sum(carriers), "symbolic_carried_records": sum(n > 0 for n in carriers)}

    rows = np.flatnonzero(used)
    position = sites.position[rows]
    references = [sites.reference[row].upper() for row in rows]
    alternatives = [tuple(alt.upper() for alt in sites.alternatives[row]) for row in rows]
    end = position + np.array([len(ref) for ref in references], np.int64)
    mismatches = _mismatches(position, references, window, letters)
    counts["reference_mismatches"] = len(mismatches)
    counts["repeated_records"] = n_repeated(where_written(position, references, alternatives))

    raw = sites.alleles if used.all() else sites.alleles[rows]
    exists, haploid = np.ones(raw.shape[1:], bool), np.zeros(raw.shape[1], bool)
    counts |= {"mixed_ploidy_subjects": 0, "masked_subjects": 0}
    if not complete:
        exists, haploid = _existing(sites, raw, window, policies, counts)

    alleles = np.array(raw, order="C")
    if not complete:
        np.maximum(alleles, 0, out=alleles)
    for row, alts in enumerate(alternatives):
        for number, alt in enumerate(alts, start=1):
            if not is_readable(alt):
                alleles[row][alleles[row] == number] = 0
    contig = canonical(window.contig)
    phased = None if sites.phased.all() else sites.phased[rows]
    counts["used_het_genotypes"] = counts["used_unphased_het_genotypes"] = 0
    for row in range(len(alleles)):  # of a large cohort, one record at a time
        heterozygous = (alleles[row, :, 0] != alleles[row, :, 1]) & (complete or raw[row, :, 1] != ABSENT)
        counts["used_het_genotypes"] += int(np.count_nonzero(heterozygous))
        if phased is not None and (unphased := np.flatnonzero(heterozygous & ~phased[row])).size:
            counts["used_unphased_het_genotypes"] += len(unphased)
            if policies.unphased == "random":
                _order(alleles[row], unphased, policies.seed, samples, contig, int(position[row]))
    if mask is not None:
        counts["rare_alleles_masked"] = mask(position, references, alternatives, alleles)
    if not exists.all():
        alleles[:, ~exists] = 0
    counts["overlapping_alleles"] = _first_wins(position, references, alternatives, alleles)

    carried = np.flatnonzero(alleles.reshape(len(alleles), 2 * alleles.shape[1]).any(axis=1))
    counts["carried_records"] = len(carried)
    counts["varying_records"] = n_varying(alleles[carried], exists)
    several = np.zeros(len(exists), bool)
    if sites.phase_set is not None:
        known = (alleles[:, :, 0] != alleles[:, :, 1]) & sites.phased[rows]
        several = in_several_sets(known, sites.phase_set[rows])
    counts["subjects_in_several_phase_sets"] = int(several.sum())
    return WindowAlleles(
        position[carried], end[carried], [alternatives[row] for row in carried], alleles[carried],
        exists, counts, mismatches, haploid, several,
    )  # fmt: skip


def _mismatches(
    position: NDArray[np.int64], references: list[bytes], window: Window, letters: bytes
) -> list[dict[str, Any]]:
    """Records whose REF differs from the reference, as they are told."""
    return [
        {"contig": window.contig, "position": int(p) + 1, "ref": ref.decode(), "fasta": found.decode()}
        for p, ref in zip(position, references, strict=True)
        if not agrees(ref, found := letters[p - window.start : p - window.start + len(ref)])
    ]


def _existing(
    sites: Sites, raw: Alleles, window: Window, policies: Policies, counts: dict[str, int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Haplotypes ``[subjects, 2]`` that exist and are not masked, and who is haploid."""
    inside = sites.alleles[sites.position >= window.start]
    exists = ~np.all(inside == ABSENT, axis=0) if len(inside) else np.ones(raw.shape[1:], bool)
    counts["mixed_ploidy_subjects"] = int((np.any(inside[:, :, 1] == ABSENT, axis=0) & exists[:, 1]).sum())
    n_missing = np.zeros(raw.shape[1], np.int64)
    for calls in raw:
        n_missing += (calls[:, 0] == MISSING) | (calls[:, 1] == MISSING)
    masked = n_missing / max(1, len(raw)) > policies.missing_threshold
    counts["masked_subjects"] = int(masked.sum())
    return exists & ~masked[:, None], ~exists[:, 1]


def _order(
    alleles: Alleles, people: NDArray[np.intp], seed: int, samples: Sequence[str], contig: str, position: int
) -> None:
    """Draw the order of the unphased genotypes of a record, in place."""
    for person in people.tolist():
        if _turned(seed, samples[person], contig, position):
            alleles[person] = alleles[person, ::-1]


def _turned(seed: int, sample: str, contig: str, position: int) -> bool:
    """A fair coin of person and place: the same in any order of people, beside anybody, in overlapping windows."""
    words = f"{seed}\t{sample}\t{contig}\t{position}".encode()
    return bool(hashlib.blake2b(words, digest_size=1).digest()[0] & 1)


def _first_wins(
    position: NDArray[np.int64],
    references: list[bytes],
    alternatives: list[tuple[bytes, ...]],
    alleles: Alleles,
) -> int:
    """Drop, in place, alleles that overlap an earlier one of their haplotype; how many.

    The first base of an indel is an anchor that the indel does not change. So an indel whose anchor is the last
    base that the earlier record replaced stands, unless that record inserted bases there: what
    ``bcftools consensus`` 1.16 does.
    """
    # Most records are rare: only their carriers are looked at.
    haplotypes = alleles.reshape(len(alleles), 2 * alleles.shape[1])
    replaced_to = np.full(haplotypes.shape[1], -1, np.int64)
    inserted = np.zeros(haplotypes.shape[1], bool)
    dropped = 0
    for row, (start, ref, alts) in enumerate(zip(position, references, alternatives, strict=True)):
        carriers = np.flatnonzero(haplotypes[row])
        calls = haplotypes[row, carriers]
        longer = np.array([False] + [len(alt) > len(ref) for alt in alts])
        anchored = np.array([False] + [len(alt) != len(ref) and alt[:1] == ref[:1] for alt in alts])
        stands = anchored[calls] & (replaced_to[carriers] == start + 1) & ~inserted[carriers]
        late = (replaced_to[carriers] > start) & ~stands
        dropped += int(late.sum())
        haplotypes[row, carriers[late]] = 0
        applied = carriers[~late]
        replaced_to[applied] = start + len(ref)
        inserted[applied] = longer[calls[~late]]
    return dropped
