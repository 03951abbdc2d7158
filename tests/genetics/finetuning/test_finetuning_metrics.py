"""Metrics agree with scikit-learn, chance is a constant guess, intervals hold whole groups together."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from genebrain.genetics.finetuning.language import base_counts, composition_prediction, count_targets
from genebrain.genetics.finetuning.metrics import METRICS, constant_prediction, score, with_chance
from genebrain.genetics.model.tokenizer import BOS, EOS, SixMerTokenizer

RNG = np.random.default_rng(0)
N = 200


def test_classification_agrees_with_scikit_learn():
    target = RNG.integers(0, 3, N)
    p = RNG.dirichlet(np.ones(3), N) + 0.5 * np.eye(3)[target]
    p /= p.sum(1, keepdims=True)
    got = score("classification", torch.tensor(p), torch.tensor(target))
    chosen = p.argmax(1)
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(target, chosen), abs=1e-6)
    assert got["f1_weighted"] == pytest.approx(sk.f1_score(target, chosen, average="weighted"), abs=1e-6)
    assert got["mcc"] == pytest.approx(sk.matthews_corrcoef(target, chosen), abs=1e-6)
    assert got["auroc"] == pytest.approx(sk.roc_auc_score(target, p, multi_class="ovr"), abs=1e-6)
    assert got["loss"] == pytest.approx(sk.log_loss(target, p), abs=1e-6)


def test_several_labels_agree_with_scikit_learn():
    target = RNG.integers(0, 2, (N, 4))
    p = np.clip(RNG.random((N, 4)) + 0.3 * target, 0, 1)
    got = score("multilabel", torch.tensor(p), torch.tensor(target))
    assert got["auprc"] == pytest.approx(sk.average_precision_score(target, p, average="micro"), abs=1e-6)
    best = max(sk.f1_score(target.ravel(), (p >= t).ravel()) for t in np.unique(p))
    assert got["f1_max"] == pytest.approx(best, abs=1e-6)


def test_regression_agrees_with_scikit_learn():
    target = RNG.normal(size=(N, 2))
    guess = target + RNG.normal(size=(N, 2))
    got = score("regression", torch.tensor(guess), torch.tensor(target))
    assert got["mse"] == pytest.approx(sk.mean_squared_error(target, guess), abs=1e-6)
    assert got["mae"] == pytest.approx(sk.mean_absolute_error(target, guess), abs=1e-6)
    assert got["r2"] == pytest.approx(sk.r2_score(target, guess), abs=1e-6)
    want = np.mean([np.corrcoef(target[:, i], guess[:, i])[0, 1] for i in range(2)])
    assert got["pearson"] == pytest.approx(want, abs=1e-6)


def test_a_constant_guess_has_the_known_chance_levels():
    target = torch.tensor([0] * 60 + [1] * 40)
    constant = constant_prediction("classification", target, 100)
    got = score("classification", constant, target)
    assert (got["accuracy"], got["mcc"], got["auroc"]) == (pytest.approx(0.6), 0, 0.5)
    assert got["loss"] == pytest.approx(-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)))
    numbers = torch.tensor(RNG.normal(size=(50, 1)))
    got = score("regression", constant_prediction("regression", numbers, 50), numbers)
    assert (got["r2"], got["pearson"]) == (pytest.approx(0, abs=1e-6), 0)


def test_a_class_that_the_test_rows_lack_spoils_nothing():
    p = torch.full((6, 3), 1 / 3)
    got = score("classification", p, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert all(math.isfinite(value) for value in got.values())
    assert got["auroc"] == 0.5


def test_intervals_follow_groups_not_rows():
    target = torch.tensor(RNG.normal(size=(40, 1)))
    guess = target + torch.tensor(RNG.normal(size=(40, 1)))
    alone = with_chance("regression", guess, guess * 0, target, np.arange(40))["mse"]["ci"]
    four = [torch.cat([x] * 4) for x in (guess, guess * 0, target)]
    copied = with_chance("regression", *four, np.tile(np.arange(40), 4))["mse"]["ci"]
    naive = with_chance("regression", *four, np.arange(160))["mse"]["ci"]
    assert copied[1] - copied[0] == pytest.approx(alone[1] - alone[0], rel=1e-6)
    assert naive[1] - naive[0] < 0.7 * (alone[1] - alone[0])


def test_every_task_reports_what_it_names():
    shown = with_chance(
        "multilabel",
        torch.rand(8, 2),
        torch.rand(8, 2),
        torch.tensor([[0, 1], [1, 0]] * 4),
        np.arange(8),
        n_bootstrap=5,
    )
    assert tuple(shown) == METRICS["multilabel"]
    assert all(set(row) == {"value", "ci", "chance"} for row in shown.values())


def test_composition_of_even_bases_costs_the_entropy():
    tokenizer = SixMerTokenizer()
    rows = [np.array([BOS, *tokenizer.encode("ACGTAC" + "GTACGT" + "NNNNNN"), EOS])]
    assert count_targets(rows).tolist() == [2]
    counts = base_counts(rows)
    assert counts.tolist() == [[3, 3, 3, 3]]
    sums = composition_prediction(counts, np.full((1, 4), 1e6))
    got = score("causal_lm", sums, count_targets(rows))
    assert got["bits_per_base"] == pytest.approx(2, abs=1e-6)
    assert got["nats_per_token"] == pytest.approx(6 * math.log(4), abs=1e-5)
