"""VCF records of simulated regions, plain or with what real files hold, the causal variants untouched.

The awkward cases change what is written, never a genotype that the trait depends on: causal sites stay
complete, biallelic, phased and outside any added deletion. Reading such a cohort needs
:data:`NEEDED_POLICIES`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from genebrain.simulation.genome.genomes import Region
from genebrain.simulation.genome.writer import MISSING, Record

HEADER = '##ALT=<ID=DEL,Description="Deletion">\n##INFO=<ID=END,Number=1,Type=Integer,Description="Last base">\n'
NEEDED_POLICIES = {"unphased": "as_written", "symbolic": "drop"}
EVERY = 10
"""One site in so many is made multiallelic, one gets missing genotypes, one is unphased (three different ones)."""
MISSING_SHARE = 0.02
QUIET_BP = 12
"""Shortest stretch without records that takes a planted deletion or a run of N."""


def plain_records(region: Region) -> Iterator[Record]:
    """One record per site, biallelic, phased, nothing missing."""
    for site, position in enumerate(region.position):
        name = f"{region.name}_{site + 1}"
        yield Record(region.contig, int(position), name, region.ref[site], [region.alt[site]], region.haplotypes[site])


def awkward_records(
    region: Region, causal: set[int], rng: np.random.Generator
) -> tuple[list[Record], NDArray[np.uint8]]:
    """Records with awkward cases among them, sorted, and the altered reference letters of the region.

    Non-causal sites in turn become multiallelic (half of the carriers get another base), partly missing, and
    unphased. Stretches without records receive, in turn, a deletion with a SNP and a ``*`` allele inside its
    span, a symbolic ``<DEL>``, and a run of N. A tenth of the region is soft-masked.
    """
    records = [
        record if site in causal else _altered(record, site, rng) for site, record in enumerate(plain_records(region))
    ]
    letters = region.sequence.copy()
    ends = region.position + np.array([len(ref) for ref in region.ref], np.int64)
    kind = 0
    for after, before in zip(ends[:-1], region.position[1:], strict=True):
        if before - after < QUIET_BP or after < region.window[0] or before > region.window[1]:
            continue
        offset = int(after) - region.start
        if kind == 0:
            records += _overlapping(region, int(after) + 1, rng)
        elif kind == 1:
            records.append(_symbolic(region, int(after) + 1, int(before) - 1, rng))
        elif kind == 2:
            letters[offset + 1 : offset + QUIET_BP - 1] = ord("N")
        else:
            break
        kind += 1
    masked = len(letters) // 3
    # Lower case; VCF keeps upper case there, as soft-masked references are used in practice.
    letters[masked : masked + len(letters) // EVERY] |= 0x20
    return sorted(records, key=lambda record: record.position), letters


def _altered(record: Record, site: int, rng: np.random.Generator) -> Record:
    alleles, alt, phased = record.alleles.copy(), list(record.alt), True
    if site % EVERY == 1 and len(record.ref) == len(record.alt[0]) == 1:
        alt.append(next(base for base in "ACGT" if base not in (record.ref, record.alt[0])))
        alleles[(alleles == 1) & (rng.random(alleles.shape) < 0.5)] = 2
    elif site % EVERY == 4:
        alleles[rng.random(len(alleles)) < MISSING_SHARE] = MISSING
        alleles[rng.random(len(alleles)) < MISSING_SHARE, 0] = MISSING
    elif site % EVERY == 7:
        phased = False
    return Record(record.contig, record.position, record.name, record.ref, alt, alleles, phased)


def _overlapping(region: Region, position: int, rng: np.random.Generator) -> list[Record]:
    """A deletion of four bases and, inside its span, a SNP whose deleted copies are written as ``*``."""
    offset = position - region.start
    text = region.sequence[offset : offset + 5].tobytes().decode()
    people = region.haplotypes.shape[1]
    deleted = (rng.random((people, 2)) < 0.1).astype(np.int8)
    other = "ACGT"[("ACGT".index(text[2]) + 1) % 4]
    inside = np.where(deleted == 1, 2, rng.random((people, 2)) < 0.1).astype(np.int8)
    # A record that overlaps the deletion on some of the same copies: the first one wins.
    clash = (rng.random((people, 2)) < 0.1).astype(np.int8)
    third = "ACGT"[("ACGT".index(text[3]) + 1) % 4]
    return [
        Record(region.contig, position, f"{region.name}_deletion", text, [text[0]], deleted),
        Record(region.contig, position + 2, f"{region.name}_star", text[2], [other, "*"], inside),
        Record(region.contig, position + 3, f"{region.name}_overlap", text[3], [third], clash),
    ]


def _symbolic(region: Region, position: int, end: int, rng: np.random.Generator) -> Record:
    base = chr(region.sequence[position - region.start])
    carried = (rng.random((region.haplotypes.shape[1], 2)) < 0.05).astype(np.int8)
    name = f"{region.name}_symbolic"
    return Record(region.contig, position, name, base, ["<DEL>"], carried, True, f"END={end}")
