"""Blocks of bgzipped files, read without a library and without an index.

A second way into a file, for checks of what the libraries say: they take damage for the end of the file.

Source: section 4.1 of the SAM specification (BGZF).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from genebrain.common.types import UserError

END_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
GZIP = b"\x1f\x8b"


def is_bgzf(head: bytes) -> bool:
    """Whether a file that begins with these 18 bytes is bgzipped, and not just gzipped."""
    return head[:2] == GZIP and head[12:14] == b"BC"


class BgzfBlocks:
    """A bgzipped file as blocks that are found by their place in the compressed file.

    Parameters
    ----------
    path : Path
        The file stays open until the object is left as a context manager.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._raw = path.open("rb")

    def block(self, place: int) -> tuple[bytes, int]:
        """Letters of the block at ``place`` and the place of the next one; empty at the end of the file.

        Raises
        ------
        UserError
            No block begins there, or its checksum is wrong.
        """
        if place >= self.size:
            return b"", self.size
        self._raw.seek(place)
        head = self._raw.read(18)
        if len(head) < 18 or not is_bgzf(head):
            raise self._damaged(place, "no block begins there")
        length = struct.unpack_from("<H", head, 16)[0] + 1
        body = self._raw.read(length - 18)
        if len(body) < length - 18 or length < 26:
            raise self._damaged(place, "the block is cut off")
        checksum, n_letters = struct.unpack_from("<II", body, len(body) - 8)
        try:
            letters = zlib.decompress(body[:-8], wbits=-15)
        except zlib.error as error:
            raise self._damaged(place, str(error)) from error
        if len(letters) != n_letters or zlib.crc32(letters) != checksum:
            raise self._damaged(place, "the checksum of the block is wrong")
        return letters, place + length

    def begins(self, place: int) -> bool:
        """Whether a block begins at ``place``."""
        self._raw.seek(place)
        return is_bgzf(self._raw.read(18))

    def letters(self, place: int = 0, skip: int = 0) -> Iterator[bytes]:
        """Letters from byte ``skip`` of the block at ``place`` to the end of the file, block by block."""
        while place < self.size:
            block, place = self.block(place)
            if block := block[skip:]:
                yield block
            skip = 0

    def _damaged(self, place: int, why: str) -> UserError:
        return UserError(
            f"{self.path} is damaged at byte {place:,} of {self.size:,} ({why}). Copy or download it again and index "
            "it again."
        )

    def __enter__(self) -> BgzfBlocks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()


def check_bgzf(path: Path, advice: str) -> None:
    """Refuse what htslib reads with no more than a warning: cut-off files, plain gzip, plain text.

    Parameters
    ----------
    path : Path
    advice : str
        What to do with a file that is not bgzipped.

    Raises
    ------
    UserError
        Empty, not bgzipped, or without the end marker.
    """
    size = path.stat().st_size
    with path.open("rb") as raw:
        head = raw.read(18)
        raw.seek(max(0, size - len(END_BLOCK)))
        tail = raw.read()
    if not size:
        raise UserError(f"{path} is empty. Copy or download it again.")
    if not is_bgzf(head):
        how = "gzip, not bgzip" if head[:2] == GZIP else "not compressed"
        raise UserError(f"{path} is {how}; {advice}")
    if tail != END_BLOCK:
        raise UserError(
            f"{path} is truncated: its {size:,} bytes do not end with the BGZF end marker. Copy or download it again."
        )
