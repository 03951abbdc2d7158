"""Lock on a folder for one process at a time, and refusal of links that somebody planted there."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from genebrain.common.files import explained, write_private
from genebrain.common.leftovers import sweep
from genebrain.common.reading import read_text
from genebrain.common.types import UserError

log = logging.getLogger(__name__)

LOCK, WHO = ".working.lock", ".working"
LINKS_OF_OTHERS = ("wandb",)
"""Folders in which a logger of somebody else makes links of its own."""
RANKS = (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))


@contextmanager
def alone_in(folder: Path, what: str = "folder") -> Iterator[None]:
    """Hold an existing folder against a second process; sweep what killed writers left in it.

    The lock ends with the process, however that ends. The other ranks of one distributed training belong to the first
    one, which holds the folder for them.

    Raises
    ------
    UserError
        Another process works there; or a link stands where something would be written.
    """
    if not _first_rank():
        yield
        return
    refuse_links(folder)
    lock = FileLock(folder / LOCK, mode=0o600, timeout=0)
    try:
        _acquire(lock, folder)
    except Timeout:
        raise UserError(
            f"another process works in this {what} ({folder}{_who(folder)}): wait for it, stop it, or choose another "
            "folder"
        ) from None
    try:
        sweep(folder)
        said = f"process {os.getpid()} on {platform.node()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
        write_private(folder / WHO, said.encode())
        yield
    finally:
        with suppress(OSError):
            (folder / WHO).unlink(missing_ok=True)
        lock.release()


@contextmanager
def waiting_for(path: Path, words: str) -> Iterator[None]:
    """Hold a lock file; while another process holds it, say so once and wait."""
    lock = FileLock(path, mode=0o600)
    try:
        _acquire(lock, path.parent, timeout=1)
    except Timeout:
        log.info(words)
        _acquire(lock, path.parent)
    try:
        yield
    finally:
        lock.release()


def refuse_links(folder: Path) -> None:
    """Refuse a folder of runs or of a store with links inside: what is written there would go elsewhere.

    Raises
    ------
    UserError
        Naming the links. The folder itself may be a link: whoever named it meant it.
    """
    links: list[str] = []
    waiting = [os.fspath(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    links.append(os.path.relpath(entry.path, folder))
                elif entry.is_dir() and entry.name not in LINKS_OF_OTHERS:
                    waiting.append(entry.path)
    if links:
        more = f" and {len(links) - 5} more" if len(links) > 5 else ""
        raise UserError(
            f"{folder} contains links ({', '.join(sorted(links)[:5])}{more}), and nothing is written through links: "
            "delete them, or name the folder that they point to"
        )


def _acquire(lock: BaseFileLock, folder: Path, timeout: float | None = None) -> None:
    if Path(lock.lock_file).is_symlink():
        raise UserError(f"{lock.lock_file} is a link, and nothing is written through links: delete it")
    try:
        with explained(folder):
            lock.acquire(timeout=timeout)
    except NotImplementedError:
        return  # a file system without locks is used without


def _who(folder: Path) -> str:
    with suppress(UserError):
        return f": {read_text(folder / WHO, most=1000)}"
    return ""


def _first_rank() -> bool:
    env = os.environ
    return not any(int(env.get(rank) or 0) and int(env.get(size) or 1) > 1 for rank, size in RANKS)
