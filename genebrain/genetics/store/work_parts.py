"""Long work cut into numbered parts on disk: resumable, shared out over processes, merged once all are there.

What makes a killed run go on and an array job possible. A part is complete or it is not there; the identity of the
work (model, options, input) stands beside the parts, and parts of other work are refused; a part that is missing is
never taken for an empty one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from genebrain.common.files import make_private, write_private
from genebrain.common.reading import read_record
from genebrain.common.run_folder import differences
from genebrain.common.types import Metrics, UserError
from genebrain.engines.shard import Shard as Shard
from genebrain.genetics.store.table_files import read_array, write_tensors

_IDENTITY = "work.json"


class WorkParts:
    """The parts of one piece of work.

    Parameters
    ----------
    folder : Path
        Holds the parts; made when missing, private to its owner.
    identity : mapping
        Everything that decides the numbers, JSON-ready.

    Raises
    ------
    UserError
        If the folder holds parts of other work; the first differences are named.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        make_private(folder)
        path = folder / _IDENTITY
        with FileLock(folder / ".work.lock", mode=0o600):  # shares of one job start at the same moment
            if not path.exists():
                write_private(path, json.dumps(dict(identity), indent=1, sort_keys=True).encode())
        refuse_other_work(read_record(path, "delete the folder and run the same command again"), identity, folder)

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Hold a job of this name against a second process. ``UserError`` if one is at it."""
        with self._held(name) as is_held:
            if not is_held:
                raise UserError(f"another process is at {name} of {self.folder}; wait for it, or stop it")
            yield

    @contextmanager
    def merging(self, numbers: Iterable[int]) -> Iterator[bool]:
        """True for the one process that may merge: all parts are there, and nobody else is at it or has done it."""
        numbers = list(numbers)
        if not self.folder.exists() or self.missing(numbers):
            yield False
            return
        with self._held("merging") as is_held:
            yield is_held and not self.missing(numbers)

    @contextmanager
    def _held(self, name: str) -> Iterator[bool]:
        lock = FileLock(self.folder / f".{name.replace('/', '-of-').replace(' ', '-')}.lock", timeout=0, mode=0o600)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def path(self, number: int) -> Path:
        """File of a part."""
        return self.folder / f"part-{number:06d}.safetensors"

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Those of the parts that are not there yet."""
        return [number for number in numbers if not self.path(number).exists()]

    def write(self, number: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store a part, whole or not at all."""
        write_tensors(self.path(number), arrays)

    def read(self, number: int, *names: str) -> list[NDArray[Any]]:
        """Arrays of a part; damaged or absent ones are a ``UserError`` that names the file."""
        path = self.path(number)
        if not path.exists():
            raise UserError(f"{path} is missing: the part was not worked out; run the same command again")
        try:
            return [read_array(path, name) for name in names]
        except UserError as error:
            raise UserError(f"{error}; delete that file and run the same command again") from error

    def remove(self) -> None:
        """Delete the folder: the work is merged."""
        shutil.rmtree(self.folder)


def refuse_other_work(found: Mapping[str, Any], wanted: Mapping[str, Any], where: Path) -> None:
    """``UserError`` when two identities differ, with the first differences and both values."""
    if changed := differences(found, wanted):
        raise UserError(
            f"{where} holds the results of other work: {', '.join(changed[:5])}. Repeat the old command, choose "
            "another out=..., or delete it"
        )


def parts_of(out: Path) -> Path:
    """Folder of the parts that become ``out``."""
    return out.with_name(f"{out.name}.parts")


def report_path(out: Path) -> Path:
    """Report beside ``out``; written last, so its presence says that ``out`` is complete."""
    return out.with_name(f"{out.name}.report.json")


def drop_merged(folder: Path) -> None:
    """Delete parts of a work whose results are complete: a kill came while they were deleted."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)


def finished_report(out: Path, identity: Mapping[str, Any]) -> Metrics | None:
    """Report of an ``out`` that this very work has made before, None if there is none yet.

    Raises
    ------
    UserError
        ``out`` holds something else: it is never overwritten.
    """
    path = report_path(out)
    if out.exists() and path.exists():
        report: Metrics = read_record(path, f"delete it and {out}, and run the same command again")
        refuse_other_work(report.get("identity") or {}, identity, out)
        drop_merged(parts_of(out))
        return report
    if out.exists() and not parts_of(out).exists():
        raise UserError(f"{out} exists and was not made by this verb; choose another out=... or delete it")
    return None


def as_text(values: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Strings as arrays for a part: their UTF-8 bytes and the length of each."""
    encoded = [value.encode() for value in values]
    return {
        "text": np.frombuffer(b"".join(encoded), np.uint8),
        "text_lengths": np.array([len(e) for e in encoded], np.int64),
    }


def from_text(text: NDArray[np.uint8], lengths: NDArray[np.int64]) -> list[str]:
    """Strings stored with :func:`as_text`."""
    ends = np.cumsum(lengths)
    return [text[end - length : end].tobytes().decode() for end, length in zip(ends, lengths, strict=True)]
