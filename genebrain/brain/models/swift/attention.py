"""Windowed attention over a 4D grid of tokens, without roll and without mask.

A shifted window of the published model (cyclic roll, windows, a mask between what the roll brought together) is
plain attention inside the pieces of a non-uniform partition: along each axis of length n with window w and shift s,
one segment of length s, then segments of length w, then one of length w - s. So no score is computed that the mask
would delete, and every piece is a call of the fused kernel.

:func:`partition` gives one permutation that lays pieces of equal shape side by side; attention, being the only
operation that mixes tokens, runs on consecutive rows. The pieces cover the grid *padded at its end* to whole
windows; padding tokens are zeros that take part as keys and values, as published.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genebrain.common.types import IntArray


class Partition(NamedTuple):
    """Pieces of a batch of grids.

    Attributes
    ----------
    padded
        Size of the grid after padding at the end of each axis.
    order, inverse
        int64 ``[batch x padded tokens]``: raster row of each row in piece order, and the way back.
    shapes
        (number of pieces, tokens per piece) of each run of equal pieces, in piece order.
    """

    padded: tuple[int, ...]
    order: IntArray
    inverse: IntArray
    shapes: tuple[tuple[int, int], ...]


def segments(size: int, window: int, shift: int) -> tuple[int, dict[int, list[int]]]:
    """Padded length of one axis, and the starts of its segments by their length.

    A window at least as long as the axis is the axis, unshifted.
    """
    if size <= window:
        return size, {size: [0]}
    padded = -(-size // window) * window
    if shift == 0:
        return padded, {window: list(range(0, padded, window))}
    found: dict[int, list[int]] = {window: list(range(shift, padded - window + shift, window))}
    for start, length in ((0, shift), (padded - window + shift, window - shift)):
        found.setdefault(length, []).append(start)
    return padded, found


# Arrays and not tensors are kept: a tensor first made in inference mode could not be used in training later.
@lru_cache(maxsize=64)
def partition(batch: int, grid: tuple[int, ...], window: tuple[int, ...], shifted: bool) -> Partition:
    """Partition of ``[batch, *grid]`` tokens; ``shifted`` moves the windows by half their size."""
    axes = [segments(n, w, w // 2 if shifted else 0) for n, w in zip(grid, window, strict=True)]
    padded = tuple(length for length, _ in axes)
    raster = np.arange(batch * math.prod(padded)).reshape(batch, *padded)
    runs, shapes = [], []
    for lengths in product(*(pieces for _, pieces in axes)):
        rows = [
            (np.array(pieces[n])[:, None] + np.arange(n)).ravel() for n, (_, pieces) in zip(lengths, axes, strict=True)
        ]
        block = raster[np.ix_(np.arange(batch), *rows)]
        split = block.reshape(batch, *(part for n, r in zip(lengths, rows, strict=True) for part in (len(r) // n, n)))
        ordered = split.transpose(0, *range(1, split.ndim, 2), *range(2, split.ndim, 2))
        tokens = math.prod(lengths)
        runs.append(ordered.ravel())
        shapes.append((block.size // tokens, tokens))
    order = np.concatenate(runs)
    inverse = np.empty_like(order)
    inverse[order] = np.arange(order.size)
    return Partition(padded, order, inverse, tuple(shapes))


class _Reorder(torch.autograd.Function):
    """Rows in another order; the gradient is the way back, where that of an index would be a slow addition."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return _Reorder.apply(gradient, inverse, order), None, None


class SegmentAttention(nn.Module):
    """Multi-head self-attention inside the windows of a 4D grid.

    Parameters
    ----------
    hidden, heads : int
        Width of a token, number of heads.
    window : tuple of int
        Tokens per window along x, y, z and time.
    shifted : bool
        Whether the windows are moved by half their size.
    """

    def __init__(self, hidden: int, heads: int, window: tuple[int, ...], shifted: bool) -> None:
        super().__init__()
        self.heads, self.window, self.shifted = heads, tuple(window), shifted
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.proj = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, x, y, z, frames, hidden]`` in and out."""
        batch, grid, hidden = x.shape[0], tuple(x.shape[1:-1]), x.shape[-1]
        pieces = partition(batch, grid, self.window, self.shifted)
        order, inverse = (torch.from_numpy(a).to(x.device) for a in (pieces.order, pieces.inverse))
        if pieces.padded != grid:
            behind = [p - n for n, p in zip(grid, pieces.padded, strict=True)]
            x = functional.pad(x, [0, 0, *(number for b in reversed(behind) for number in (0, b))])
        rows = _Reorder.apply(x.reshape(-1, hidden), order, inverse)
        rows = _Reorder.apply(self.proj(self._attend(rows, pieces.shapes)), inverse, order)
        return rows.view(batch, *pieces.padded, hidden)[(slice(None), *(slice(n) for n in grid))]

    def _attend(self, rows: Tensor, shapes: tuple[tuple[int, int], ...]) -> Tensor:
        mixed = []
        for run, (count, tokens) in zip(self.qkv(rows).split([c * t for c, t in shapes]), shapes, strict=True):
            query, key, value = run.view(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
            out = functional.scaled_dot_product_attention(query, key, value)
            mixed.append(out.transpose(1, 2).reshape(count * tokens, -1))
        return torch.cat(mixed) if len(mixed) > 1 else mixed[0]
