"""Counts of the records of a window: odd records, odd genotypes, variation between people.

Of a large cohort, one record after the other: no table of the size of the genotypes is made.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genotypes.allele_kinds import is_readable, is_unreadable
from genebrain.genetics.genotypes.records import ABSENT, MISSING, Alleles, Sites


def is_complete(alleles: Alleles) -> bool:
    """Whether no call is missing and nobody is haploid: then most of the policies have nothing to do."""
    return all(int(row.min(initial=0)) >= 0 for row in alleles)


def record_counts(sites: Sites, window: Window, complete: bool) -> dict[str, int]:
    """Counts over all records that start inside the window, the symbolic ones included."""
    rows = np.flatnonzero((sites.position >= window.start) & (sites.position < window.end))
    alternatives = [sites.alternatives[row] for row in rows]
    indel = [
        any(is_readable(alt) and len(alt) != len(sites.reference[row]) for alt in alts)
        for row, alts in zip(rows, alternatives, strict=True)
    ]
    return {
        "records": len(rows),
        "symbolic_records": sum(any(map(is_unreadable, alts)) for alts in alternatives),
        "star_allele_records": sum(b"*" in alts for alts in alternatives),
        "multiallelic_records": sum(len(alts) > 1 for alts in alternatives),
        "indel_records": sum(indel),
        "nonpass_records": int((~sites.passed[rows]).sum()),
        **_odd_genotypes(sites, rows, complete),
        **sites.left_out,
    }


def _odd_genotypes(sites: Sites, rows: NDArray[np.intp], complete: bool) -> dict[str, int]:
    """Missing, unphased and haploid genotypes of some records, one record at a time."""
    names = ("missing_genotypes_full", "missing_genotypes_partial", "unphased_het_genotypes", "haploid_genotypes")
    found, unphased_people = dict.fromkeys(names, 0), np.zeros(sites.alleles.shape[1], bool)
    if not (complete and sites.phased.all()):
        for row in rows:
            one, other = sites.alleles[row].T
            missing = (one == MISSING) | (other == MISSING)
            full = missing & (one < 0) & (other < 0)
            unphased = (one >= 0) & (other >= 0) & (one != other) & ~sites.phased[row]
            unphased_people |= unphased
            for name, mask in zip(
                names, (full, missing & ~full, unphased, (other == ABSENT) & (one != ABSENT)), strict=True
            ):
                found[name] += int(np.count_nonzero(mask))
    return found | {"samples_with_unphased_het": int(unphased_people.sum())}


def n_varying(alleles: Alleles, exists: NDArray[np.bool_]) -> int:
    """Records in which not all existing haplotypes carry the same."""
    present = alleles.reshape(len(alleles), 2 * alleles.shape[1]) if exists.all() else alleles[:, exists]
    return int(np.count_nonzero(present.max(axis=1) != present.min(axis=1))) if present.size else 0
