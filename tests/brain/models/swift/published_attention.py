"""The published formulation of the attention of SwiFT: pad, roll, windows under a mask, roll back."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from genebrain.brain.models.swift.attention import SegmentAttention


def windows(x: Tensor, window: list[int]) -> Tensor:
    """``[batch, x, y, z, frames, channels]`` to ``[batch x windows, tokens, channels]``."""
    for axis, size in zip((1, 3, 5, 7), window, strict=True):
        x = x.unflatten(axis, (-1, size))
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6, 8, 9).reshape(-1, torch.Size(window).numel(), x.shape[-1])


def rolled(self: SegmentAttention, x: Tensor) -> Tensor:
    """The published formulation of :class:`SegmentAttention`."""
    batch, grid, hidden = x.shape[0], x.shape[1:5], x.shape[5]
    window = [min(n, w) for n, w in zip(grid, self.window, strict=True)]
    shift = [w // 2 if self.shifted and n > w else 0 for n, w in zip(grid, self.window, strict=True)]
    padded = [-(-n // w) * w for n, w in zip(grid, window, strict=True)]
    behind = [p - n for n, p in zip(grid, padded, strict=True)]
    x = torch.nn.functional.pad(x, [0, 0, *(number for b in reversed(behind) for number in (0, b))])
    x = torch.roll(x, [-s for s in shift], (1, 2, 3, 4))
    rows = windows(x, window)
    qkv = self.qkv(rows).view(*rows.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
    scores = (qkv[0] * qkv.shape[-1] ** -0.5) @ qkv[1].mT
    if any(shift):
        region = x.new_zeros(1, *padded, 1)
        cuts = [
            [slice(0, -w), slice(-w, -s), slice(-s, None)] if s else [slice(None)]
            for w, s in zip(window, shift, strict=True)
        ]
        for number, where in enumerate(product(*cuts)):
            region[(0, *where)] = number
        label = windows(region, window)[..., 0]
        apart = (label[:, None] != label[:, :, None]).to(x.dtype) * -100
        scores = (scores.unflatten(0, (batch, -1)) + apart[None, :, None]).flatten(0, 1)
    out = self.proj((scores.softmax(dim=-1) @ qkv[2]).transpose(1, 2).reshape(rows.shape))
    out = out.view(batch, *(p // w for p, w in zip(padded, window, strict=True)), *window, hidden)
    out = out.permute(0, 1, 5, 2, 6, 3, 7, 4, 8, 9).reshape(batch, *padded, hidden)
    return torch.roll(out, shift, (1, 2, 3, 4))[:, : grid[0], : grid[1], : grid[2], : grid[3]]
