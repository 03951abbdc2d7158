"""From the records of a window to the alleles that each haplotype carries, and a count of what was odd.

Apply one explicit policy to every irregularity of real genotype files. The result lies inside the window, holds only
records that some haplotype uses, and no record touches bases that an earlier record of the same haplotype has
replaced (the first one wins, as in ``bcftools consensus``); everything dropped or changed is counted.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.genome.contigs import canonical
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genotypes.allele_kinds import (
    in_several_sets,
    is_readable,
    is_symbolic,
    is_unreadable,
    symbolic_carriers,
    usable,
)
from genebrain.genetics.genotypes.pgen import PgenFile
from genebrain.genetics.genotypes.record_filter import RecordFilter
from genebrain.genetics.genotypes.records import ABSENT, MISSING, GenotypeFile, Sites
from genebrain.genetics.genotypes.several_files import SeveralFiles
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.genotypes.vcf import VcfFile
from genebrain.genetics.haplotypes.allele_calls import n_repeated, where_written
from genebrain.genetics.haplotypes.policies import Mask, Policies
from genebrain.genetics.haplotypes.rare import mask_rare

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
    alleles : int16 ``[sites, subjects, 2]``
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
    alleles: NDArray[np.int16]
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
    counting_rows: Sequence[int] | None = None,
    mask: Mask | None = None,
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
    counting_rows : sequence of int, optional
        Subjects (rows of ``sites``) that allele counts are taken from; all by default.
    mask : callable, optional
        Writes rare alleles as the major one, in place: of positions, REF, ALT and alleles to a count.
    """
    used, symbolic, edge = usable(sites, window)
    counts = {**_flags(sites, window), "edge_records": int(edge.sum()), "used_records": int(used.sum())}
    carriers = [symbolic_carriers(sites, row) for row in np.flatnonzero(symbolic).tolist()]
    counts |= {"symbolic_carriers": sum(carriers), "symbolic_carried_records": sum(n > 0 for n in carriers)}

    rows = np.flatnonzero(used)
    position = sites.position[rows]
    references = [sites.reference[row].upper() for row in rows]
    alternatives = [tuple(alt.upper() for alt in sites.alternatives[row]) for row in rows]
    end = position + np.array([len(ref) for ref in references], np.int64)
    mismatches = [
        {"contig": window.contig, "position": int(p) + 1, "ref": ref.decode(), "fasta": found.decode()}
        for p, ref in zip(position, references, strict=True)
        if ref != (found := letters[p - window.start : p - window.start + len(ref)])
    ]
    written = position, references, alternatives
    counts |= {"reference_mismatches": len(mismatches), "repeated_records": n_repeated(where_written(*written))}

    raw = sites.alleles[rows]
    inside = sites.alleles[sites.position >= window.start]
    exists = ~np.all(inside == ABSENT, axis=0) if len(inside) else np.ones(raw.shape[1:], bool)
    counts["mixed_ploidy_subjects"] = int((np.any(inside[:, :, 1] == ABSENT, axis=0) & exists[:, 1]).sum())
    haploid = ~exists[:, 1]
    share_missing = np.any(raw == MISSING, axis=2).mean(axis=0) if len(raw) else np.zeros(len(exists))
    masked = share_missing > policies.missing_threshold
    counts["masked_subjects"] = int(masked.sum())
    exists = exists & ~masked[:, None]

    alleles = np.maximum(raw, 0)
    for row, alts in enumerate(alternatives):
        for number, alt in enumerate(alts, start=1):
            if not is_readable(alt):
                alleles[row][alleles[row] == number] = 0
    _order_unphased(alleles, raw, sites.phased[rows], position, window, policies, counts)
    if policies.masks_rare:
        counts["rare_alleles_masked"] = mask_rare(alleles, raw, written, counting_rows, policies)
    if mask is not None:
        counts["rare_alleles_masked"] = mask(*written, alleles)
    alleles[:, ~exists] = 0
    counts["overlapping_alleles"] = _first_wins(position, references, alternatives, alleles)

    carried = np.flatnonzero(alleles.any(axis=(1, 2)))
    counts["carried_records"] = len(carried)
    present = alleles[:, exists]
    counts["varying_records"] = int((present != present[:, :1]).any(axis=1).sum())
    sets = None if sites.phase_set is None else sites.phase_set[rows]
    known = (alleles[:, :, 0] != alleles[:, :, 1]) & sites.phased[rows]
    several = np.zeros(len(exists), bool) if sets is None else in_several_sets(known, sets)
    counts["subjects_in_several_phase_sets"] = int(several.sum())
    return WindowAlleles(
        position[carried],
        end[carried],
        [alternatives[row] for row in carried],
        alleles[carried],
        exists,
        counts,
        mismatches,
        haploid,
        several,
    )


