"""The unique chunks of a cohort and who has which: what the encoder reads, and how subjects find its output.

Hold, save and load one cohort's chunks. Rows are in the order in which samples were asked for, and no name of a
subject is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.common.checksums import CHECKSUMS, compare_files, digests_below
from genebrain.common.leftovers import sweep_folders, writer
from genebrain.common.reading import contents_of, read_npy, read_record
from genebrain.common.types import UserError

FORMAT = 1
KINDS = (".npy", ".json", ".txt")
AGAIN = "delete its folder and run the same command again: it is built anew"
_ARRAYS = ("keys", "index", "n_chunks")


@dataclass(frozen=True)
class ChunkSet:
    """Unique chunks, and an index of subjects into them.

    Attributes
    ----------
    keys : uint8 ``[unique, 16]``
        blake2b of each string.
    sequences : list of bytes
        The strings: upper case, strand applied.
    index : int32 ``[subjects, 2, windows, chunks]``
        Row of ``keys``, in the direction of transcription; -1 where there is nothing: no second haplotype, a
        masked window, only N, all bases deleted, or fewer chunks than the longest window has.
    window_names : list of str
    n_chunks : int64 ``[windows]``
        Pieces that each window was cut into.
    report : dict
        JSON-ready counts of every policy event.
    pairs : int32 ``[pairs, 2]``, optional
        If given, ``index`` points here: rows of a chunk and of the reference chunk of its place, whose vectors are
        subtracted. Derived, never saved.
    """

    keys: NDArray[np.uint8]
    sequences: list[bytes]
    index: NDArray[np.int32]
    window_names: list[str]
    n_chunks: NDArray[np.int64]
    report: dict[str, Any]
    pairs: NDArray[np.int32] | None = None

    @property
    def n_unique(self) -> int:
        """Strings that the encoder has to read."""
        return len(self.sequences)

    @property
    def n_naive(self) -> int:
        """Strings that it would read if every haplotype of every subject were encoded."""
        return int((self.index >= 0).sum())

    def save(self, folder: str | Path) -> None:
        """Write plain files (npy, text, json) into a folder that only its owner can enter: people's haplotypes.

        An interrupted writer leaves no folder of that name.

        Raises
        ------
        UserError
            The folder exists and holds something else.
        """
        if self.pairs is not None:
            raise ValueError("pairs with the reference are derived from a chunk set; save the set itself")
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()) and not (folder / "report.json").is_file():
            raise UserError(f"{folder} exists and holds no chunk set; choose another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep_folders(folder)
        scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-{writer()}-", dir=folder.parent))
        try:
            for name in _ARRAYS:
                np.save(scratch / f"{name}.npy", getattr(self, name), allow_pickle=False)
            (scratch / "sequences.txt").write_bytes(b"".join(line + b"\n" for line in self.sequences))
            meta = {"format": FORMAT, "window_names": self.window_names, "report": self.report}
            (scratch / "report.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
            (scratch / CHECKSUMS).write_text(json.dumps(digests_below(scratch, KINDS)), encoding="utf-8")
            for file in scratch.iterdir():
                file.chmod(0o600)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | Path, *, note: bool = True) -> ChunkSet:
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        note : bool
            Print a line about a folder without checksums.

        Raises
        ------
        UserError
            Absent, unreadable or inconsistent files.
        """
        folder = Path(folder)
        if note or (folder / CHECKSUMS).exists():
            compare_files(folder, AGAIN)
        meta = read_record(folder / "report.json", AGAIN)
        arrays = {name: read_npy(folder / f"{name}.npy", AGAIN) for name in _ARRAYS}
        with contents_of(folder / "sequences.txt", AGAIN):
            sequences = (folder / "sequences.txt").read_bytes().split(b"\n")[:-1]
        if meta.get("format") != FORMAT or len(sequences) != len(arrays["keys"]):
            raise UserError(
                f"{folder}: format {meta.get('format')} (this version writes {FORMAT}), "
                f"{len(sequences)} strings for {len(arrays['keys'])} keys; delete it to build it again"
            )
        with contents_of(folder, AGAIN):
            found = cls(sequences=sequences, window_names=meta["window_names"], report=meta["report"], **arrays)
            found._check()
        return found

    def _check(self) -> None:
        """Raise a ValueError where the arrays do not fit each other; sets of older versions have no checksums."""
        n_windows = len(self.window_names)
        if self.keys.dtype != np.uint8 or self.keys.shape != (self.n_unique, 16):
            raise ValueError(f"keys of {self.keys.dtype} {self.keys.shape}")
        if self.index.ndim != 4 or self.index.shape[1:3] != (2, n_windows) or self.n_chunks.shape != (n_windows,):
            raise ValueError(f"an index of {self.index.shape} for {n_windows} windows")
        if self.index.size and not -1 <= int(self.index.min()) <= int(self.index.max()) < self.n_unique:
            raise ValueError(f"an index beyond the {self.n_unique} chunks")
        digests = b"".join(hashlib.blake2b(one, digest_size=16).digest() for one in self.sequences)
        if digests != self.keys.tobytes():
            raise ValueError("sequences that do not have their keys")


def together(sets: Sequence[ChunkSet]) -> ChunkSet:
    """Strings of several sets, each once; index, windows and report are those of the first."""
    first, *others = sets
    row_of = {key.tobytes(): row for row, key in enumerate(first.keys)}
    sequences = list(first.sequences)
    for other in others:
        for key, sequence in zip(other.keys, other.sequences, strict=True):
            if row_of.setdefault(key.tobytes(), len(sequences)) == len(sequences):
                sequences.append(sequence)
    keys = np.frombuffer(b"".join(row_of), np.uint8).reshape(-1, first.keys.shape[1] if len(first.keys) else 16)
    return replace(first, keys=keys.copy(), sequences=sequences)
