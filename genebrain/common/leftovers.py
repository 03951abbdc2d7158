"""Half-written files of killed writers: named so that they can be told from those of living ones, and swept.

A temporary name holds the machine (a hash, with its space of process numbers) and the number of the process. Only what
a process of this machine left that is no longer there is swept; what another machine left, after a week.
"""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import re
import shutil
import time
from functools import lru_cache
from pathlib import Path

NAME = re.compile(r"[.-]([0-9a-f]{8})-(\d+)-[0-9a-z_]{8}(\.tmp)?$")
"""End of a temporary name."""
OLDER_NAME = re.compile(r"^\..+\.[0-9a-f]{8}\.tmp$")
"""Of older versions, which did not say who writes."""
WEEK = 7 * 24 * 3600


def writer() -> str:
    """Who writes, as temporary names say it: ``MACHINE-PROCESS``."""
    return f"{_machine()}-{os.getpid()}"


def gone(writer: str) -> bool:
    """Whether who calls itself so (:func:`writer`) was a process of this machine and is no longer there."""
    machine, _, process = writer.partition("-")
    return machine == _machine() and process.isdecimal() and not _lives(int(process))


def sweep(folder: Path) -> int:
    """Delete what killed writers left in a folder and below; returns how many files."""
    swept = 0
    for place, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".tmp") and abandoned(path := Path(place) / name):
                path.unlink(missing_ok=True)
                swept += 1
    return swept


def sweep_output(target: Path) -> int:
    """Delete what killed writers of a file, or of files of a folder, left beside them; returns how many files."""
    found = [*target.parent.glob(f".{glob.escape(target.name)}.*.tmp"), *target.glob(".*.tmp")]
    left = [path for path in found if abandoned(path)]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def sweep_folders(beside: Path) -> int:
    """Delete half-made folders ``NAME.partial-...`` of killed writers of the folder ``beside``."""
    left = [path for path in beside.parent.glob(f"{beside.name}.partial-*") if path.is_dir() and not path.is_symlink()]
    gone = [path for path in left if abandoned(path)]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return len(gone)


def abandoned(path: Path) -> bool:
    """Whether nobody writes a file or folder with a temporary name any more."""
    found = NAME.search(path.name)
    if found and found[1] == _machine():
        return not _lives(int(found[2]))
    if not found and not OLDER_NAME.match(path.name) and ".partial-" not in path.name:
        return False
    try:
        return time.time() - path.lstat().st_mtime > WEEK
    except OSError:
        return False


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@lru_cache(maxsize=1)
def _machine() -> str:
    try:
        space = os.readlink("/proc/self/ns/pid")  # two containers may share a name, but not their process numbers
    except OSError:
        space = ""
    return hashlib.blake2b(f"{platform.node()} {space}".encode(), digest_size=4).hexdigest()
