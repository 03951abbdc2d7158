from __future__ import annotations

import numpy as np
import pytest

from genebrain.evaluation.ceiling import bayes_ceiling, oracle_pair_vectors

# k, r2, recall@1 and recall@5 in a gallery of 64, median rank, recall@1 in a gallery of 256 (20,000 draws)
TABLE = [
    (4, 0.81, 0.555, 0.915, 1, 0.320),
    (8, 0.40, 0.357, 0.712, 2, 0.189),
    (8, 0.60, 0.629, 0.920, 1, 0.418),
    (16, 0.24, 0.403, 0.741, 2, 0.230),
    (16, 0.48, 0.814, 0.975, 1, 0.657),
    (32, 0.24, 0.726, 0.941, 1, 0.552),
    (64, 0.12, 0.690, 0.922, 1, 0.515),
]


@pytest.mark.parametrize(("k", "r2", "first", "fifth", "median", "first_of_256"), TABLE)
def test_published_table(k: int, r2: float, first: float, fifth: float, median: int, first_of_256: float) -> None:
    small, large = bayes_ceiling(k, r2, 64, 30_000), bayes_ceiling(k, r2, 256, 30_000)
    assert small["recall@1"] == pytest.approx(first, abs=0.01)
    assert small["recall@5"] == pytest.approx(fifth, abs=0.01)
    assert small["median_rank"] == median
    assert large["recall@1"] == pytest.approx(first_of_256, abs=0.012)
    assert small["matched_auc"] > 0.9


def test_no_signal_is_chance() -> None:
    answer = bayes_ceiling(8, 0.0, 64)
    assert answer == {
        "recall@1": 1 / 64, "recall@5": 5 / 64, "recall@10": 10 / 64, "median_rank": 32.5, "matched_auc": 0.5,
    }  # fmt: skip


def test_mislabelled_people_rank_by_chance() -> None:
    clean, mixed = bayes_ceiling(8, 0.6, 64, 5_000), bayes_ceiling(8, 0.6, 64, 5_000, mislabelled=0.25)
    assert mixed["recall@1"] == pytest.approx(0.75 * clean["recall@1"] + 0.25 / 64)
    assert bayes_ceiling(8, 0.6, 64, mislabelled=1.0) == bayes_ceiling(8, 0.0, 64)


def test_small_gallery_recall_is_bounded() -> None:
    assert bayes_ceiling(8, 0.6, 8, 2_000)["recall@10"] == 1.0


def test_oracle_vectors_score_the_log_likelihood_ratio() -> None:
    rng = np.random.default_rng(1)
    g, u, r2 = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), 0.4
    gene, brain = oracle_pair_vectors(g, u, r2)
    cross, squares = g @ u.T, (g**2).sum(1)[:, None] + (u**2).sum(1)
    wanted = -1.5 * np.log(1 - r2) + (np.sqrt(r2) * cross - r2 * squares / 2) / (1 - r2)
    np.testing.assert_allclose(gene @ brain.T, wanted, atol=1e-12)
    assert not np.any(np.matmul(*(part if i == 0 else part.T for i, part in enumerate(oracle_pair_vectors(g, u, 0.0)))))


def test_impossible_settings() -> None:
    for bad in [(0, 0.5, 64), (8, 1.0, 64), (8, -0.1, 64), (8, 0.5, 1)]:
        with pytest.raises(ValueError, match="need k"):
            bayes_ceiling(*bad)
    with pytest.raises(ValueError, match="one k"):
        oracle_pair_vectors(np.zeros((2, 3)), np.zeros((2, 4)), 0.5)