def _flags(sites: Sites, window: Window) -> dict[str, int]:
    """Counts over all records that start inside the window, the symbolic ones included."""
    rows = np.flatnonzero((sites.position >= window.start) & (sites.position < window.end))
    alternatives = [sites.alternatives[row] for row in rows]
    indel = [
        any(is_readable(alt) and len(alt) != len(sites.reference[row]) for alt in alts)
        for row, alts in zip(rows, alternatives, strict=True)
    ]
    alleles = sites.alleles[rows]
    missing, absent = alleles == MISSING, alleles == ABSENT
    full = missing.any(axis=2) & (missing | absent).all(axis=2)
    heterozygous = (alleles >= 0).all(axis=2) & (alleles[:, :, 0] != alleles[:, :, 1])
    unphased = heterozygous & ~sites.phased[rows]
    return {
        "records": len(rows),
        "symbolic_records": sum(any(map(is_unreadable, alts)) for alts in alternatives),
        "star_allele_records": sum(b"*" in alts for alts in alternatives),
        "multiallelic_records": sum(len(alts) > 1 for alts in alternatives),
        "indel_records": sum(indel),
        "nonpass_records": int((~sites.passed[rows]).sum()),
        "missing_genotypes_full": int(full.sum()),
        "missing_genotypes_partial": int((missing.any(axis=2) & ~full).sum()),
        "unphased_het_genotypes": int(unphased.sum()),
        "haploid_genotypes": int((absent[:, :, 1] & ~absent[:, :, 0]).sum()),
        "samples_with_unphased_het": int(unphased.any(axis=0).sum()),
        **sites.left_out,
    }


def _order_unphased(
    alleles: NDArray[np.int16],
    raw: NDArray[np.int16],
    phased: NDArray[np.bool_],
    position: NDArray[np.int64],
    window: Window,
    policies: Policies,
    counts: dict[str, int],
) -> None:
    """Count heterozygous genotypes that matter, and draw their order in place when the policy says so."""
    heterozygous = (alleles[:, :, 0] != alleles[:, :, 1]) & (raw[:, :, 1] != ABSENT)
    unphased = heterozygous & ~phased
    counts["used_het_genotypes"] = int(heterozygous.sum())
    counts["used_unphased_het_genotypes"] = int(unphased.sum())
    if policies.unphased != "random":
        return
    # Seeded by the place of the record, so that overlapping windows draw the same order.
    contig = zlib.crc32(canonical(window.contig).encode())
    for row in np.flatnonzero(unphased.any(axis=1)):
        draw = np.random.default_rng([policies.seed, contig, int(position[row])])
        swap = unphased[row] & (draw.random(unphased.shape[1]) < 0.5)
        alleles[row, swap] = alleles[row, swap, ::-1]


def _first_wins(
    position: NDArray[np.int64],
    references: list[bytes],
    alternatives: list[tuple[bytes, ...]],
    alleles: NDArray[np.int16],
) -> int:
    """Drop, in place, alleles that overlap an earlier one of their haplotype; how many.

    The first base of an indel is an anchor that the indel does not change. So an indel whose anchor is the last
    base that the earlier record replaced stands, unless that record inserted bases there: what
    ``bcftools consensus`` 1.16 does.
    """
    replaced_to = np.full(alleles.shape[1:], -1, np.int64)
    inserted = np.zeros(alleles.shape[1:], bool)
    dropped = 0
    for row, (start, ref, alts) in enumerate(zip(position, references, alternatives, strict=True)):
        calls = alleles[row]
        carries = calls > 0
        longer = np.array([False] + [len(alt) > len(ref) for alt in alts])
        anchored = np.array([False] + [len(alt) != len(ref) and alt[:1] == ref[:1] for alt in alts])
        stands = anchored[calls] & (replaced_to == start + 1) & ~inserted
        late = carries & (replaced_to > start) & ~stands
        dropped += int(late.sum())
        calls[late] = 0
        applied = carries & ~late
        replaced_to[applied] = start + len(ref)
        inserted[applied] = longer[calls][applied]
    return dropped
