"""Index of a VCF or BCF (``.tbi``, ``.csi``): which contigs have records, and whether it belongs to its file.

An index of an earlier version or of a part of the file hides records without any error. Both kinds of index say
where the records of each contig begin and end; these spans must tile the file, from the header to the end.

Source: the tabix and CSI sections of the SAM specification; bins with numbers above the last one hold the spans.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genebrain.common.types import UserError
from genebrain.genetics.genome.bgzf import BgzfBlocks, is_bgzf

Place = tuple[int, int]
"""Place of a block in the compressed file, and of a byte in the unpacked block."""
TABIX_PSEUDO_BIN = 37450


@dataclass(frozen=True)
class Span:
    """Records of one contig: where they begin and end, and how many there are (None: the index does not say)."""

    begin: Place
    end: Place
    records: int | None


def find_index(path: Path) -> Path | None:
    """Index beside the file: ``.csi`` before ``.tbi``, as htslib takes them."""
    candidates = [Path(f"{path}{suffix}") for suffix in (".csi", ".tbi")]
    return next((file for file in candidates if file.is_file()), None)


def read_index(index: Path, contigs: Sequence[str], advice: str) -> dict[str, Span]:
    """Spans of the contigs that have records.

    Parameters
    ----------
    index : Path
        ``.tbi`` or ``.csi``.
    contigs : sequence of str
        Names by number, for the index of a BCF, which has none.
    advice : str
        How to make the index anew.

    Raises
    ------
    UserError
        The index is damaged.
    """
    try:
        with index.open("rb") as raw:
            packed = is_bgzf(raw.read(18))
        if packed:
            with BgzfBlocks(index) as blocks:
                content = b"".join(blocks.letters())
        else:
            content = index.read_bytes()
        return _spans(content, contigs)
    except (UserError, struct.error, IndexError, ValueError, OSError) as error:
        raise UserError(f"the index {index} is damaged or no index. Make it again with {advice}") from error


def _spans(content: bytes, contigs: Sequence[str]) -> dict[str, Span]:
    magic, at = content[:4], 4
    if magic == b"TBI\x01":
        n_refs, names, at = _number(content, 4), _names(content, 8), 36 + _number(content, 32)
        pseudo_bin = TABIX_PSEUDO_BIN
    elif magic == b"CSI\x01":
        depth, n_aux = _number(content, 8), _number(content, 12)
        pseudo_bin = ((1 << 3 * (depth + 1)) - 1) // 7 + 1
        names = _names(content, 16) if n_aux >= 28 else list(contigs)
        n_refs, at = _number(content, 16 + n_aux), 20 + n_aux
    else:
        raise ValueError(f"begins with {magic!r}")
    spans = {}
    for number in range(n_refs):
        span, at = _span(content, at, pseudo_bin, tabix=magic[:1] == b"T")
        if span is not None:
            spans[names[number]] = span
    return spans


def _span(content: bytes, at: int, pseudo_bin: int, *, tabix: bool) -> tuple[Span | None, int]:
    """Span of one contig from its bins, and where the next contig begins."""
    begins: list[int] = []
    ends: list[int] = []
    records = None
    n_bins, at = _number(content, at), at + 4
    for _ in range(n_bins):
        if tabix:
            bin_number, n_chunks = struct.unpack_from("<Ii", content, at)
            at += 8
        else:
            bin_number, _, n_chunks = struct.unpack_from("<IQi", content, at)
            at += 16
        places = struct.unpack_from(f"<{2 * n_chunks}Q", content, at)
        at += 16 * n_chunks
        if bin_number == pseudo_bin:
            records = places[2] + places[3]
            places = places[:2]
        begins += places[0::2]
        ends += places[1::2]
    if tabix:
        at += 4 + 8 * _number(content, at)
    if not begins:
        return None, at
    return Span(_place(min(begins)), _place(max(ends)), records), at


def _number(content: bytes, at: int) -> int:
    number: int = struct.unpack_from("<i", content, at)[0]
    if number < 0:
        raise ValueError("a count is negative")
    return number


def _names(content: bytes, at: int) -> list[str]:
    """Names behind the seven numbers that describe the columns."""
    length = _number(content, at + 24)
    return content[at + 28 : at + 28 + length].decode().rstrip("\x00").split("\x00")


def _place(offset: int) -> Place:
    return offset >> 16, offset & 0xFFFF


def tiles(spans: dict[str, Span], blocks: BgzfBlocks, first: Place) -> bool:
    """Whether the spans follow one another without gaps from ``first`` to the end of the file.

    Raises
    ------
    UserError
        A block of the file is damaged.
    """
    here = _normal(first, blocks)
    for name, span in sorted(spans.items(), key=lambda item: item[1].begin):
        if here is None or _normal(span.begin, blocks) != here or not _begins_with(name, here, blocks):
            return False
        here = _normal(span.end, blocks)
    if here is None:
        return False
    rest = blocks.letters(*here)
    return all(not letters.strip() for letters in rest)


def _normal(place: Place, blocks: BgzfBlocks) -> Place | None:
    """The same place inside a block that has letters behind it, or the end of the file; None: no such place."""
    block, byte = place
    while block < blocks.size:
        if not blocks.begins(block):
            return None
        letters, following = blocks.block(block)
        if byte < len(letters):
            return block, byte
        if byte > len(letters):
            return None
        block, byte = following, 0
    return (blocks.size, 0) if (block, byte) == (blocks.size, 0) else None


def _begins_with(name: str, place: Place, blocks: BgzfBlocks) -> bool:
    """Whether the line there is a record of the contig; records of a BCF carry numbers and are not looked at."""
    if blocks.path.suffix == ".bcf":
        return True
    wanted, found = f"{name}\t".encode(), b""
    for letters in blocks.letters(*place):
        found += letters
        if len(found) >= len(wanted):
            break
    return found.startswith(wanted)
