"""Checksums of the files of a run: written when it ends, compared whenever it is read."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from genebrain.common.hashing import DIGEST_BYTES, content_digest
from genebrain.common.reading import read_record
from genebrain.common.types import UserError

log = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"
REDO = ".withdrawing.json"
"""What an interrupted ``forget`` still has to do in a run."""
KINDS = (".json", ".yaml", ".csv", ".tsv", ".safetensors", ".txt")
"""Files that numbers depend on; checkpoints of a training in progress carry checksums of their own."""
LEFT_OUT = (CHECKSUMS, "cost.json", "seconds.txt", "provenance.json")
OTHER_FOLDERS = (
    "logs", "training", "refit", "comparisons", "cells", "store", "wandb", "figures", "figures.validation",
    "findings", "findings.validation", "controls",
)  # fmt: skip
ADVICE = "restore what was changed from a copy of the run, or make the run again in another folder (run= or out=)"


def digest_of(content: bytes) -> str:
    """As :func:`~genebrain.common.hashing.content_digest`, of bytes that are still to be written."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def digests_below(folder: Path, kinds: tuple[str, ...] = KINDS) -> dict[str, str]:
    """Checksum of every file of a run that numbers depend on, by its path in the folder."""
    found = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in OTHER_FOLDERS and not f.startswith("."))
        for name in sorted(names):
            if name.endswith(kinds) and not name.startswith(".") and name not in LEFT_OUT:
                path = Path(place) / name
                found[path.relative_to(folder).as_posix()] = content_digest(path)
    return found


def verify_run(folder: Path | str, *, results: bool = True) -> None:
    """Compare the files of a finished run with their checksums.

    A run of an older version has none: one note is printed.

    Parameters
    ----------
    results : bool
        Also those of its judgement (``metrics.json``), which a new judgement replaces.

    Raises
    ------
    UserError
        Naming every file that is missing or changed.
    """
    folder = Path(folder)
    if not (folder / "provenance.json").exists() and not (folder / CHECKSUMS).exists():
        return  # not finished, or no run: whoever reads it says so
    if (folder / REDO).exists():
        raise UserError(f"{folder} was being mended by genebrain forget, which was interrupted: call it again")
    compare_files(folder, ADVICE, () if results else ("metrics",))


def compare_files(folder: Path, advice: str, left_out: tuple[str, ...] = ()) -> None:
    """Compare the files of a folder with its checksums; see :func:`verify_run`.

    Parameters
    ----------
    advice : str
        What to do about damage.
    left_out : tuple of str
        Names that begin so are not looked at.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        log.warning(f"note: {folder} has no {CHECKSUMS} (it was made by an older version): damage may go unnoticed")
        return
    problems = []
    for name, digest in sorted(read_record(path, advice).items()):
        if name.startswith(left_out):
            continue
        file = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"{path} is damaged (it names {name!r}); {advice}")
        if file.is_symlink() or not file.is_file():
            problems.append(f"{name} (missing)")
        elif content_digest(file) != digest:
            problems.append(f"{name} (changed)")
    if problems:
        raise UserError(
            f"{len(problems)} file{'s' * (len(problems) > 1)} of {folder} did not stay as written: "
            f"{', '.join(problems[:10])}; {advice}"
        )
