"""Letters of the reference genome in some windows, kept in a file: genotypes can be read without the FASTA."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from genebrain.common.tensor_files import read_arrays, write_tensors
from genebrain.common.types import UserError
from genebrain.genetics.genome.contigs import canonical
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genome.reference import Reference

NAME = "letters"


def write_letters(path: Path, windows: Sequence[Window], reference: Path) -> bytes:
    """Keep the letters of these windows in a file; returns them, one window behind the other."""
    with Reference(reference) as fasta:
        fasta.check(windows)
        letters = b"".join(fasta.fetch(window) for window in windows)
    write_tensors(path, {NAME: np.frombuffer(zlib.compress(letters, 9), np.uint8).copy()})
    return letters


class KeptLetters:
    """Stands in the place of a :class:`~genebrain.genetics.genome.reference.Reference`, for the kept windows alone.

    Parameters
    ----------
    path : Path
        Written by :func:`write_letters`.
    windows : sequence of Window
        Those it was written with, in their order.

    Raises
    ------
    UserError
        The file is damaged, or belongs to other windows.
    """

    name = "the reference that the run was fitted with"

    def __init__(self, path: Path, windows: Sequence[Window]) -> None:
        self.path = Path(path)
        try:
            letters = zlib.decompress(read_arrays(self.path)[NAME].tobytes())
        except (KeyError, zlib.error) as error:
            raise UserError(f"{path} is damaged: it holds no letters of the reference") from error
        lengths = [window.end - window.start for window in windows]
        if len(letters) != sum(lengths):
            raise UserError(f"{path} holds {len(letters):,} letters, and its windows have {sum(lengths):,}")
        starts = np.cumsum([0, *lengths]).tolist()
        self._letters = {
            _place(window): letters[start : start + length]
            for window, start, length in zip(windows, starts, lengths, strict=False)
        }

    def check(self, windows: Sequence[Window]) -> None:
        """Refuse windows that are not kept."""
        if absent := [window.name for window in windows if _place(window) not in self._letters]:
            raise UserError(f"{self.path} holds no letters of {len(absent)} windows: {', '.join(absent[:5])}")

    def fetch(self, window: Window) -> bytes:
        """Upper-case plus-strand letters of a window."""
        return self._letters[_place(window)]

    def __enter__(self) -> KeptLetters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def _place(window: Window) -> tuple[str, int, int]:
    return canonical(window.contig), window.start, window.end


def open_reference(reference: str | Path | KeptLetters) -> Reference | KeptLetters:
    """A FASTA file, or letters that were kept."""
    return reference if isinstance(reference, KeptLetters) else Reference(reference)
