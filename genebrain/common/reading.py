"""Readers of the small files of runs and stores; no content of a file ends in a traceback.

Every reader looks first whether there is a plain file of a sensible size, and says which file is wrong, how, and what
to do. Nothing here ever runs or unpickles what it reads.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import re
import struct
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError

MOST_TEXT = 2**28
"""Bytes of the largest text that is read whole; runs and stores write much smaller ones."""
AGAIN = "restore it from a copy, or make it again"
SEAL = b"\0genebrain sha256\0"
"""In front of the checksum that stands behind the numbers of a sealed array."""

_NOT_ITS_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT)
"""What the system says where nothing is wrong with the file: whoever deletes it then loses it for nothing."""
_WRONG = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RecursionError,
    RuntimeError, SyntaxError, TypeError, ValueError, struct.error, tokenize.TokenError, csv.Error,
)  # fmt: skip


@contextmanager
def contents_of(path: Path, advice: str = AGAIN) -> Iterator[None]:
    """Turn whatever goes wrong with the contents of a file into a UserError that names it.

    For what was written by this package and cannot be interpreted; whoever calls puts nothing else inside.
    """
    try:
        yield
    except UserError:
        raise
    except _WRONG as error:
        if isinstance(error, OSError) and error.errno in _NOT_ITS_FAULT:
            more = " (ulimit -n says how many a process may have open)" if error.errno == errno.EMFILE else ""
            raise UserError(f"{path} cannot be read: {error.strerror}{more}; leave the file as it is") from error
        words = " ".join(str(error).split())[:200]
        what = words if isinstance(error, OSError | ValueError) and words else f"{type(error).__name__}: {words}"
        raise UserError(f"{path} is damaged ({what}); {advice}") from error


def read_text(path: Path, advice: str = AGAIN, most: int = MOST_TEXT) -> str:
    """Text of a plain UTF-8 file.

    Raises
    ------
    UserError
        The file is missing, no plain file, too large, or no UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        what = "is no plain file" if path.exists() else "is missing"
        raise UserError(f"{path} {what}; {advice}")
    with contents_of(path, advice):
        if path.stat().st_size > most:
            raise UserError(f"{path} has {path.stat().st_size:,} bytes, at most {most:,} are read; {advice}")
        return path.read_text(encoding="utf-8")


def read_json(path: Path, advice: str = AGAIN) -> Any:
    """Read JSON; see :func:`read_text` for what is refused."""
    text = read_text(path, advice)
    with contents_of(path, advice):
        return json.loads(text)


def read_record(path: Path, advice: str = AGAIN) -> dict[str, Any]:
    """Read a JSON object; see :func:`read_json`."""
    found = read_json(path, advice)
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged (a JSON object is wanted); {advice}")
    return found


def refuse_deep(text: str, most: int = 100) -> None:
    """Raise a ValueError for brackets nested deeper than any settings: a YAML reader needs hours for many."""
    depth = 0
    for one in re.findall(r"[\[{}\]]", text):
        depth += 1 if one in "[{" else -1
        if depth > most:
            raise ValueError(f"brackets are nested more than {most} deep")


def refuse_endless(values: Any, most: int, path: Path) -> None:
    """Refuse settings of a network that announce more layers than there are tensors: building them would never end.

    Parameters
    ----------
    values : mapping
        As read from JSON; every key whose name speaks of layers or depth counts, at any level.
    most : int
        Tensors of the file of weights.

    Raises
    ------
    UserError
        Naming the key and both numbers.
    """
    longest = max(most, 1000)
    for key, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            refuse_endless(value, most, path)
        numbers = value if isinstance(value, list) else [value]
        named = re.search("layers|depth|blocks", str(key)) is not None
        endless = named and any(isinstance(n, int | float) and not n <= most for n in numbers)
        if endless or len(numbers) > longest:
            raise UserError(f"{path} is damaged ({key}={str(value)[:50]}, the weights are {most} tensors); {AGAIN}")


def read_history(path: Path, advice: str = AGAIN) -> list[dict[str, float]]:
    """Rows of a training log: numbers by column, NaN where nothing was logged; none of an empty file."""
    lines = read_text(path, advice).splitlines()
    with contents_of(path, advice):
        rows = list(csv.reader(lines, strict=True))
        names, body = (rows[0], rows[1:]) if rows else ([], [])
        if any(len(row) != len(names) for row in body):
            raise ValueError(f"rows of other lengths than the {len(names)} columns")
        return [{name: float(cell or "nan") for name, cell in zip(names, row, strict=True)} for row in body]


def read_npy(path: Path, advice: str = AGAIN, *, mapped: bool = False) -> NDArray[Any]:
    """Read a ``.npy`` file of plain numbers; a seal behind the numbers is compared, unless the file is mapped.

    Parameters
    ----------
    mapped : bool
        A read-only memory map instead of memory.

    Raises
    ------
    UserError
        Missing, cut, no such file, objects instead of numbers, or another checksum than its own.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing; {advice}")
    with contents_of(path, advice):
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(stream)
            wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
            end, size = stream.tell() + wanted, path.stat().st_size
            if dtype.hasobject or min(shape, default=0) < 0 or end > size:
                raise ValueError(f"{size:,} bytes, but {end:,} of plain numbers are announced")
            if not mapped and end < size:
                _compare_seal(stream, end)
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped and wanted else None, allow_pickle=False)
        return np.asarray(array)


def _compare_seal(stream: Any, end: int) -> None:
    stream.seek(0)
    digest, left = hashlib.sha256(), end
    while left:
        part = stream.read(min(left, 2**20))
        digest.update(part)
        left -= len(part)
    if stream.read(len(SEAL) + 33) != SEAL + digest.digest():
        raise ValueError("its numbers do not have their checksum")
