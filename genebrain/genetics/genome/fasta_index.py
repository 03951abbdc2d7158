"""Index of a FASTA file (``.fai``, ``.gzi``): whether it belongs to its file.

An index of an earlier download gives other letters than the contig has, without any error. The lines of the
index say where each contig begins, how long it is and how long its lines are; together they must tile the file.

Source: faidx(5) of samtools.
"""

from __future__ import annotations

import gzip
import struct
from bisect import bisect_right
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from genebrain.common.types import UserError
from genebrain.genetics.genome.bgzf import GZIP, BgzfBlocks
from genebrain.genetics.genome.foreign import reading
from genebrain.genetics.genome.gene_windows import SHOWN

LONGEST_NAME_LINE = 1 << 16
LARGEST = 1100
"""Most letters per byte of a compressed file; no FASTA has places behind that."""


@dataclass(frozen=True)
class _Contig:
    name: str
    length: int
    offset: int
    line_bases: int
    line_bytes: int

    @property
    def end(self) -> int:
        """Byte behind the last letter."""
        whole, rest = divmod(self.length, self.line_bases) if self.line_bases else (0, 0)
        return self.offset + whole * self.line_bytes + rest - (0 if rest or not whole else self._line_end)

    @property
    def _line_end(self) -> int:
        return self.line_bytes - self.line_bases


class _Text(Protocol):
    def at(self, start: int, end: int) -> bytes:
        """Bytes from ``start`` to ``end`` of the unpacked file, fewer at its end."""


def check_fasta_index(path: Path, fai: Path, gzi: Path | None) -> None:
    """Compare the index with the file; reads a few bytes of each contig.

    Parameters
    ----------
    path, fai : Path
    gzi : Path, optional
        Places of the blocks, for a bgzipped FASTA.

    Raises
    ------
    UserError
        The index is damaged or belongs to another file.
    """
    cure = f"Delete {fai}" + (f" and {gzi}" if gzi else "") + f": it is made anew (or run `samtools faidx {path}`)"
    contigs = _read_fai(path, fai, cure)
    try:
        if gzi is None:
            wrong = _mismatch(contigs, _Plain(path))
        else:
            with BgzfBlocks(path) as blocks:
                wrong = _mismatch(contigs, _Packed(blocks, gzi))
    except (struct.error, IndexError, OSError) as error:
        raise UserError(f"the index {gzi} of {path} is damaged. {cure}") from error
    if repeated := sorted(name for name, n in Counter(one.name for one in contigs).items() if n > 1):
        raise _twice(path, repeated)
    if wrong:
        _refuse_twice(path)
        older = " (it is older than the file)" if fai.stat().st_mtime_ns < path.stat().st_mtime_ns else ""
        raise UserError(
            f"{fai.name} does not belong to {path}{older}: {wrong}. Letters would be read from wrong places. {cure}"
        )


def refuse_repeated(path: Path, fai: Path, gzi: Path | None) -> None:
    """Refuse a FASTA in which a name stands twice, from an index that was made of it just now.

    Libraries read the first of the two without a word, and the index leaves the second one out. Only then the whole
    file is read.

    Raises
    ------
    UserError
        Names the contigs.
    """
    with BgzfBlocks(path) if gzi else nullcontext() as blocks:
        text = _Plain(path) if blocks is None or gzi is None else _Packed(blocks, gzi)
        if _mismatch(_read_fai(path, fai, ""), text):
            _refuse_twice(path)


def _refuse_twice(path: Path) -> None:
    with path.open("rb") as raw:
        compressed = raw.read(2) == GZIP
    with reading(path), gzip.open(path) if compressed else path.open("rb") as lines:
        names = Counter(line[1:].split(maxsplit=1)[0] for line in lines if line.startswith(b">") and line[1:].split())
    if repeated := sorted(name.decode(errors="replace") for name, n in names.items() if n > 1):
        raise _twice(path, repeated)


def _twice(path: Path, names: list[str]) -> UserError:
    return UserError(
        f"{path}: {len(names)} contig{'s' * (len(names) > 1)} stand{'s' * (len(names) == 1)} there more than once: "
        f"{', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)}. Which one is meant cannot be known: give each "
        "its own name, or delete copies, and delete the index (.fai, .gzi)"
    )


def _read_fai(path: Path, fai: Path, cure: str) -> list[_Contig]:
    contigs = []
    try:
        for line in fai.read_text(encoding="utf-8").splitlines():
            if line.strip():
                name, *numbers = line.split("\t")
                length, offset, line_bases, line_bytes = map(int, numbers[:4])
                contigs.append(_Contig(name, length, offset, line_bases, line_bytes))
        size = path.stat().st_size
        if any(c.line_bytes - c.line_bases > 2 or max(c.offset, c.length) > LARGEST * size for c in contigs):
            raise ValueError("places far behind the end of the file")
        if not contigs or any(
            c.line_bytes < c.line_bases or min(c.length, c.offset, c.line_bases) < 0 for c in contigs
        ):
            raise ValueError("no contig, or a negative length")
    except (ValueError, OSError) as error:
        raise UserError(f"the index {fai} is damaged or no index of a FASTA. {cure}") from error
    return contigs


def _mismatch(contigs: list[_Contig], text: _Text) -> str:
    """What does not fit, in words; empty when the contigs tile the file."""
    before = 0
    for contig in sorted(contigs, key=lambda one: one.offset):
        between = text.at(before, min(contig.offset, before + LONGEST_NAME_LINE))
        named = between.strip()
        name = named[1:].split()[0].decode(errors="replace") if len(named) > 1 and named[1:].split() else ""
        if not named.startswith(b">") or b"\n" in named or not between.endswith(b"\n") or name != contig.name:
            return f"{contig.name} does not begin at byte {contig.offset:,}, as the index says"
        line_end = text.at(contig.offset + contig.line_bases, contig.offset + contig.line_bytes)
        if contig.length > contig.line_bases and (line_end.strip(b"\r\n") or not line_end.endswith(b"\n")):
            return f"the lines of {contig.name} are not {contig.line_bases} letters long, as the index says"
        if contig.length and not text.at(contig.end - 1, contig.end).strip():
            return f"{contig.name} does not have {contig.length:,} letters, as the index says"
        before = contig.end
    if rest := text.at(before, before + 64).strip():
        return f"the file goes on behind the last contig of the index ({rest[:20].decode(errors='replace')!r})"
    return ""


class _Plain:
    def __init__(self, path: Path) -> None:
        self.path = path

    def at(self, start: int, end: int) -> bytes:
        with self.path.open("rb") as raw:
            raw.seek(start)
            return raw.read(max(0, end - start))


class _Packed:
    """Text of a bgzipped file, through the places of its blocks."""

    def __init__(self, blocks: BgzfBlocks, gzi: Path) -> None:
        content = gzi.read_bytes()
        (n_blocks,) = struct.unpack_from("<Q", content, 0)
        numbers = (0, 0, *struct.unpack_from(f"<{2 * n_blocks}Q", content, 8))
        self.blocks, self._packed, self._text = blocks, numbers[0::2], numbers[1::2]

    def at(self, start: int, end: int) -> bytes:
        number = bisect_right(self._text, start) - 1
        place, here = self._packed[number], self._text[number]
        if place < self.blocks.size and not self.blocks.begins(place):
            return b""
        found = b""
        while place < self.blocks.size and here + len(found) < end:
            letters, place = self.blocks.block(place)
            found += letters
        return found[start - here : max(start, end) - here]
