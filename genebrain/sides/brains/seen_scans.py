"""Scans that a trained encoder has seen, so that nobody is judged on them by mistake.

Beside the weights lies a list of marks of the scans that training or validation looked at: hashes of what the store
held, and of the files, so that the same scan is recognised in another cohort or split, behind another cleaning or
box, or converted with the same result; never ids.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from genebrain.brain.encoders.files import SEEN
from genebrain.brain.store.store import ScanStore
from genebrain.cohort.participants import Cohort
from genebrain.common.files import write_private
from genebrain.common.reading import read_text
from genebrain.common.types import IntArray, UserError
from genebrain.common.words import counted
from genebrain.sides.connectome import person_scans
from genebrain.sides.scans import BrainSide, EncoderSide

FILE = SEEN
SMALL_FILE, PIECES, PIECE = 2**20, 16, 2**14
GOLDEN = 0.6180339887498949


def save_seen(
    folder: Path, store: ScanStore, table: pd.DataFrame, keys: Iterable[str], before: Path | str | None = None
) -> None:
    """Write the list beside the weights in ``folder``, for the owner's eyes.

    Parameters
    ----------
    table : DataFrame
        The scan table of ``store``, with the ``path`` of every scan.
    keys
        The scans that were seen, by their keys in the store.
    before : path, optional
        Weights that the training started from: what these have seen, the new ones know as well.
    """
    marks = _known(before)
    for both in _marks(store, table, keys):
        marks.update(both)
    write_private(folder / FILE, "".join(f"{line}\n" for line in sorted(marks)).encode())


def refuse_seen(
    weights: Path | str | None,
    store: ScanStore,
    table: pd.DataFrame,
    keys: Iterable[str],
    where: str,
    advice: str = "use the seed and the split of that training (seed=, split.*), or train again",
) -> None:
    """Refuse scans that the weights were trained on.

    Parameters
    ----------
    weights : path or None
        File or folder of weights; without a list beside it (published weights, random ones) nothing is known.
    store, table, keys
        The scans that are to be judged, as in :func:`save_seen`.
    where, advice : str
        What they are, and what to do, in words.

    Raises
    ------
    UserError
        Some of them were seen.
    """
    known = _known(weights)
    if not known:
        return
    found = [not known.isdisjoint(marks) for marks in _marks(store, table, keys)]
    if any(found):
        raise UserError(
            f"{sum(found)} of {counted(len(found), 'scan')} of {where} were seen when {weights} was trained, so a "
            f"result on them would be too good: {advice}"
        )


def without_marks(file: Path, table: pd.DataFrame, folder: Path) -> str:
    """Content of a list without the marks of some scans.

    Parameters
    ----------
    file : Path
        The list.
    table : DataFrame
        Rows of the scan table of these scans.
    folder : Path
        Store of scans that still holds them.
    """
    store = ScanStore(folder)
    keys = [key for key in store.keys(table) if key is not None] if len(table) else []
    gone = {mark for marks in _marks(store, table, keys) for mark in marks}
    return "".join(f"{mark}\n" for mark in read_text(file).split() if mark not in gone)


def refuse_seen_people(
    side: BrainSide, cohort: Cohort, store: Path, rows: IntArray, where: str = "the test set"
) -> None:
    """Refuse people to be judged (rows of the cohort) whose scans the weights of a scan encoder have seen."""
    if isinstance(side, EncoderSide) and side.path is not None:
        scans = side.scans(cohort, store)
        keys = person_scans(cohort, scans)
        refuse_seen(side.path, scans, cohort.scans, (key for row in rows for key in keys[row]), where)


def _known(weights: Path | str | None) -> set[str]:
    if weights is None:
        return set()
    folder = Path(weights) if Path(weights).is_dir() else Path(weights).parent
    return set(read_text(folder / FILE).split()) if (folder / FILE).is_file() else set()


def _marks(store: ScanStore, table: pd.DataFrame, keys: Iterable[str]) -> Iterable[set[str]]:
    """What each scan is known by: what was stored of it, and its file."""
    paths = dict(zip(store.keys(table), table["path"], strict=True))
    for key in sorted(set(keys)):
        marks = {_hashed(f"seen {store.index['sha256'][key]}".encode())}
        path = Path(paths[key])
        yield marks | {_of_file(path)} if path.is_file() else marks


def _of_file(path: Path) -> str:
    """Hash of a file, of a large one by its length and pieces all over it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= SMALL_FILE:
            content = file.read()
        else:
            # At uneven distances: images begin every frame with the same zeros.
            parts = []
            for number in range(1, PIECES + 1):
                file.seek(int(number * GOLDEN % 1 * (size - PIECE)), os.SEEK_SET)
                parts.append(file.read(PIECE))
            content = b"".join(parts)
    return _hashed(f"seen file {size} ".encode() + content)


def _hashed(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()
