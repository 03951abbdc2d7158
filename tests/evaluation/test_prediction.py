"""Scores of predictions against their definitions, intervals that cover, p values that are uniform under chance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from genebrain.evaluation.prediction import Judge


def test_scores_are_those_of_their_definitions():
    rng = np.random.default_rng(0)
    truth, family = rng.normal(size=60) * 10 + 1e6, np.arange(60)
    guess = truth + rng.normal(size=60) * 10
    row = Judge(truth, family, n_permutations=200).score(guess)
    assert row["value"] == pytest.approx(np.corrcoef(truth, guess)[0, 1], abs=1e-9)
    assert row["r2"] == pytest.approx(1 - ((guess - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    assert row["ci"][0] < row["value"] < row["ci"][1]
    assert row["p"] == pytest.approx(1 / 201)
    codes = rng.integers(0, 3, 60)
    wrong = np.where(rng.random(60) < 0.4, rng.integers(0, 3, 60), codes)
    row = Judge(codes, family, 3).score(wrong)
    assert row["value"] == pytest.approx(balanced_accuracy_score(codes, wrong))
    assert row["chance"] == pytest.approx(1 / 3)


def test_chance_gives_small_p_as_rarely_as_it_says():
    rng = np.random.default_rng(1)
    p = []
    for _ in range(200):
        judge = Judge(rng.normal(size=30), np.repeat(np.arange(15), 2), n_bootstrap=2, n_permutations=99)
        p.append(judge.score(rng.normal(size=30))["p"])
    assert 0.01 < np.mean(np.array(p) <= 0.1) < 0.19


def test_a_constant_prediction_is_chance():
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 2, 40)
    assert Judge(codes, np.arange(40), 2).score(np.zeros(40, int))["value"] == 0.5
    row = Judge(rng.normal(size=40), np.arange(40)).score(np.full(40, 3.0))
    assert row["value"] == 0
    assert row["p"] == 1


def test_differences_are_paired():
    rng = np.random.default_rng(3)
    truth = rng.normal(size=80)
    good, bad = truth + rng.normal(size=80) * 0.3, rng.normal(size=80)
    judge = Judge(truth, np.arange(80))
    gap = judge.difference(good, bad)
    assert gap["ci"][0] > 0
    assert judge.difference(good, good) == {"value": 0.0, "ci": [0.0, 0.0]}
