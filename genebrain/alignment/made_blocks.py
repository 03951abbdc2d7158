"""Blocks of gene features that are made when they are asked for, one window at a time.

The pooled vectors of a biobank are twenty times larger than the numbers of the chunks that they are made of. What goes
through windows one after the other needs one of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from genebrain.common.types import BoolArray, FloatArray, IntArray

LARGEST_TABLE = 2**20
"""Pairs of rows that are counted in a table; more are sorted."""


@dataclass(frozen=True)
class PairSums:
    """A block whose items are sums of two rows of a table, most of which many people share.

    Attributes
    ----------
    table : float array [rows, width]
    picked : int array [people, 2, items]
        Rows of the table; -1: nothing. Who has nothing at all has no values.
    """

    table: FloatArray
    picked: IntArray

    @property
    def shape(self) -> tuple[int, int]:
        """People, and numbers of each."""
        return len(self.picked), self.picked.shape[2] * self.table.shape[1]

    @property
    def lacking(self) -> BoolArray:
        """Who has no values."""
        return np.asarray((self.picked < 0).all(axis=(1, 2)))

    def items(self, people: IntArray | slice = slice(None)) -> Iterator[tuple[FloatArray, IntArray]]:
        """Of every item: its distinct values among these people ``[distinct, width]``, and who has which."""
        for pair in np.ascontiguousarray(self.picked[people].T):  # [2, people] of each item
            distinct, which = _distinct_pairs(pair.max(axis=0), pair.min(axis=0))
            upper, lower = (np.where(one[:, None] < 0, np.float32(0), self.table[one]) for one in distinct)
            yield upper + lower, which


def _distinct_pairs(upper: IntArray, lower: IntArray) -> tuple[tuple[IntArray, IntArray], IntArray]:
    """Distinct pairs of numbers from -1 on, upper and lower, and the pair of everybody."""
    least = np.where(lower >= 0, lower, upper)
    first = int(least.min(initial=np.iinfo(least.dtype).max, where=least >= 0))
    base = max(int(upper.max(initial=-1)) - first, 0) + 2
    one, two = (np.where(x < 0, 0, x.astype(np.int64) - first + 1) for x in (upper, lower))
    codes = one * base + two
    if base**2 <= LARGEST_TABLE:
        seen = np.zeros(base**2, bool)
        seen[codes] = True
        distinct = np.flatnonzero(seen)
        number = np.zeros(base**2, np.int32)
        number[distinct] = np.arange(len(distinct))
        which = number[codes]
    else:
        distinct, which = np.unique(codes, return_inverse=True)
    found = tuple(np.where(x == 0, -1, x - 1 + first) for x in np.divmod(distinct, base))
    return (found[0], found[1]), which


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
    sums : function, optional
        As ``make``, of blocks that are :class:`PairSums`.
    """

    def __init__(
        self,
        make: Callable[[int, IntArray | None], FloatArray],
        people: int,
        widths: Sequence[int],
        lacking: BoolArray | None = None,
        sums: Callable[[int, IntArray | None], PairSums] | None = None,
    ) -> None:
        self._make, self.people, self.widths, self.lacking, self._sums = make, people, list(widths), lacking, sums

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

    def sums(self) -> Iterator[PairSums] | None:
        """Block after block as what it is the sum of; None where blocks are no sums of pairs."""
        return None if self._sums is None else (self._sums(number, None) for number in range(len(self)))

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

        def sums(number: int, some: IntArray | None) -> PairSums:
            return self._sums(number, rows if some is None else rows[some])  # type: ignore[misc]  # asked for below

        lacking = None if self.lacking is None else self.lacking[rows]
        return MadeBlocks(make, len(rows), self.widths, lacking, None if self._sums is None else sums)


def in_sums(blocks: Sequence[FloatArray], item_width: int | None) -> Iterable[FloatArray | PairSums]:
    """Blocks as the sums that they are where their items are taken one by one, or as they are."""
    found = blocks.sums() if isinstance(blocks, MadeBlocks) and item_width else None
    return blocks if found is None else found


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
