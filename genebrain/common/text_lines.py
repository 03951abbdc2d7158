"""Lines of text files as a stream: UTF-8 with or without byte order mark, any line ends, plain or gzipped.

What is no such text is refused by name: UTF-16, other encodings (with line and byte), NUL bytes, and other kinds of
files under the name of a text file.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from genebrain.common.types import UserError

_BLOCK = 1 << 23
MOST_LINE = 1 << 27
"""Bytes of a line; a small gzipped file may hold a line that fills the memory."""
_GZIP = b"\x1f\x8b"
_BOM = "\ufeff"
_OTHER_KINDS = {
    b"PK\x03\x04": "an Excel or zip file",
    b"\xd0\xcf\x11\xe0": "an Excel file",
    b"PAR1": "a parquet file",
    b"BZh": "a bzip2 file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\xfd7zXZ": "an xz file",
    b"\x93NUMPY": "a numpy file",
}
_UTF16 = "save it as UTF-8 (in Excel 'CSV UTF-8', or: iconv -f {name} -t UTF-8 OLD > NEW)"


def text_lines(path: Path | str) -> Iterator[str]:
    """Lines without their ends (LF, CRLF or CR); the last line may lack one.

    Raises
    ------
    UserError
        Not readable, cut short, not UTF-8 (names the line and the byte), NUL bytes, or another kind of file.
    """
    path = Path(path)
    number = 1
    for piece in _whole_lines(path):
        if b"\0" in piece:
            line = number + _ends(piece[: piece.index(b"\0")])
            raise UserError(f"{path}, line {line}: a NUL byte; the file is damaged or no text, so write it again")
        try:
            text = piece.decode("utf-8")
        except UnicodeDecodeError as error:
            before = piece[: error.start]
            column = len(before) - max(before.rfind(b"\n"), before.rfind(b"\r"))
            raise UserError(
                f"{path}, line {number + _ends(before)}, byte {column}: 0x{piece[error.start]:02x} is not UTF-8 text. "
                "If it comes from Windows or R: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"
            ) from error
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if lines[-1] == "":
            lines.pop()
        number += len(lines)
        # Files with a mark that were put together have it inside as well.
        yield from (line.lstrip(_BOM) for line in lines) if _BOM in text else lines


def count_lines(path: Path | str) -> int:
    """Number of lines, from the bytes alone: what a reader read is checked against it."""
    n, last = 0, b"\n"
    with _opened(Path(path)) as stream:
        while block := stream.read(_BLOCK):
            n += block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")
            n -= last == b"\r" and block[:1] == b"\n"
            last = block[-1:]
    return n + (last not in (b"\n", b"\r"))


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Blocks that end where a line ends."""
    rest: list[bytes] = []
    first, waiting = True, 0
    try:
        with _opened(path) as stream:
            while block := stream.read(_BLOCK):
                if first:
                    _refuse_other_kinds(path, block[:4096])
                    first = False
                # A carriage return at the end may have its line feed in the next block.
                cut = 1 + max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1))
                if cut:
                    yield b"".join([*rest, block[:cut]])
                    rest, waiting = [], 0
                rest.append(block[cut:])
                waiting += len(rest[-1])
                if waiting > MOST_LINE:
                    raise UserError(f"{path}: a line of more than {MOST_LINE:,} bytes; this is no table of people")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read to its end: {getattr(error, 'strerror', None) or error}") from error
    if last := b"".join(rest):
        yield last


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    return cast(IO[bytes], gzip.open(path, "rb")) if zipped else path.open("rb")


def _ends(text: bytes) -> int:
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def _refuse_other_kinds(path: Path, head: bytes) -> None:
    for mark, kind in _OTHER_KINDS.items():
        if head.startswith(mark):
            raise UserError(f"{path} is {kind}, not text: export it as tab-separated UTF-8 text")
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise UserError(f"{path} is UTF-32 text: {_UTF16.format(name='UTF-32')}")
    halves = head[0::2].count(0), head[1::2].count(0)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or max(halves) > 0.3 * len(head) / 2 > 10 * min(halves):
        raise UserError(f"{path} is UTF-16 text: {_UTF16.format(name='UTF-16')}")
