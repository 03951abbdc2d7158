"""Blocks of gene features that are made when they are asked for, one window at a time.

The pooled vectors of a biobank are twenty times larger than the numbers of the chunks that they are made of. What goes
through windows one after the other needs one of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np

from genebrain.common.types import BoolArray, FloatArray, IntArray


class MadeBlocks(Sequence[FloatArray]):
    """A sequence of blocks ``[people, width]``, none of which is kept.

    Parameters
    ----------
    make : function
        Number of a window, and rows of people or None for everybody -> the block of these people.
    people : int
    widths : sequence of int
        Width of each block.
    lacking : bool array, optional
        ``[people, windows]``, whose block has no values; None: to be seen in the blocks.
    """

    def __init__(
        self,
        make: Callable[[int, IntArray | None], FloatArray],
        people: int,
        widths: Sequence[int],
        lacking: BoolArray | None = None,
    ) -> None:
        self._make, self.people, self.widths, self.lacking = make, people, list(widths), lacking

    def __len__(self) -> int:
        return len(self.widths)

    @overload
    def __getitem__(self, number: int) -> FloatArray: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[FloatArray]: ...
    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        return self._make(number % len(self), None)

    def mapped(self, change: Callable[[FloatArray], FloatArray]) -> MadeBlocks:
        """Changed blocks of the same shapes; a change sees everybody."""

        def make(number: int, rows: IntArray | None) -> FloatArray:
            block = change(self[number])
            return block if rows is None else block[rows]

        return MadeBlocks(make, self.people, self.widths)

    def rows(self, rows: IntArray) -> MadeBlocks:
        """Of some people only: no block of the others is made."""

        def make(number: int, some: IntArray | None) -> FloatArray:
            return self._make(number, rows if some is None else rows[some])

        return MadeBlocks(make, len(rows), self.widths, None if self.lacking is None else self.lacking[rows])


def widths(blocks: Sequence[FloatArray]) -> list[int]:
    """Width of every block, made or not."""
    return blocks.widths if isinstance(blocks, MadeBlocks) else [block.shape[1] for block in blocks]


def lacking(blocks: Sequence[FloatArray]) -> BoolArray:
    """Who lacks which window, ``[people, windows]``."""
    if isinstance(blocks, MadeBlocks) and blocks.lacking is not None:
        return blocks.lacking
    return np.stack([np.isnan(block).any(axis=1) for block in blocks], axis=1)


def people(blocks: Sequence[FloatArray]) -> list[int]:
    """People of every block; of made ones they are equally many."""
    return [blocks.people] * len(blocks) if isinstance(blocks, MadeBlocks) else [len(block) for block in blocks]


def mapped(blocks: Sequence[FloatArray], change: Callable[[FloatArray], FloatArray]) -> Sequence[FloatArray]:
    """Changed blocks of the same shapes."""
    return blocks.mapped(change) if isinstance(blocks, MadeBlocks) else [change(block) for block in blocks]


def rows_of(blocks: Sequence[FloatArray], rows: IntArray) -> Sequence[FloatArray]:
    """Blocks of some people only."""
    return blocks.rows(rows) if isinstance(blocks, MadeBlocks) else [block[rows] for block in blocks]
