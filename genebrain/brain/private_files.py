"""Files that only their owner may read, and that appear under their name only when they are complete.

What it does NOT know: what is in them.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


def write_private(target: Path, content: bytes) -> None:
    """Write a file under a temporary name, mode 0600, then rename it."""
    temporary, descriptor = _open(target)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.replace(temporary, target)


class ArrayWriter:
    """A ``.npy`` file that is written piece by piece along its first axis, then renamed.

    A context manager; when the block raises, nothing is left.

    Attributes
    ----------
    sha256
        Of the whole file, once the block is left.
    """

    def __init__(self, target: Path, shape: tuple[int, ...], dtype: Any) -> None:
        self._target, self._dtype = target, np.dtype(dtype)
        self._missing = int(np.prod(shape))
        self._header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        self._hash = hashlib.sha256()
        self.sha256 = ""

    def __enter__(self) -> Self:
        self._temporary, descriptor = _open(self._target)
        self._file = os.fdopen(descriptor, "wb")
        np.lib.format.write_array_header_1_0(self, self._header)
        return self

    def write(self, content: bytes) -> int:
        """Bytes of the header, as numpy writes it."""
        self._hash.update(content)
        return self._file.write(content)

    def add(self, values: NDArray[Any]) -> None:
        """The next values, in C order."""
        self._missing -= values.size
        self.write(np.ascontiguousarray(values, self._dtype).tobytes())

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._file.close()
        if kind is not None or self._missing:
            self._temporary.unlink()
            if kind is None:
                raise ValueError(f"{self._missing} values of the array were not written")
            return
        os.replace(self._temporary, self._target)
        self.sha256 = self._hash.hexdigest()


def _open(target: Path) -> tuple[Path, int]:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    return temporary, os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
