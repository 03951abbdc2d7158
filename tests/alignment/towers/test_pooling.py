"""Laws of pooling: the order of a set, what a mask hides and which copy comes first carry no meaning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genebrain.alignment.towers.pooling import DiploidPooling, Mean, build, check_items, is_trainable
from genebrain.alignment.towers.registry import DIPLOID_KINDS, POOLINGS
from genebrain.common.types import UserError
from genebrain.sides.pooling import GenePooling

HIDDEN, ITEMS = 4, 5
SETS = sorted(set(POOLINGS) - {"last", "flatten"})
SYMMETRIC = sorted(set(DIPLOID_KINDS) - {"concat"})
SEEDS = st.integers(0, 10**6)
laws = settings(max_examples=15, deadline=None, derandomize=True)


def sets(seed: int, items: int = ITEMS) -> tuple[Tensor, Tensor]:
    """Two by three sets with at least one item each."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, items, HIDDEN, dtype=torch.float64, generator=generator)
    mask = torch.rand(2, 3, items, generator=generator) < 0.6
    mask[..., int(torch.randint(items, (1,), generator=generator))] = True
    return x, mask


def pooling(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name, HIDDEN, ITEMS).double()


@pytest.mark.parametrize("name", SETS)
@laws
@given(SEEDS)
def test_order_carries_no_meaning(name, seed):
    x, mask = sets(seed)
    order = torch.randperm(ITEMS, generator=torch.Generator().manual_seed(seed))
    pool = pooling(name)
    torch.testing.assert_close(pool(x[..., order, :], mask[..., order]), pool(x, mask), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(POOLINGS))
@pytest.mark.parametrize("content", [1e6, float("nan"), float("inf")])
@laws
@given(SEEDS)
def test_masked_content_never_matters(name, content, seed):
    x, mask = sets(seed)
    pool = pooling(name)
    results = []
    for filled in (x, x.masked_fill(~mask[..., None], content)):
        filled = filled.clone().requires_grad_()
        out = pool(filled, mask)
        results.append((out, torch.autograd.grad(out.square().sum(), (filled, *pool.parameters()))))
    (out, gradients), (other, other_gradients) = results
    assert torch.equal(out, other)
    assert all(map(torch.equal, gradients, other_gradients))
    assert gradients[0][~mask].abs().max() == 0 if (~mask).any() else True
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("name", sorted(set(POOLINGS) - {"flatten"}))
def test_absent_items_may_as_well_be_left_out(name):
    x, _ = sets(0)
    mask = torch.zeros(2, 3, ITEMS, dtype=torch.bool)
    mask[..., 1:4] = True
    pool = pooling(name)
    torch.testing.assert_close(pool(x, mask), pool(x[..., 1:4, :], mask[..., 1:4]))


@pytest.mark.parametrize("name", sorted(POOLINGS))
def test_gradient_and_shape(name):
    x, mask = sets(3)
    pool = pooling(name)
    assert pool(x, mask).shape == (2, 3, pool.out_features)
    assert torch.autograd.gradcheck(lambda value: pool(value, mask), x.abs().add(0.1).requires_grad_())


@pytest.mark.parametrize("name", sorted(POOLINGS))
@pytest.mark.parametrize("training", [True, False])
def test_empty_set_raises_and_is_counted(name, training):
    x, mask = sets(0)
    mask[1, 2] = False
    with pytest.raises(ValueError, match=r"1 of 6 sets .*\[1, 2\]"):
        pooling(name).train(training)(x, mask)
    with pytest.raises(ValueError, match="1 of 6 sets"):
        check_items(mask)


@pytest.mark.parametrize("name", sorted(POOLINGS))
def test_where_the_check_is_left_out_an_empty_set_is_finite(name):
    # As in training on an accelerator, where reading the mask would stall the step.
    x, mask = sets(0)
    mask[1, 2] = False
    pool = pooling(name)
    blank = x.masked_fill(~mask[..., None], 0.0).requires_grad_()
    out = pool._pool(blank, mask)
    gradients = torch.autograd.grad(out.sum(), (blank, *pool.parameters()))
    assert out.isfinite().all()
    assert all(g.isfinite().all() for g in gradients)


def test_values_by_hand():
    x = torch.tensor([[1.0, -2], [3, 4], [8, 8]])
    mask = torch.tensor([True, True, False])
    assert build("mean", 2, 3)(x, mask).tolist() == [2, 1]
    assert build("max", 2, 3)(x, mask).tolist() == [3, 4]
    assert build("last", 2, 3)(x, mask).tolist() == [3, 4]
    assert build("flatten", 2, 3)(x, mask).tolist() == [1, -2, 3, 4, 0, 0]
    # Negative features count as the floor: (4^3 / 2)^(1/3).
    torch.testing.assert_close(build("gem", 2, 3)(x, mask), torch.tensor([14.0 ** (1 / 3), 32.0 ** (1 / 3)]))


