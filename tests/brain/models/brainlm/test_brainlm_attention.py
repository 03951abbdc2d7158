"""Fused attention and band convolution against the matrices written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from genebrain.brain.models.brainlm.attention import (
    ConvolvedAttention,
    TokenConvolution,
    iterative_pseudo_inverse,
    segment_means,
)

EXACT = {"rtol": 0, "atol": 1e-12}


def attention(landmarks: int | None = None, taps: int = 65, per_matrix: bool = True) -> ConvolvedAttention:
    module = ConvolvedAttention(12, 3, taps, landmarks, per_matrix).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2)
    return module


def tokens(n: int, batch: int = 2, width: int = 12) -> Tensor:
    return torch.randn(batch, n, width, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


def heads(module: ConvolvedAttention, x: Tensor) -> list[Tensor]:
    parts = (module.query, module.key, module.value)
    return [part(x).unflatten(-1, (module.heads, -1)).transpose(1, 2) for part in parts]


def written_out(module: ConvolvedAttention, x: Tensor) -> Tensor:
    """The published form: all scores, softmax, conv2d over the token axis."""
    query, key, value = heads(module, x)
    scale = query.shape[-1] ** -0.25
    if module.landmarks is None:
        mixed = ((query * scale) @ (key * scale).mT).softmax(-1) @ value
    else:
        mean_query, mean_key = (y.unflatten(2, (module.landmarks, -1)).mean(3) * scale for y in (query, key))
        first = (query * scale @ mean_key.mT).softmax(-1)
        middle = iterative_pseudo_inverse((mean_query @ mean_key.mT).softmax(-1), module.per_matrix_start)
        mixed = first @ middle @ ((mean_query @ (key * scale).mT).softmax(-1) @ value)
    weight = module.conv.weight
    convolved = functional.conv2d(value, weight, padding=(weight.shape[2] // 2, 0), groups=module.heads)
    return (mixed + convolved).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("n", "taps", "landmarks"), [(1, 65, None), (7, 3, None), (128, 5, None), (300, 65, None), (64, 33, 8), (60, 7, 20)]
)
def test_values_and_gradients_are_those_of_the_matrices(n, taps, landmarks):
    module, x = attention(landmarks, taps), tokens(n).requires_grad_()
    got, expected = module(x), written_out(module, x)
    torch.testing.assert_close(got, expected, **EXACT)
    pull = tokens(n) + 1
    leaves = (x, *module.parameters())
    for a, b in zip(torch.autograd.grad(got, leaves, pull), torch.autograd.grad(expected, leaves, pull), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


class LargestResult(TorchDispatchMode):
    """Number of elements of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.elements = max([self.elements, *(x.numel() for x in tree_leaves(result) if isinstance(x, Tensor))])
        return result


@pytest.mark.parametrize("landmarks", [None, 16])
def test_no_matrix_of_tokens_by_tokens(landmarks):
    n = 1500
    module, x = attention(landmarks).float(), tokens(n, batch=1).float().requires_grad_()
    with LargestResult() as largest:
        module(x).sum().backward()
    assert largest.elements < n * n / 10
    with LargestResult() as largest:
        written_out(attention(), tokens(n, batch=1)).sum()
    assert largest.elements >= n * n


def test_the_band_reaches_over_blocks_and_stops_at_the_ends():
    conv = TokenConvolution(1, 5).double()
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, 10, 100, 1000, 10000])[None, None, :, None])
    x = torch.zeros(1, 1, 260, 1, dtype=torch.float64)
    x[0, 0, [0, 127, 259]] = 1
    out = conv(x)[0, 0, :, 0]
    assert out[:3].tolist() == [100, 10, 1]
    assert out[125:130].tolist() == [10000, 1000, 100, 10, 1]
    assert out[257:].tolist() == [10000, 1000, 100]
    assert out.count_nonzero() == 11


def test_a_filter_needs_a_middle():
    with pytest.raises(ValueError, match="64 taps"):
        TokenConvolution(2, 64)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="5 heads"):
        ConvolvedAttention(12, 5, 3, None, True)


def test_pseudo_inverse_inverts():
    x = (torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3).softmax(-1)
    x = 0.8 * torch.eye(6, dtype=torch.float64) + 0.2 * x
    torch.testing.assert_close(iterative_pseudo_inverse(x, True), torch.linalg.inv(x), rtol=0, atol=1e-8)


def test_segments_of_unequal_length_are_averaged_apart():
    x = torch.arange(7.0)[None, None, :, None].repeat(1, 2, 1, 3)
    means = segment_means(x, 3)
    # Tokens 0-2, 3-4, 5-6: segment i holds the tokens t with t * 3 // 7 == i.
    assert means[0, 1, :, 2].tolist() == [1.0, 3.5, 5.5]
    assert torch.equal(segment_means(x, 7), x)


def test_nystrom_with_as_many_landmarks_as_tokens_is_full_attention():
    x = tokens(8)
    assert torch.equal(attention(landmarks=8)(x), attention(None)(x))
    assert torch.equal(attention(landmarks=20)(x), attention(None)(x))


def test_only_the_shared_start_sees_the_batch_mates():
    """A batch mate whose landmarks agree less moves the published start, not the start per matrix."""
    x = torch.cat([tokens(61, batch=1), 40 * tokens(61, batch=1).flip(1)])
    for per_matrix, same in ((True, True), (False, False)):
        module = attention(landmarks=10, per_matrix=per_matrix)
        with torch.no_grad():
            difference = float((module(x)[:1] - module(x[:1])).abs().max())
        assert (difference < 1e-10) is same
