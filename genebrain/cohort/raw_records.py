"""Variant records as a genotype file has them, for checks: nothing dropped, renamed, or interpreted.

One small reader for VCF/BCF and PGEN. The reader for analysis, with its policies, is in the genetics room.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cyvcf2
import numpy as np
import pandas as pd
import pgenlib

from genebrain.types import BoolArray, IntArray, UserError


@dataclass(frozen=True)
class RawRecord:
    """One record.

    Attributes
    ----------
    position : int
        0-based.
    reference : str
        REF as written.
    alleles : int array ``[people, 2]``
        Allele numbers; -1 is missing, -2 does not exist (haploid call).
    phased : bool array ``[people]``
    """

    position: int
    reference: str
    alleles: IntArray
    phased: BoolArray


class RawRecords(ABC):
    """An open genotype file: ``samples`` and ``contigs`` in file order, records by region."""

    samples: list[str]
    contigs: list[str]

    @abstractmethod
    def read(self, contig: str, start: int, end: int) -> Iterator[RawRecord]:
        """Records whose position lies in the 0-based half-open interval."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_records(path: Path) -> RawRecords:
    """Open ``.pgen`` (with ``.pvar`` and ``.psam``) or an indexed VCF/BCF."""
    return PgenRecords(path) if path.suffix == ".pgen" else VcfRecords(path)


class VcfRecords(RawRecords):
    """VCF or BCF through htslib."""

    def __init__(self, path: Path) -> None:
        if not any(Path(f"{path}{end}").is_file() for end in (".tbi", ".csi")):
            raise UserError(
                f"{path.name} has no index (.tbi or .csi) beside it; make one with `tabix -p vcf`"
            )
        self._reader = cyvcf2.VCF(str(path))
        self.samples = list(self._reader.samples)
        self.contigs = list(self._reader.seqnames)

    def read(self, contig: str, start: int, end: int) -> Iterator[RawRecord]:
        """See the base class."""
        for record in self._reader(f"{contig}:{start + 1}-{end}"):
            if not start <= record.POS - 1 < end:
                continue
            calls = record.genotype.array()
            alleles = calls[:, :-1].astype(np.int64)
            if alleles.shape[1] == 1:
                alleles = np.column_stack([alleles, np.full(len(alleles), -2)])
            yield RawRecord(record.POS - 1, record.REF, alleles, calls[:, -1].astype(bool))

    def close(self) -> None:
        """See the base class."""
        self._reader.close()


class PgenRecords(RawRecords):
    """PLINK 2 files; positions from ``.pvar``, calls at random access."""

    def __init__(self, path: Path) -> None:
        self.samples = pgen_samples(path)
        self._sites = pgen_sites(path)
        self._contig = self._sites["#CHROM"].to_numpy()
        self._position = self._sites["POS"].to_numpy(dtype=np.int64) - 1
        self.contigs = list(dict.fromkeys(self._contig))
        self._reader = open_pgen(path, len(self.samples), self._sites)

    def read(self, contig: str, start: int, end: int) -> Iterator[RawRecord]:
        """See the base class."""
        inside = (self._contig == contig) & (self._position >= start) & (self._position < end)
        for variant in np.flatnonzero(inside):
            alleles = np.empty(2 * len(self.samples), dtype=np.int32)
            phased = np.empty(len(self.samples), dtype=np.bool_)
            self._reader.read_alleles_and_phasepresent(np.uint32(variant), alleles, phased)
            pairs = np.where(alleles < 0, -1, alleles).reshape(-1, 2).astype(np.int64)
            yield RawRecord(int(self._position[variant]), self._sites["REF"].iloc[variant], pairs, phased)

    def close(self) -> None:
        """See the base class."""
        self._reader.close()


def pgen_samples(path: Path) -> list[str]:
    """Sample names of a ``.pgen``, from the ``.psam`` beside it."""
    people = pd.read_csv(_beside(path, ".psam"), sep=r"\s+", dtype=str, keep_default_na=False)
    return list(people["IID" if "IID" in people.columns else "#IID"])


def pgen_sites(path: Path) -> pd.DataFrame:
    """``#CHROM``, ``POS``, ``REF`` and ``ALT`` (text) of every variant of a ``.pgen``, from the ``.pvar``."""
    pvar = _beside(path, ".pvar")
    with pvar.open(encoding="utf-8") as lines:
        n_comments = 0
        while lines.readline().startswith("##"):
            n_comments += 1
    return pd.read_csv(
        pvar, sep="\t", skiprows=n_comments, dtype=str, usecols=["#CHROM", "POS", "REF", "ALT"]
    )


def open_pgen(path: Path, n_samples: int, sites: pd.DataFrame) -> pgenlib.PgenReader:
    """Reader of the calls; multiallelic variants keep their allele numbers."""
    n_alleles = sites["ALT"].str.count(",").to_numpy() + 2
    offsets = np.concatenate([[0], np.cumsum(n_alleles)]).astype(np.uintp)
    return pgenlib.PgenReader(str(path).encode(), n_samples, allele_idx_offsets=offsets)


def _beside(path: Path, suffix: str) -> Path:
    file = path.with_suffix(suffix)
    if not file.is_file():
        raise UserError(f"{path.name} needs {file.name} beside it")
    return file
