"""SigLIP against the dense formula, and its memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from genebrain.alignment.losses.siglip import SigLIP
from tests.alignment.losses.batches import random_batch


def dense(x: Tensor, y: Tensor, log_scale: Tensor, bias: Tensor, genome: Tensor, ignored: Tensor) -> Tensor:
    sign = torch.where(genome[:, None] == genome, 1.0, -1.0).double()
    losses = -functional.logsigmoid(sign * (log_scale.exp() * x @ y.T + bias))
    return losses.masked_fill(ignored, 0.0).sum() / len(x)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=14),
    st.integers(1, 16),
    st.sampled_from(["ignore", "negative"]),
    st.integers(0, 10**6),
)
def test_equals_the_dense_formula(ids, tile, relatives, seed):
    genome, family = torch.tensor(ids).T
    loss = SigLIP(relatives, tile, bias=-1.5).double()
    inputs = random_batch(len(ids), seed=seed)
    ignored = (family[:, None] == family) & (genome[:, None] != genome) & (relatives == "ignore")
    expected = dense(*inputs, loss.bias, genome, ignored)
    value = loss(*inputs, genome, family)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-10)
    leaves = (*inputs, loss.bias)
    for got, want in zip(torch.autograd.grad(value, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


def test_gradcheck():
    genome, family = torch.tensor([0, 0, 1, 2, 3]), torch.tensor([0, 0, 0, 1, 2])
    loss = SigLIP(tile=2, bias=-1.0).double()
    assert torch.autograd.gradcheck(lambda *inputs: loss(*inputs, genome, family), random_batch(5))


@pytest.mark.parametrize("tile", [16, 128])
def test_no_tile_of_scores_is_saved(tile):
    # The known trap of a chunked sigmoid loss: autograd keeps every chunk's scores, and the chunks add up.
    n, saved = 512, []
    x, y, log_scale = (t.detach().float().requires_grad_() for t in random_batch(n, d=4))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.nbytes) or t, lambda t: t):
        SigLIP(tile=tile)(x, y, log_scale, torch.arange(n), torch.arange(n)).backward()
    assert saved
    assert sum(saved) < n * n * 4 / 8


def test_without_gradient_the_value_is_the_same_and_float32_under_autocast():
    x, y, log_scale = (t.detach().float().requires_grad_() for t in random_batch(9, d=64))
    loss, ids = SigLIP(), torch.arange(9)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss(x, y, log_scale, ids, ids)
    assert cast.dtype == torch.float32
    assert cast.item() == loss(x, y, log_scale, ids, ids).item()


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="brain"):
        SigLIP()(torch.ones(3, 2), torch.ones(3, 4), torch.zeros(1), torch.arange(3), torch.arange(3))
    with pytest.raises(ValueError, match="'none' is unknown"):
        SigLIP("none")
    with pytest.raises(ValueError, match="not -1"):
        SigLIP(tile=-1)
