"""Count of the records of a VCF or BCF by a pass over the whole file, without index and library.

The count that a reader of regions is held against. Made for files of up to ``SCANNED_WHOLE`` bytes; the larger
ones are counted again through pysam, by an index whose spans were checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.genome.bgzf import BgzfBlocks
from genebrain.genetics.genotypes.vcf_header import VcfHeader

SCANNED_WHOLE = 8 * 2**20
SORTING = "Sort the file (`bcftools sort`) and index it again."


def scan(path: Path, header: VcfHeader) -> dict[str, NDArray[np.int64]]:
    """0-based positions of the records of each contig, ascending.

    Raises
    ------
    UserError
        Damaged, unsorted, or a line with too few or too many columns.
    """
    found: dict[str, list[int]] = {}
    current: str | None = None
    positions: list[int] = []
    with BgzfBlocks(path) as blocks:
        letters = blocks.letters(*header.end)
        records = _binary(letters, path, header) if header.binary else _lines(letters, path, 9 + len(header.samples))
        for contig, position in records:
            if contig != current:
                if contig in found:
                    raise UserError(f"{path} is not sorted: records of {contig} stand in two places. {SORTING}")
                current, positions = contig, found.setdefault(contig, [])
            if positions and position < positions[-1]:
                raise UserError(
                    f"{path} is not sorted: the record at {contig}:{position + 1} stands behind {contig}:"
                    f"{positions[-1] + 1}. {SORTING}"
                )
            positions.append(position)
    return {contig: np.array(positions, np.int64) for contig, positions in found.items()}


def _lines(letters: Iterator[bytes], path: Path, n_columns: int) -> Iterator[tuple[str, int]]:
    number, left = 0, b""
    for block in letters:
        *lines, left = (left + block).split(b"\n")
        for line in lines:
            if line.strip():
                number += 1
                yield _parsed(line, path, number, n_columns)
    if left.strip():
        yield _parsed(left, path, number + 1, n_columns)


def _parsed(line: bytes, path: Path, number: int, n_columns: int) -> tuple[str, int]:
    fields = line.split(b"\t", 2)
    if len(fields) < 3 or not fields[1].isdigit():
        raise UserError(f"{path}: record {number} begins with {line[:30]!r}; a contig and a position are wanted")
    contig = fields[0].decode(errors="replace")
    if (n := line.count(b"\t") + 1) != n_columns:
        raise UserError(
            f"{path}: the record at {contig}:{fields[1].decode()} has {n} columns, the header has {n_columns}. Copy or "
            "make the file again."
        )
    return contig, int(fields[1]) - 1


def _binary(letters: Iterator[bytes], path: Path, header: VcfHeader) -> Iterator[tuple[str, int]]:
    left = b""
    for block in letters:
        left += block
        at = 0
        while len(left) - at >= 16:
            shared, own, contig, position = struct.unpack_from("<IIii", left, at)
            if not 0 <= contig < len(header.contigs):
                raise UserError(f"{path} is damaged: a record names contig number {contig} of {len(header.contigs)}")
            if at + 8 + shared + own > len(left):
                break
            yield header.contigs[contig], position
            at += 8 + shared + own
        left = left[at:]
    if left:
        raise UserError(f"{path} is cut off inside a record. Copy or download it again and index it again.")
