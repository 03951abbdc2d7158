"""Reader of VCF and BCF files by region."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cyvcf2
import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.genome.bgzf import check_bgzf
from genebrain.genetics.genome.contigs import recorded_name
from genebrain.genetics.genome.foreign import reading
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genotypes.record_counts import Counts, counted
from genebrain.genetics.genotypes.record_filter import EVERYTHING, RecordFilter
from genebrain.genetics.genotypes.record_table import RecordTable
from genebrain.genetics.genotypes.records import Sites
from genebrain.genetics.genotypes.vcf_header import read_vcf_header
from genebrain.genetics.genotypes.vcf_index import find_index, read_index


class VcfFile:
    """VCF (bgzipped) or BCF with an index, read with cyvcf2 (https://github.com/brentp/cyvcf2).

    Parameters
    ----------
    path : Path
    filters : RecordFilter, optional
        Records to leave out.

    Raises
    ------
    UserError
        Not bgzipped, truncated, no or a damaged index, no samples, sample names that stand twice.
    """

    def __init__(self, path: Path, filters: RecordFilter = EVERYTHING) -> None:
        self.path, self.filters = path, filters
        self._kind = "bcf" if path.suffix == ".bcf" else "vcf"
        with reading(path):
            unpacked = path.with_suffix("") if path.suffix in (".gz", ".bgz") else path
            first = "" if unpacked == path else f"`gunzip -c {path} > {unpacked}`, then "
            check_bgzf(
                path,
                "regions can be read only after `bgzip` and `tabix -p vcf`, or without these tools: "
                f"{first}{_with_pysam(unpacked, 'vcf')}, which writes {unpacked}.gz",
            )
            self.header = read_vcf_header(path)
        if self.header.binary != (self._kind == "bcf"):
            is_one, named = ("BCF", "VCF") if self.header.binary else ("VCF", "BCF")
            raise UserError(f"{path} is a {is_one} with the name of a {named}; rename the file, and index it again")
        filters.check(self.header.info, str(path))
        index = find_index(path)
        command = f"`bcftools index {path}`" if self._kind == "bcf" else f"`tabix -p vcf -f {path}`"
        again = f"{command}, or without these tools: {_with_pysam(path, self._kind)}"
        if index is None:
            raise UserError(f"{path} has no index (.tbi or .csi beside it); make one with {again}")
        self.index, self._again = index, again
        self._spans = read_index(index, self.header.contigs, again)
        self._reader = self._open(None)
        self.samples: list[str] = list(self.header.samples)
        self.contigs: list[str] = [name for name in dict.fromkeys([*self.header.contigs, *self._spans]) if name]
        self._rows: NDArray[np.int64] | None = None
        self._counted: Counts | None = None

    def _open(self, names: list[str] | None) -> cyvcf2.VCF:
        with reading(self.path):
            reader = cyvcf2.VCF(str(self.path), samples=names)
            found = list(reader.samples)
        if names is None and found != list(self.header.samples):
            raise UserError(
                f"{self.path}: cyvcf2 finds {len(found)} samples, the header names {len(self.header.samples)}; are "
                "there odd characters in the names?"
            )
        with reading(self.index, f"Make it again with {self._again}"):
            reader.set_index(str(self.index))
        return reader

    def _select(self, rows: NDArray[np.int64]) -> None:
        """Let htslib decode only the wanted samples; a new handle, as a header can be narrowed only once."""
        if self._rows is None or not np.array_equal(rows, self._rows):
            self._reader.close()
            self._reader = self._open([self.samples[row] for row in rows])
            self._rows = rows

    @property
    def recorded(self) -> list[str]:
        """Contigs that have records, as the file spells them."""
        return list(self._counts().spans)

    def _counts(self) -> Counts:
        if self._counted is None:
            self._counted = counted(self.path, self.index, self.header, self._spans, self._again)
        return self._counted

    def read(self, window: Window, sample_rows: Sequence[int] | None = None) -> Sites:
        """All records that overlap the window, for the wanted samples in the wanted order."""
        wanted = np.arange(len(self.samples)) if sample_rows is None else np.asarray(sample_rows, np.int64)
        rows, order = np.unique(wanted, return_inverse=True)
        self._select(rows)
        contig = recorded_name(window.contig, self.recorded, self.contigs, str(self.path))
        table = RecordTable(self.path, self.filters, phase_sets="PS" in self.header.formats)
        with reading(self.path, "Copy or download it again and index it again."):
            if contig in self._counts().spans:
                for record in self._reader(f"{contig}:{window.start + 1}-{window.end}"):
                    table.add(record, len(rows))
        self._counts().compare(contig, window, table.position)
        return table.sites(len(rows), order)

    def __enter__(self) -> VcfFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()


def _with_pysam(path: Path, kind: str) -> str:
    """A command that compresses (where needed) and indexes with what genebrain itself is installed with."""
    return (
        f"""`python -c "import pysam; pysam.tabix_index('{path}', preset='{kind}', force=True, keep_original=True)"`"""
    )
