"""Genotype files: what every reader returns, and the reader of VCF and BCF.

Purpose: the records of one window as arrays, exactly as the file has them. Contract: records in file order,
multiallelic records whole, missing, haploid and unphased calls told apart; a truncated file or a missing
index is an error, never fewer records. What this module does NOT know: the reference sequence, policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cyvcf2
import numpy as np
import pysam
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.genome.contigs import match_contigs
from genebrain.genetics.genome.gene_windows import SHOWN, Window

MISSING, ABSENT = -1, -2
"""Codes in :attr:`Sites.alleles`: the allele is not known; the haplotype does not exist (haploid call)."""

BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@dataclass(frozen=True)
class Sites:
    """Records that overlap a window, as the file has them.

    Attributes
    ----------
    position : int64 ``[records]``
        0-based place of the first reference base.
    reference : list of bytes
        REF of each record, as written.
    alternatives : list of tuple of bytes
        ALT alleles of each record; ``*`` and symbolic ones included.
    alleles : int16 ``[records, subjects, 2]``
        Allele numbers (0 = REF), ``MISSING`` or ``ABSENT``.
    phased : bool ``[records, subjects]``
    passed : bool ``[records]``
        FILTER is PASS or not set.
    """

    position: NDArray[np.int64]
    reference: list[bytes]
    alternatives: list[tuple[bytes, ...]]
    alleles: NDArray[np.int16]
    phased: NDArray[np.bool_]
    passed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.reference)


class GenotypeFile(Protocol):
    """What a reader offers; ``read`` takes rows of ``samples`` (any order, repeats allowed), None for all."""

    samples: list[str]
    contigs: list[str]

    def read(self, window: Window, sample_rows: Sequence[int] | None = None) -> Sites:
        """All records that overlap the window."""

    def __enter__(self) -> GenotypeFile: ...

    def __exit__(self, *error: object) -> None: ...


def sample_rows(file: GenotypeFile, samples: Sequence[str], source: Path) -> list[int]:
    """Row of each sample in the file; unknown ones are one error with both counts.

    Raises
    ------
    UserError
        Some samples have no genotypes, or none was asked for.
    """
    if not len(samples):
        raise UserError(f"no sample was asked for; {source} holds {len(file.samples)}")
    row_of = {name: row for row, name in enumerate(file.samples)}
    unknown = [name for name in dict.fromkeys(samples) if name not in row_of]
    if unknown:
        rewrites = {
            "without 'sub-'": lambda name: name.removeprefix("sub-"),
            "with 'sub-'": lambda name: f"sub-{name}",
            "written twice, FID_IID": lambda name: f"{name}_{name}",
            "without the family part of FID_IID": lambda name: name.split("_", 1)[-1],
        }
        hints = [
            f"{n} of them would match {how}"
            for how, rewrite in rewrites.items()
            if (n := sum(rewrite(name) in row_of for name in unknown))
        ]
        raise UserError(
            f"{len(unknown)} of {len(set(samples))} samples have no genotypes in {source} (which holds "
            f"{len(row_of)}): {', '.join(unknown[:SHOWN])}{' ...' if len(unknown) > SHOWN else ''}. "
            + ("; ".join(hints) + ". " if hints else "")
            + "Correct genotype_id in the participants table or leave these people out."
        )
    return [row_of[name] for name in samples]


class VcfFile:
    """VCF (bgzipped) or BCF with an index, read with cyvcf2 (https://github.com/brentp/cyvcf2)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_bgzf(path)
        if not any(Path(f"{path}{suffix}").is_file() for suffix in (".tbi", ".csi")):
            kind = "bcf" if path.suffix == ".bcf" else "vcf"
            command = f"bcftools index {path}" if kind == "bcf" else f"tabix -p vcf {path}"
            raise UserError(
                f"{path} has no index (.tbi or .csi beside it); make one with `{command}`, or without these tools: "
                f"{_with_pysam(path, kind)}"
            )
        self._reader = self._open(None)
        self.samples: list[str] = list(self._reader.samples)
        self.contigs: list[str] = list(self._reader.seqnames)
        self._rows: NDArray[np.int64] | None = None

    def _open(self, names: list[str] | None) -> cyvcf2.VCF:
        try:
            return cyvcf2.VCF(str(self.path), samples=names)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read as VCF/BCF: {error}") from error

    def _select(self, rows: NDArray[np.int64]) -> None:
        """Let htslib decode only the wanted samples; a new handle, as a header can be narrowed only once."""
        if self._rows is None or not np.array_equal(rows, self._rows):
            self._reader.close()
            self._reader = self._open([self.samples[row] for row in rows])
            self._rows = rows

    def read(self, window: Window, sample_rows: Sequence[int] | None = None) -> Sites:
        """All records that overlap the window, for the wanted samples in the wanted order."""
        wanted = np.arange(len(self.samples)) if sample_rows is None else np.asarray(sample_rows, np.int64)
        rows, order = np.unique(wanted, return_inverse=True)
        self._select(rows)
        contig = match_contigs([window.contig], self.contigs, str(self.path))[window.contig]
        position: list[int] = []
        reference: list[bytes] = []
        alternatives: list[tuple[bytes, ...]] = []
        calls: list[NDArray[np.int16]] = []
        passed: list[bool] = []
        for record in self._reader(f"{contig}:{window.start + 1}-{window.end}"):
            position.append(record.POS - 1)
            reference.append(record.REF.encode())
            alternatives.append(tuple(alt.encode() for alt in record.ALT))
            calls.append(self._calls(record, len(rows)))
            passed.append(record.FILTER is None)
        self._check_count(contig, window, len(position))
        stacked = np.stack(calls) if calls else np.zeros((0, len(rows), 3), np.int16)
        stacked = stacked[:, order]
        return Sites(
            np.asarray(position, np.int64),
            reference,
            alternatives,
            stacked[:, :, :2],
            stacked[:, :, 2].astype(bool),
            np.asarray(passed, bool),
        )

    def _check_count(self, contig: str, window: Window, n_read: int) -> None:
        """Count the records again: cyvcf2 takes a damaged block for the end of the region, pysam raises."""
        binary = self.path.suffix == ".bcf"
        n_there = 0
        try:
            with pysam.VariantFile(str(self.path)) if binary else pysam.TabixFile(str(self.path)) as file:
                if binary or contig in file.contigs:
                    n_there = sum(1 for _ in file.fetch(contig, window.start, window.end))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path} is damaged: after {n_there} records of window {window.name} reading failed "
                f"({error}). Copy or download it again and index it again."
            ) from error
        if n_there != n_read:
            raise UserError(
                f"{self.path}: {n_read} of {n_there} records of window {window.name} could be read; the file or "
                "its index is damaged. Copy it again and index it again."
            )

    def _calls(self, record: cyvcf2.Variant, n: int) -> NDArray[np.int16]:
        """``[samples, 3]``: two alleles and the phase flag; haploid files come with one allele column."""
        if record.genotype is None:
            raise UserError(f"{self.path}: the record at {record.CHROM}:{record.POS} has no GT field")
        array = record.genotype.array()
        if array.shape[1] == 3:
            return array
        if array.shape[1] != 2:
            raise UserError(
                f"{self.path}: the record at {record.CHROM}:{record.POS} has genotypes of "
                f"{array.shape[1] - 1} alleles; one or two are supported"
            )
        out = np.full((n, 3), ABSENT, np.int16)
        out[:, 0], out[:, 2] = array[:, 0], 1
        return out

    def __enter__(self) -> VcfFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()


