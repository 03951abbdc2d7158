"""Segment attention against the roll-and-mask formulation, in value and gradient, and what a shift may not change."""

from __future__ import annotations

import pytest
import torch

from genebrain.brain.models.swift.attention import SegmentAttention, partition
from tests.brain.models.swift.published_attention import rolled

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
