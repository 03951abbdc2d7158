"""Writer of simulated genomes as bgzipped VCF with tabix index, FASTA and BED6.

Plain text and fixed headers: the same genomes give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pysam
from numpy.typing import NDArray

LINE_BP = 60
MISSING = -1


@dataclass(frozen=True)
class Record:
    """One VCF line.

    Attributes
    ----------
    position : int
        0-based.
    alleles : int8 ``[people, 2]``
        Index of the allele (0 reference), -1 missing, below ten.
    phased : bool
        Separator ``|`` or ``/``.
    """

    contig: str
    position: int
    name: str
    ref: str
    alt: Sequence[str]
    alleles: NDArray[np.int8]
    phased: bool = True
    info: str = "."


def write_vcf(
    path: Path, samples: Sequence[str], contigs: dict[str, int], records: Iterable[Record], header: str = ""
) -> None:
    """Write records, which must come sorted by contig and position, and index them.

    Parameters
    ----------
    contigs : dict
        Length of each contig.
    header : str
        More header lines, each ending in a line feed.
    """
    lines = ["##fileformat=VCFv4.2\n"]
    lines += [f"##contig=<ID={name},length={length}>\n" for name, length in contigs.items()]
    lines += ['##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n', header]
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]
    with pysam.BGZFile(str(path), "wb") as stream:
        stream.write(("".join(lines) + "\t".join(columns) + "\n").encode())
        for record in records:
            stream.write(_line(record))
    pysam.tabix_index(str(path), preset="vcf", force=True)


def write_reference(path: Path, contigs: dict[str, NDArray[np.uint8]]) -> None:
    """Write letters ``[bases]`` of each contig as FASTA and index it."""
    with path.open("wb") as stream:
        for name, letters in contigs.items():
            stream.write(f">{name}\n".encode())
            text = letters.tobytes()
            for start in range(0, len(text), LINE_BP):
                stream.write(text[start : start + LINE_BP] + b"\n")
    pysam.faidx(str(path))


def write_windows(path: Path, rows: Iterable[tuple[str, int, int, str, str]]) -> None:
    """Write ``(contig, start, end, name, strand)`` as BED6, 0-based half-open."""
    path.write_text("".join(f"{c}\t{start}\t{end}\t{name}\t0\t{strand}\n" for c, start, end, name, strand in rows))


def _line(record: Record) -> bytes:
    alt = ",".join(record.alt)
    fixed = f"{record.contig}\t{record.position + 1}\t{record.name}\t{record.ref}\t{alt}\t.\tPASS\t{record.info}\tGT"
    # One cell is four bytes: tab, allele, separator, allele.
    cells = np.empty((len(record.alleles), 4), np.uint8)
    cells[:, 0] = ord("\t")
    cells[:, 2] = ord("|" if record.phased else "/")
    cells[:, [1, 3]] = np.where(record.alleles == MISSING, ord("."), record.alleles + ord("0"))
    return fixed.encode() + cells.tobytes() + b"\n"
