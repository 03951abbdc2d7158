"""Private, checksummed, atomically written files of chunk embeddings, and their index by chunk key.

The lowest layer of the chunk store. A shard is one safetensors file with ``keys`` uint8 ``[rows, 16]`` and one table
``[rows, hidden]`` per pooling; it is complete or it is not there; embeddings say as much about a person as genotypes
do, so files have mode 0600 and folders 0700.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from genebrain.common import tensor_files
from genebrain.common.files import LEFTOVERS, explained
from genebrain.common.types import UserError

KEY_BYTES = 16


def as_names(keys: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """View keys uint8 ``[n, 16]`` as one fixed-width byte string each, which numpy can sort and search."""
    keys = np.asarray(keys)
    if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != KEY_BYTES:
        raise ValueError(f"keys must be uint8 [n, {KEY_BYTES}], not {keys.dtype} {keys.shape}")
    return np.ascontiguousarray(keys).view(f"S{KEY_BYTES}")[:, 0]


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays with a checksum of each in the header."""
    contiguous = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    checksums = {name: _checksum(values) for name, values in contiguous.items()}
    tensor_files.write_tensors(path, contiguous, metadata={"checksums": json.dumps(checksums, sort_keys=True)})


def read_array(path: Path, name: str) -> NDArray[Any]:
    """Read one array and compare its checksum. ``UserError`` names the file if they differ."""
    if not path.is_file():
        raise UserError(f"{path} is {'no plain file' if path.exists() else 'missing'}")
    try:
        with safe_open(path, framework="numpy") as stored:
            values = stored.get_tensor(name)
            expected = json.loads(stored.metadata()["checksums"])[name]
    except (SafetensorError, OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if _checksum(values) != expected:
        raise UserError(f"{path} is damaged: {name} does not match its checksum")
    return values


@contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """Hold the folder against a second writer, and clear what a killed writer left half-written.

    The lock ends with the process, however that ends. File systems without locks are used without.
    """
    with explained(folder):
        if (folder / ".lock").is_symlink():
            raise UserError(f"{folder / '.lock'} is a link, and nothing is written through links: delete it")
        lock = os.open(folder / ".lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(lock, "w"):
        with explained(folder):
            _lock(lock, folder)
            for leftover in folder.glob(LEFTOVERS):
                leftover.unlink()
        yield


class ShardWriter:
    """Collects rows of named arrays; writes the next shard when enough rows or seconds have gathered."""

    def __init__(self, folder: Path, rows: int, seconds: float) -> None:
        self._folder, self._rows, self._seconds = folder, rows, seconds
        self._parts: list[dict[str, NDArray[Any]]] = []
        self._since = time.monotonic()

    def add(self, part: dict[str, NDArray[Any]]) -> None:
        """Take one batch of rows; a batch is never split over shards."""
        self._parts.append(part)
        waiting = sum(len(p["keys"]) for p in self._parts)
        if waiting >= self._rows or time.monotonic() - self._since >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Write what waits, if anything."""
        parts, self._parts = self._parts, []
        self._since = time.monotonic()
        if not parts:
            return
        write_tensors(next_shard(self._folder), {name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def next_shard(folder: Path) -> Path:
    """Name of the shard after the last one in the folder."""
    numbers = [int(p.stem.removeprefix("shard-")) for p in folder.glob("shard-*.safetensors")]
    return folder / f"shard-{max(numbers, default=-1) + 1:06d}.safetensors"


@dataclass(frozen=True)
class ShardIndex:
    """Where each stored key lies.

    Attributes
    ----------
    shards : list of Path
    names : bytes [rows], sorted
    shard, row : int64 [rows]
        Number in ``shards`` and row within it, in the order of ``names``.
    """

    shards: list[Path]
    names: NDArray[np.bytes_]
    shard: NDArray[np.int64]
    row: NDArray[np.int64]

    @classmethod
    def read(cls, folder: Path) -> ShardIndex:
        """Index all shards of a folder (none if it is absent). ``UserError`` lists every unreadable one."""
        shards = sorted(folder.glob("shard-*.safetensors"))
        keys: list[NDArray[np.bytes_]] = [np.empty(0, f"S{KEY_BYTES}")]
        damaged = []
        for path in shards:
            try:
                keys.append(as_names(read_array(path, "keys")))
            except UserError:
                damaged.append(path)
        if damaged:
            raise damaged_error(damaged)
        sizes = [len(k) for k in keys[1:]]
        names = np.concatenate(keys)
        order = np.argsort(names, kind="stable")
        shard = np.repeat(np.arange(len(shards)), sizes)
        row = np.concatenate([np.empty(0, np.int64), *map(np.arange, sizes)])
        return cls(shards, names[order], shard[order], row[order])

    def find(self, names: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Position in the index of each name, -1 where it is not stored."""
        if not len(self.names):
            return np.full(len(names), -1, np.int64)
        position = np.searchsorted(self.names, names).clip(max=len(self.names) - 1)
        return np.where(self.names[position] == names, position, -1)


def damaged_error(shards: list[Path]) -> UserError:
    """The error that names damaged shards (all of them) and the way out."""
    common = shards[0].parent if len({path.parent for path in shards}) == 1 else shards[0].parent.parent
    return UserError(
        f"{len(shards)} damaged shards in {common}: {', '.join(str(p.relative_to(common)) for p in shards)}; "
        "embed again with repair=True to encode their chunks anew, or restore the files"
    )


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another process is writing to {folder}; wait for it, or stop it") from None
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise


def _checksum(values: NDArray[Any]) -> str:
    digest = hashlib.blake2b(f"{values.dtype} {values.shape}".encode(), digest_size=16)
    digest.update(values.data)
    return digest.hexdigest()