def _with_pysam(path: Path, kind: str) -> str:
    """A command that compresses (where needed) and indexes with what genebrain itself is installed with."""
    return (
        f"""`python -c "import pysam; pysam.tabix_index('{path}', preset='{kind}', force=True, keep_original=True)"`"""
    )


def _check_bgzf(path: Path) -> None:
    """Refuse what htslib reads with no more than a warning: cut-off files, plain gzip, plain text."""
    with path.open("rb") as raw:
        head = raw.read(18)
        size = path.stat().st_size
        raw.seek(max(0, size - len(BGZF_END)))
        tail = raw.read()
    if head[:2] != b"\x1f\x8b" or head[12:14] != b"BC":
        how = "gzip, not bgzip" if head[:2] == b"\x1f\x8b" else "not compressed"
        unpacked = path.with_suffix("") if path.suffix == ".gz" else path
        first = "" if unpacked == path else f"`gunzip -k {path}`, then "
        raise UserError(
            f"{path} is {how}; regions can be read only after `bgzip` and `tabix -p vcf`, or without these tools: "
            f"{first}{_with_pysam(unpacked, 'vcf')}, which writes {unpacked}.gz"
        )
    if tail != BGZF_END:
        raise UserError(
            f"{path} is truncated: its {size:,} bytes do not end with the BGZF end marker. Copy or download it again."
        )
