"""The power calculator against simulation, published arithmetic and measured learning curves."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain import tasks
from genebrain.cohort.participants import load_cohort
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.types import UserError
from genebrain.evaluation.ceiling import bayes_ceiling
from genebrain.evaluation.nulls import permutation_test
from genebrain.evaluation.power import detectable_effect, expected_retrieval, learned_r2
from genebrain.evaluation.retrieval import chance, evaluate_retrieval
from tests.cohort.small_cohort import SmallCohort


def test_no_correlation_is_chance():
    expected = expected_retrieval(8, 0.0, 64)
    assert expected == pytest.approx({k: chance(64)[k] for k in expected}, rel=0.02)


@pytest.mark.parametrize(("axes", "r2"), [(4, 0.3), (16, 0.2), (16, 0.48)])
def test_expected_retrieval_equals_simulated(axes: int, r2: float):
    rng = np.random.default_rng(0)
    gene = rng.standard_normal((1500, axes))
    brain = np.sqrt(r2) * gene + np.sqrt(1 - r2) * rng.standard_normal((1500, axes))
    # the likelihood ratio as a dot product: -|u - g / r|^2 up to a term of the query
    nearest = -0.5 * np.sqrt(r2) * (brain**2).sum(axis=1, keepdims=True)
    got = evaluate_retrieval(np.column_stack([gene, np.ones(1500)]), np.column_stack([brain, nearest]), n_bootstrap=10)[
        "gene_to_brain"
    ]
    for name, value in expected_retrieval(axes, r2, 64).items():
        assert got[name]["value"] == pytest.approx(value, abs=0.03)


def test_small_and_large_correlations_meet():
    below, above = (expected_retrieval(8, r2, 64)["percentile_rank"] for r2 in (0.999e-3, 1.001e-3))
    assert below == pytest.approx(above, abs=1e-3)


@pytest.mark.parametrize(("axes", "r2", "size"), [(16, 0.48, 64), (16, 0.48, 256), (1, 0.1, 20)])
def test_agrees_with_the_ceiling_drawn_by_monte_carlo(axes: int, r2: float, size: int):
    drawn = bayes_ceiling(axes, r2, size, n_draws=20_000)
    expected = expected_retrieval(axes, r2, size)
    assert expected.pop("percentile_rank") == pytest.approx(drawn["matched_auc"], abs=0.01)
    assert expected == pytest.approx({name: drawn[name] for name in expected}, abs=0.012)


@pytest.mark.parametrize(("n_train", "measured"), [(250, 0.422), (1000, 0.714), (4000, 0.776)])
def test_learning_formula_follows_a_measured_learning_curve(n_train: int, measured: float):
    """Ridge-CCA with known brain directions: 16 axes, r^2 .48, 64 causal and 64 neutral variants."""
    expected = expected_retrieval(16, learned_r2(0.48, n_train, 128), 64)["recall@1"]
    assert expected == pytest.approx(measured, abs=0.06)


def test_detectable_percentile_is_detected_about_as_often_as_promised():
    effect = detectable_effect(n_train=1000, n_test=80, gene_columns=100, axes=8)
    r2 = effect["test_r2"]
    rng = np.random.default_rng(0)
    found = 0
    for seed in range(60):
        gene = rng.standard_normal((80, 8))
        brain = np.sqrt(r2) * gene + np.sqrt(1 - r2) * rng.standard_normal((80, 8))
        found += permutation_test(gene, brain, n=99, seed=seed)["p_free"] <= 0.05
    assert 0.65 <= found / 60 <= 0.98


def test_more_subjects_detect_less():
    effects = [
        detectable_effect(n_train=n, n_test=n // 2, gene_columns=200, gallery_size=32) for n in (100, 400, 1600, 6400)
    ]
    for name in ("percentile_rank", "recall@1", "test_r2", "true_r2"):
        values = [effect[name] for effect in effects]
        assert values == sorted(values, reverse=True), name
    for effect in effects:
        assert effect["true_r2"] > effect["test_r2"]
        assert effect["recall@1"] > 1 / 32


def test_hopeless_cohorts_are_called_so():
    effect = detectable_effect(n_train=10, n_test=10, gene_columns=100_000, gallery_size=8)
    assert effect["true_r2"] is None
    assert "No correlation suffices" in effect["sentence"]


def test_sentence_names_the_numbers():
    sentence = detectable_effect(n_train=900, n_test=400, gene_columns=128)["sentence"]
    assert "400 test subjects" in sentence
    assert "gallery of 64" in sentence
    assert "900 subjects" in sentence


def test_impossible_settings_raise():
    with pytest.raises(UserError, match="n_test 40, gallery 64"):
        detectable_effect(n_train=100, n_test=40, gene_columns=10, gallery_size=64)
    with pytest.raises(UserError, match="r2 1"):
        expected_retrieval(4, 1.0, 64)
    with pytest.raises(UserError, match="alpha=2"):
        detectable_effect(n_train=100, n_test=100, gene_columns=10, alpha=2)


def test_a_small_test_set_is_its_own_gallery():
    assert detectable_effect(n_train=80, n_test=40, gene_columns=200)["gallery_size"] == 40
    assert detectable_effect(n_train=80, n_test=400, gene_columns=200)["gallery_size"] == 64


def test_the_numbers_of_a_cohort(tmp_path, capsys):
    cohort = SmallCohort(tmp_path).write()
    split = SplitSettings().make(load_cohort(cohort), 0)
    by_cohort, by_hand = (
        tasks.power(cohort=cohort, n_columns=5),
        tasks.power(n_train=len(split.training), n_test=len(split.test), n_columns=5),
    )
    assert by_cohort == by_hand
    assert tasks.power(cohort=cohort, n_test=500, n_columns=5) != by_hand
