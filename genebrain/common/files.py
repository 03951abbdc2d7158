"""Files that appear under their name whole or not at all, private unless said otherwise.

What people's genotypes and scans turn into says as much about them as the originals, so files have mode 0600 and
folders 0700; only pages, figures and settings are public. Content goes to a temporary name in the same folder, which
is then renamed; whatever goes wrong, the temporary file is removed, what stood under the name before still stands,
and a disk that refuses is a :class:`StorageError` in words.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from genebrain.common.leftovers import writer
from genebrain.common.reading import SEAL
from genebrain.common.types import UserError

LEFTOVERS = "*.tmp"
"""Pattern of what a killed writer leaves in a folder."""
USED = ".used"
"""Mark whose time says when a part of a store was last used; times of access are rarely kept by file systems."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


class StorageError(UserError):
    """The place to write to refuses: it is full, read-only or forbidden. Whoever collects errors must stop here."""


def make_private(folder: Path) -> None:
    """Create a folder only its owner can enter. :class:`StorageError` if it can not be."""
    with explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def replacing(path: Path, *, private: bool = True) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its name when the block ends well; for writers that want a path.

    The temporary name does not end as ``path`` does: state the format where a writer would guess it.

    Parameters
    ----------
    private : bool
        Mode 0600, also while it is written and whatever the writer does; otherwise the mode of any new file.

    Raises
    ------
    StorageError
        The disk is full or the folder can not be written. An ``OSError`` that names another file passes unchanged.
    """
    temporary = path.with_name(f".{path.name}.{writer()}-{secrets.token_hex(4)}.tmp")
    with explained(path.parent, temporary):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        try:
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            os.close(descriptor)
            yield temporary
            temporary.chmod(mode)  # some writers, safetensors among them, put a file of their own in its place
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def private_stream(path: Path) -> Iterator[BinaryIO]:
    """As :func:`write_private`, for content that comes piece by piece; the stream can be read and sought too."""
    with replacing(path) as temporary, temporary.open("r+b") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def write_private(path: Path, content: bytes) -> None:
    """Write a private file and flush it to disk before it takes its name.

    Raises
    ------
    StorageError
        See :func:`replacing`.
    """
    with private_stream(path) as stream:
        stream.write(content)


class ArrayWriter:
    """A private ``.npy`` file that is written piece by piece along its first axis.

    A context manager; when the block raises, or values are missing at its end (``ValueError``), nothing is left.

    Attributes
    ----------
    sha256
        Of the whole file, once the block is left; without the seal.

    Parameters
    ----------
    sealed : bool
        Write the checksum behind the numbers, where :func:`genebrain.common.reading.read_npy` looks for it.
    """

    def __init__(self, target: Path, shape: tuple[int, ...], dtype: Any, *, sealed: bool = False) -> None:
        self._sealed = sealed
        self._target, self._dtype = target, np.dtype(dtype)
        self._missing = int(np.prod(shape))
        self._header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        self._hash = hashlib.sha256()
        self.sha256 = ""

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._file = opened.enter_context(opened.enter_context(replacing(self._target)).open("wb"))
            np.lib.format.write_array_header_1_0(self, self._header)
            self._opened = opened.pop_all()
        return self

    def write(self, content: bytes) -> int:
        """Bytes of the header, as numpy writes it."""
        self._hash.update(content)
        return self._file.write(content)

    def add(self, values: NDArray[Any]) -> None:
        """The next values, in C order."""
        self._missing -= values.size
        self.write(np.ascontiguousarray(values, self._dtype).tobytes())

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._opened.__exit__(kind, value, trace)
            return
        with self._opened:
            if self._missing:
                raise ValueError(f"{self._missing} values of the array were not written")
            if self._sealed:
                self._file.write(SEAL + self._hash.digest())
        self.sha256 = self._hash.hexdigest()


@contextmanager
def explained(folder: Path, file: Path | None = None) -> Iterator[None]:
    """Turn a refusal of the disk into a :class:`StorageError` about ``folder``.

    With ``file``, only if the error names this file or none: others come from what is read meanwhile.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number, named = _number(error), getattr(error, "filename", None)
        elsewhere = file is not None and named is not None and Path(os.fsdecode(named)) != file
        if number is None or (elsewhere and number not in _FULL):
            raise
        advice = "free space and run the same command again" if number in _FULL else "check its permissions"
        raise StorageError(
            f"can not write to {folder}: {os.strerror(number)}. What was finished before is kept; {advice}"
        ) from error


def mark_used(folder: Path) -> None:
    """Note that a folder of a store is used now; one that cannot be written is used without a note."""
    with suppress(OSError):
        mark = os.open(folder / USED, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.utime(mark)
        finally:
            os.close(mark)


def last_used(folder: Path) -> float:
    """Seconds since 1970: when a folder was last used, or changed where nothing noted its use."""
    mark = folder / USED
    return (mark if mark.exists() else folder).lstat().st_mtime


def _number(error: OSError | SafetensorError) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))  # all that the Rust side passes on
    return int(found[1]) if found else None
