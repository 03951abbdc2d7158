"""Long sequences cut into the chunks that the encoder reads, kept on disk instead of in memory.

A stream of sequences -> chunk strings with keys, and who has which. Without overlap the joined chunks of a sequence
are the sequence; the short chunk lies on the side where the length rule pads or trims, and is kept; chunks made of N
alone are left out and marked, never read.

Differences to the published code, which drops what follows the last whole chunk: kept here unless ``parity``.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.model.options import CHUNK_BP
from genebrain.genetics.model.tokenizer import FrameRule, K
from genebrain.genetics.store.table_files import KEY_BYTES


@dataclass(frozen=True)
class Cutting:
    """Where sequences are cut.

    Attributes
    ----------
    chunk_bp : int
        Letters per chunk, a multiple of six.
    overlap_bp : int
        Letters that a chunk shares with the next, a multiple of six, so that both read the same 6-mers.
    rule : str
        Length rule (see ``SixMerTokenizer.frame``) of the short chunk: the last one under ``*_right``, the first
        one under ``*_left``. Under ``trim_*`` one of fewer than six letters holds no token and is left out.
    parity : bool
        Cut from the left and drop what follows the last whole chunk, as the published code does; a sequence shorter
        than a chunk, an error there, is one chunk.
    """

    chunk_bp: int = CHUNK_BP
    overlap_bp: int = 0
    rule: FrameRule = "pad_right"
    parity: bool = False

    def __post_init__(self) -> None:
        if self.chunk_bp < K or self.chunk_bp % K or self.overlap_bp % K or not 0 <= self.overlap_bp < self.chunk_bp:
            raise UserError(
                f"chunk_bp={self.chunk_bp}, overlap_bp={self.overlap_bp}: both must be multiples of {K} (letters of a "
                f"token), chunk_bp at least {K} and overlap_bp smaller than chunk_bp"
            )

    def cuts(self, length: int) -> list[tuple[int, int]]:
        """Start and end of every chunk of a sequence of this many letters, in its direction."""
        stride, beyond = self.chunk_bp - self.overlap_bp, max(0, length - self.chunk_bp)
        starts = [i * stride for i in range(1 + (beyond // stride if self.parity else -(-beyond // stride)))]
        pieces = [(start, min(start + self.chunk_bp, length)) for start in starts]
        if self.rule.startswith("trim") and pieces[-1][1] - pieces[-1][0] < K:
            pieces.pop()
        if self.rule.endswith("left") and not self.parity:
            pieces = [(length - end, length - start) for start, end in reversed(pieces)]
        return pieces


class SpooledChunks(Sequence[bytes]):
    """Chunk strings in an unnamed file that ends with the process; memory is some bytes a chunk.

    Parameters
    ----------
    folder : path
        Where there is room for the letters.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as the object)
        self._ends = array("q", [0])
        self._keys = bytearray()

    def append(self, letters: bytes) -> int:
        """Keep one chunk; returns its row."""
        self._file.write(letters)
        self._ends.append(self._ends[-1] + len(letters))
        self._keys += hashlib.blake2b(letters, digest_size=KEY_BYTES).digest()
        return len(self) - 1

    def keys(self) -> NDArray[np.uint8]:
        """Keys of the strings, uint8 ``[chunks, 16]``; from now on strings can be read."""
        self._file.flush()
        return np.frombuffer(bytes(self._keys), np.uint8).reshape(-1, KEY_BYTES)

    def close(self) -> None:
        """Give the room on disk back."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, row: int) -> bytes: ...
    @overload
    def __getitem__(self, row: slice) -> list[bytes]: ...
    def __getitem__(self, row: int | slice) -> bytes | list[bytes]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        start, end = self._ends[row], self._ends[row + 1]
        return os.pread(self._file.fileno(), end - start, start)


class SequenceChunks:
    """Chunks of many sequences, in their order.

    Attributes
    ----------
    spool : SpooledChunks
        The chunks that are read, those of N alone left out.
    per_sequence : int64 [sequences]
        Chunks of each sequence, those of N alone included.
    row : int64 [all chunks]
        Row in ``spool``, -1 for a chunk of N alone; sequence after sequence.
    n_letters : int64 [all chunks]
    dropped_letters : int
        Letters behind the last chunk (``parity``, ``trim_*``).
    """

    def __init__(self, cutting: Cutting, folder: Path) -> None:
        self.cutting = cutting
        self.spool = SpooledChunks(folder)
        self.dropped_letters = 0
        self._per_sequence, self._row, self._letters = array("q"), array("q"), array("q")

    def add(self, sequence: str) -> int:
        """Cut one sequence of upper-case letters; returns its number of chunks."""
        letters = sequence.encode("ascii")
        cuts = self.cutting.cuts(len(letters))
        for start, end in cuts:
            chunk = letters[start:end]
            self._row.append(-1 if chunk.count(b"N") == len(chunk) else self.spool.append(chunk))
            self._letters.append(len(chunk))
        self._per_sequence.append(len(cuts))
        covered = cuts[-1][1] - cuts[0][0]
        self.dropped_letters += len(letters) - covered
        return len(cuts)

    @property
    def per_sequence(self) -> NDArray[np.int64]:
        """Chunks of each sequence."""
        return np.array(self._per_sequence, np.int64)

    @property
    def row(self) -> NDArray[np.int64]:
        """Row in ``spool`` of each chunk, or -1."""
        return np.array(self._row, np.int64)

    @property
    def n_letters(self) -> NDArray[np.int64]:
        """Letters of each chunk."""
        return np.array(self._letters, np.int64)
