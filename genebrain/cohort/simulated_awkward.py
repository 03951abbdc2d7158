"""VCF records of simulated regions, plain or with what real files hold: the awkward cases, truth untouched."""

from __future__ import annotations

from collections.abc import Iterator

from genebrain.cohort.genotype_writer import Record
from genebrain.cohort.simulated_genomes import Region

HEADER = ""


def plain_records(region: Region) -> Iterator[Record]:
    """One record per site, biallelic, phased, nothing missing."""
    for site, position in enumerate(region.position):
        name = f"{region.name}_{site + 1}"
        yield Record(region.contig, int(position), name, region.ref[site], [region.alt[site]], region.haplotypes[site])
