"""The learner's ceiling: exact posterior, whichever side is smaller, and between chance and the true pair."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.evaluation.ceiling import oracle_pair_vectors
from genebrain.evaluation.learner import learner_vectors


def drawn(columns: int, n: int = 400, k: int = 6, r2: float = 0.6):
    rng = np.random.default_rng(columns)
    design = rng.normal(size=(n, columns)) / np.sqrt(columns)
    g = design @ rng.normal(size=(columns, k))
    u = np.sqrt(r2) * g + np.sqrt(1 - r2) * rng.normal(size=(n, k))
    return design, g, u, r2


def top(scores: np.ndarray) -> float:
    return float(np.mean(scores.argmax(axis=1) == np.arange(len(scores))))


@pytest.mark.parametrize("columns", [30, 500])
def test_scores_are_the_likelihood_ratio_of_the_exact_posterior(columns: int) -> None:
    design, _, u, r2 = drawn(columns)
    training, judged = np.arange(300), np.arange(300, 400)
    gene, brain = learner_vectors(design, u, r2, training, judged)
    x = np.sqrt(r2) * design
    covariance = np.linalg.inv(np.eye(columns) + x[:300].T @ x[:300] / (1 - r2))
    weights = covariance @ x[:300].T @ u[:300] / (1 - r2)
    for i, j in [(0, 0), (3, 7), (50, 2)]:
        person = x[300 + i]
        variance = 1 - r2 + person @ covariance @ person
        error = u[300 + j] - person @ weights
        own = -0.5 * np.sum(error**2) / variance - 0.5 * 6 * np.log(variance)
        assert gene[i] @ brain[j] == pytest.approx(own + 0.5 * np.sum(u[300 + j] ** 2), abs=1e-8)


def test_more_people_come_nearer_to_the_true_pair() -> None:
    design, g, u, r2 = drawn(200, n=900)
    judged = np.arange(700, 900)
    few, many = (top(np.matmul(*_pair(learner_vectors(design, u, r2, np.arange(n), judged)))) for n in (60, 700))
    oracle = top(np.matmul(*_pair(oracle_pair_vectors(g[judged], u[judged], r2))))
    assert 1 / 200 < few < many < oracle


def _pair(vectors):
    return vectors[0], vectors[1].T


def test_an_impossible_correlation_is_refused() -> None:
    with pytest.raises(ValueError, match="must lie in"):
        learner_vectors(np.ones((3, 2)), np.ones((3, 1)), 1.0, np.arange(2), np.array([2]))
