"""The base-pair loss against a plain one written out letter by letter, and its laws."""

from __future__ import annotations

import math

import pytest
import torch

from genebrain.genetics.model.base_pair_loss import base_pair_loss
from genebrain.genetics.model.tokenizer import OOV, PAD, SixMerTokenizer

TOKENS = SixMerTokenizer().id_to_token
VOCABULARY = len(TOKENS)
HAS = {  # [positions, letters, vocabulary]: does the token count for this letter at this position?
    parity: torch.tensor([
        [[t[p] == letter if i >= 32 else parity and letter == "A" for i, t in enumerate(TOKENS)] for letter in "ATCG"]
        for p in range(6)
    ])
    for parity in (False, True)
}  # fmt: skip


def written_out(logits: torch.Tensor, labels: torch.Tensor, parity: bool) -> torch.Tensor:
    total, count = torch.zeros(()), 0
    for row, targets in zip(logits, labels, strict=True):
        for scores, target in zip(row[:-1], targets[1:].tolist(), strict=True):
            if target in (-100, OOV, PAD):
                continue
            count += 1
            if target < 32:
                total = total - scores.log_softmax(0)[target] / 6
                continue
            probability = scores.softmax(0)
            for position, letter in enumerate(TOKENS[target]):
                hit = HAS[parity][position, "ATCG".index(letter)]
                total = total - probability[hit].sum().clamp(min=1e-8).log() / 6
    return total / count


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.tensor([[1, 32, 4127, 1397, 2], [1, 900, OOV, PAD, -100]])
    return torch.randn(2, 5, VOCABULARY) * 3, labels


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("slice_rows", [1, 2, 100])
def test_value_and_gradient_equal_the_loss_written_out(batch, parity, slice_rows):
    logits, labels = batch
    fast, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    got, want = (
        base_pair_loss(fast, labels, parity=parity, slice_rows=slice_rows).total,
        written_out(plain, labels, parity),
    )
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-6)
    got.backward()
    want.backward()
    torch.testing.assert_close(fast.grad, plain.grad, atol=1e-7, rtol=1e-5)


def test_head_inside_equals_logits_outside(batch):
    _, labels = batch
    torch.manual_seed(1)
    hidden, head = torch.randn(2, 5, 16), torch.randn(VOCABULARY, 16)
    results = []
    for inside in (True, False):
        h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        loss = base_pair_loss(h, labels, w, slice_rows=2) if inside else base_pair_loss(h @ w.T, labels)
        loss.total.backward()
        results.append((loss.total, loss.token_sum, h.grad, w.grad))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_uniform_logits_cost_the_share_of_one_base(batch):
    _, labels = batch
    loss = base_pair_loss(torch.zeros(2, 5, VOCABULARY), labels)
    assert loss.per_base.item() == pytest.approx(-math.log(1024 / VOCABULARY), abs=1e-5)
    assert (loss.base_targets.item(), loss.control_targets.item()) == (4, 1)


def test_control_tokens_are_no_letter_a():
    logits = torch.zeros(1, 2, VOCABULARY)
    logits[0, 0, 5] = 30.0  # all probability on a control token
    labels = torch.tensor([[1, 32]])  # AAAAAA
    assert base_pair_loss(logits, labels, parity=True).total.item() == pytest.approx(0, abs=1e-5)
    assert base_pair_loss(logits, labels).total.item() == pytest.approx(-math.log(1e-8), rel=1e-2)


def test_nothing_to_learn_gives_zero_not_nan():
    logits = torch.zeros(1, 3, VOCABULARY, requires_grad=True)
    loss = base_pair_loss(logits, torch.full((1, 3), -100))
    assert loss.total.item() == 0
    loss.total.backward()
    assert not logits.grad.any()


def test_wrong_shapes_and_vocabularies_are_refused():
    with pytest.raises(ValueError, match="5000"):
        base_pair_loss(torch.zeros(1, 2, 5000), torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="labels"):
        base_pair_loss(torch.zeros(1, 2, VOCABULARY), torch.zeros(2, 2, dtype=torch.long))