def test_generalised_mean_runs_from_mean_to_maximum():
    x, mask = torch.tensor([[1.0], [2], [6]]), torch.ones(3, dtype=torch.bool)
    near_mean, near_maximum = (build("gem", 1, 3, p=p)(x, mask).item() for p in (1 + 1e-6, 200.0))
    assert near_mean == pytest.approx(3, rel=1e-3)
    assert near_maximum == pytest.approx(6, rel=1e-2)


@pytest.mark.parametrize("name", ["attention", "gated_attention"])
def test_attention_weights_sum_to_one_over_what_exists(name):
    x, mask = sets(1)
    weights = pooling(name).weights(x, mask)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, dtype=torch.float64))
    assert weights[~mask].abs().sum() == 0


def test_half_precision_is_pooled_in_float32():
    x, mask = torch.full((1, 1000, 2), 300.0, dtype=torch.float16), torch.ones(1, 1000, dtype=torch.bool)
    out = build("mean", 2, 1000)(x, mask)
    assert out.dtype == torch.float32
    assert out.tolist() == [[300, 300]]


@pytest.mark.parametrize("kind", SYMMETRIC)
@laws
@given(SEEDS)
def test_which_copy_comes_first_carries_no_meaning(kind, seed):
    x, mask = sets(seed, items=2)
    pool = DiploidPooling(kind, HIDDEN)
    assert torch.equal(pool(x.flip(-2), mask.flip(-1)), pool(x, mask))


def test_diploid_values_by_hand():
    x, both = torch.tensor([[1.0, -2], [3, 4]]), torch.tensor([True, True])
    expected = {
        "mean": [2, 1],
        "sum": [4, 2],
        "max": [3, 4],
        "concat": [1, -2, 3, 4],
        "mean_absdiff": [2, 1, 2, 6],
    }
    haploid = {
        "mean": [3, 4],
        "sum": [3, 4],
        "max": [3, 4],
        "concat": [0, 0, 3, 4],
        "mean_absdiff": [3, 4, 0, 0],
    }
    for kind in DIPLOID_KINDS:
        pool = DiploidPooling(kind, 2)
        assert pool(x, both).tolist() == expected[kind]
        assert pool(x, torch.tensor([False, True])).tolist() == haploid[kind]
        assert pool.out_features == len(expected[kind])


def test_mean_and_difference_keep_all_that_is_symmetric():
    # From the two the pair can be restored up to its order.
    x, both = torch.tensor([[1.0, -2], [3, 4]]), torch.tensor([True, True])
    mean, difference = DiploidPooling("mean_absdiff", 2)(x, both).split(2)
    assert (mean - difference / 2).tolist() == [1, -2]
    assert (mean + difference / 2).tolist() == [3, 4]


def test_wrong_input():
    x, mask = sets(0)
    with pytest.raises(ValueError, match=r"bool mask.*float64"):
        pooling("mean")(x, mask.double())
    with pytest.raises(ValueError, match=r"\[2, 3, 5, 4\]"):
        pooling("mean")(x, mask[..., :-1])
    with pytest.raises(ValueError, match="built for 5 items, got 4"):
        pooling("flatten")(x[..., :4, :], torch.ones(2, 3, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="2 haplotypes, got 5"):
        DiploidPooling("mean", HIDDEN)(x, torch.ones_like(mask))
    with pytest.raises(UserError, match=r"no pooling 'cls' \(known: mean, max"):
        build("cls", HIDDEN, ITEMS)
    with pytest.raises(ValueError, match="'xor' is unknown"):
        DiploidPooling("xor", HIDDEN)
    with pytest.raises(ValueError, match="p=1"):
        build("gem", HIDDEN, ITEMS, p=1.0)
    with pytest.raises(ValueError, match="hidden must be at least 1"):
        build("mean", 0, ITEMS)


@pytest.mark.parametrize("name", sorted(POOLINGS))
def test_whether_a_pooling_is_trained_is_asked_of_the_pooling(name):
    assert is_trainable(name) == (name in {"attention", "gated_attention", "gem"})


def test_a_pooling_with_weights_is_never_used_untrained():
    """Entered under a name and nothing else: it must not pool frozen features with random weights."""

    @POOLINGS.register("weighted_for_a_test")
    class Weighted(Mean):
        def __init__(self, hidden: int) -> None:
            super().__init__(hidden)
            self.weight = torch.nn.Parameter(torch.randn(hidden))

    try:
        pooled = GenePooling(chunk="weighted_for_a_test")
        assert pooled.trainable
        with pytest.raises(ValueError, match="trainable weights"):
            pooled.blocks(np.zeros((1, 2), np.float32), np.zeros((1, 2, 1, 1), np.int32), np.ones(1, np.int64))
    finally:
        POOLINGS.remove("weighted_for_a_test")
