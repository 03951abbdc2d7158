"""Likelihood of letters behind a context: a distribution, the chain rule, one pass for many strings."""

from __future__ import annotations

import dataclasses
from itertools import product

import numpy as np
import pytest
import torch

from genebrain.common.types import UserError
from genebrain.genetics.model.language_model import GeneratorLanguageModel, load_language_model
from genebrain.genetics.model.tokenizer import BOS, SixMerTokenizer
from genebrain.genetics.variants.likelihood import LETTERS, Question, begins_with, fill_batches, log_likelihoods

CONTEXT = b"ACGTTGCATTTACCCGGA"


@pytest.fixture(scope="module")
def model() -> GeneratorLanguageModel:
    return load_language_model(device="cpu")


def one(model: GeneratorLanguageModel, context: bytes, *strings: str) -> np.ndarray:
    return log_likelihoods(model, [Question(context, strings)], 4096)[0]


def by_hand(model: GeneratorLanguageModel, context: bytes, string: str) -> float:
    """Straight from the definition: whole tokens by teacher forcing, the last piece summed over all 6-mers."""
    tokenizer = SixMerTokenizer()
    pieces = [string[i : i + 6] for i in range(0, len(string), 6)]
    ids = [BOS, *tokenizer.encode(context.decode()), *tokenizer.encode("".join(pieces[:-1]))]
    with torch.inference_mode():
        p = model.model(torch.tensor([ids])).logits[0].double().softmax(-1)
    total = 0.0
    for number, piece in enumerate(pieces):
        row = p[len(ids) - len(pieces) + number]
        total += np.log(sum(row[i].item() for i, t in enumerate(tokenizer.id_to_token) if t.startswith(piece)))
    return total


@pytest.mark.parametrize("length", [1, 4, 6, 7, 13, 24])
def test_chain_of_six_mers_with_a_summed_last_piece(model: GeneratorLanguageModel, length: int) -> None:
    string = "TTGACCATGCAATCGGATTACCGA"[:length]
    for context in (CONTEXT, b"", b"ACGNTTACGTTT"):
        assert one(model, context, string)[0] == pytest.approx(by_hand(model, context, string), abs=1e-5)


def test_strings_of_one_length_share_one_distribution(model: GeneratorLanguageModel) -> None:
    every = ["".join(letters) for letters in product(LETTERS, repeat=2)]
    single = np.exp(one(model, CONTEXT, *LETTERS))
    double = np.exp(one(model, CONTEXT, *every))
    assert double.reshape(4, 4).sum(1) == pytest.approx(single)
    behind = np.exp(one(model, CONTEXT, "ACGTAC", *("ACGTAC" + letter for letter in LETTERS)))
    assert behind[1:].sum() < behind[0]  # the control tokens keep their share
    assert behind[1:].sum() == pytest.approx(behind[0], rel=0.2)


def test_packing_and_budget_do_not_change_the_numbers(model: GeneratorLanguageModel) -> None:
    random = np.random.default_rng(0)
    draw = lambda n: "".join(random.choice(list("ACGT"), n))  # noqa: E731
    questions = [
        Question(draw(6 * n).encode(), tuple(draw(length) for length in lengths))
        for n, lengths in ((0, (3, 14)), (9, (1, 30)), (4, (40, 6, 2)), (9, (12,)), (1, (7, 7)))
    ]
    alone = [one(model, q.context, *q.strings) for q in questions]
    for budget in (4096, 30, 1):
        packed = log_likelihoods(model, questions, budget)
        for got, want in zip(packed, alone, strict=True):
            assert got == pytest.approx(want, abs=1e-4)
    assert sorted(i for batch in fill_batches(questions, 20) for i in batch) == list(range(5))
    assert [len(batch) for batch in fill_batches(questions, 20)] == [2, 3]


def test_letters_that_no_six_mer_begins_with_are_refused(model: GeneratorLanguageModel) -> None:
    log_p = torch.zeros(1, 4128)
    for string in ("a", "N", "", "ACGTACG", "<DEL>"):
        with pytest.raises(UserError, match="no 6-mer begins with them"):
            begins_with(log_p, [string])


def test_too_long_and_not_finite_are_errors(model: GeneratorLanguageModel) -> None:
    with pytest.raises(UserError, match=r"reads 16384 tokens.*needs 16385"):
        one(model, b"ACGTAC" * 16383, "A")
    broken = dataclasses.replace(load_language_model(device="cpu", seed=1))
    broken.model.lm_head.weight[100] = torch.nan
    with pytest.raises(UserError, match=r"non-finite likelihoods for 2 of 2 .*use float32"):
        one(broken, CONTEXT, "A", "C")


def test_half_precision_weights_give_float64_numbers(model: GeneratorLanguageModel) -> None:
    half = load_language_model(device="cpu", dtype=torch.bfloat16)
    got, want = one(half, CONTEXT, "ACGTACGTT"), one(model, CONTEXT, "ACGTACGTT")
    assert got.dtype == np.float64
    assert got == pytest.approx(want, abs=0.5)
