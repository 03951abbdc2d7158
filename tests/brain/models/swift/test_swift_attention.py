"""Segment attention against the roll-and-mask formulation, in value and gradient, and what a shift may not change."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from genebrain.brain.models.swift.attention import SegmentAttention, partition


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


CASES = [
    ((8, 4, 4, 6), (4, 2, 4, 2), True),
    ((8, 4, 4, 6), (4, 2, 4, 2), False),
    ((7, 6, 3, 5), (3, 4, 2, 4), True),  # padded and shifted, odd windows
    ((5, 4, 2, 3), (2, 2, 3, 2), False),  # padded, unshifted
    ((2, 2, 2, 3), (4, 4, 4, 4), True),  # every window covers its axis
    ((4, 3, 2, 4), (1, 1, 2, 2), True),  # windows of one token
]


@pytest.mark.parametrize(("grid", "window", "shifted"), CASES)
def test_equals_roll_and_mask(grid, window, shifted):
    torch.manual_seed(0)
    attention = SegmentAttention(6, 2, window, shifted).double()
    x = torch.randn(2, *grid, 6, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(2, *grid, 6, dtype=torch.float64)
    results = []
    for form in (rolled, SegmentAttention.forward):
        out = form(attention, x)
        results.append([out, *torch.autograd.grad((out * cotangent).sum(), [x, *attention.parameters()])])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("grid", "window", "shifted"), CASES)
def test_pieces_cover_every_token_once(grid, window, shifted):
    pieces = partition(2, grid, window, shifted)
    assert sorted(pieces.order) == list(range(pieces.order.size))
    assert sum(count * tokens for count, tokens in pieces.shapes) == pieces.order.size
    assert (pieces.order[pieces.inverse] == range(pieces.order.size)).all()
    assert all(p >= n for n, p in zip(grid, pieces.padded, strict=True))


def test_shift_changes_the_result():
    torch.manual_seed(0)
    attention = SegmentAttention(4, 1, (2, 2, 2, 2), False)
    x = torch.randn(1, 4, 4, 4, 4, 4)
    plain = attention(x)
    attention.shifted = True
    assert not torch.allclose(plain, attention(x), atol=1e-3)


def test_training_after_inference_mode():
    """Nothing that inference mode made may be kept for a later backward pass."""
    attention = SegmentAttention(4, 1, (2, 2, 2, 2), True)
    x = torch.ones(1, 6, 4, 4, 4, 4)
    with torch.inference_mode():
        attention(x)
    attention(x).sum().backward()
    assert attention.qkv.weight.grad is not None
