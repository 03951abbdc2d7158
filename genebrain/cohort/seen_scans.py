"""Which scans a pretrained encoder has seen, so that nobody is judged on them by mistake.

Contract: beside the weights lies a list of hashes of the stored scans that training or validation looked at; hashes of
content, not ids, so another cohort or split that holds the same scans is recognised too. What it does NOT know: why
somebody asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from genebrain.brain.scan_store import ScanStore
from genebrain.cohort.brain_side import person_scans
from genebrain.cohort.encoder_side import BrainSide, EncoderSide
from genebrain.cohort.participants import Cohort
from genebrain.file_writing import write_private
from genebrain.types import IntArray, UserError

FILE = "seen_scans.txt"


def save_seen(folder: Path, store: ScanStore, keys: Iterable[str]) -> None:
    """Write the list beside the weights in ``folder``, for the owner's eyes."""
    lines = sorted(_mark(store, key) for key in set(keys))
    write_private(folder / FILE, "".join(f"{line}\n" for line in lines).encode())


def refuse_seen(weights: Path | str | None, store: ScanStore, keys: Iterable[str], where: str) -> None:
    """Refuse scans that the weights were trained on.

    Parameters
    ----------
    weights : path or None
        File or folder of weights; without a list beside it (published weights, random ones) nothing is known.
    store, keys
        The scans that are to be judged.
    where : str
        What they are, in words.

    Raises
    ------
    UserError
        Some of them were seen.
    """
    if weights is None:
        return
    folder = Path(weights) if Path(weights).is_dir() else Path(weights).parent
    if not (folder / FILE).is_file():
        return
    known = set((folder / FILE).read_text().split())
    listed = set(keys)
    seen = sum(_mark(store, key) in known for key in listed)
    if seen:
        raise UserError(
            f"{seen} of {len(listed)} scans of {where} were seen when {folder} was pretrained, so a result on them "
            "would be too good: use the seed and the split of the pretraining (seed=, split.*), or pretrain again"
        )


def refuse_seen_people(side: BrainSide, cohort: Cohort, store: Path, rows: IntArray) -> None:
    """Refuse test people (rows of the cohort) whose scans the weights of a scan encoder have seen."""
    if isinstance(side, EncoderSide) and side.path is not None:
        scans = side.scans(cohort, store)
        keys = person_scans(cohort, scans)
        refuse_seen(side.path, scans, (key for row in rows for key in keys[row]), "the test set")


def _mark(store: ScanStore, key: str) -> str:
    return hashlib.blake2b(f"seen {store.index['sha256'][key]}".encode(), digest_size=12).hexdigest()
