"""Laws of the permutation test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from genebrain.common.types import UserError
from genebrain.evaluation.nulls import deal, mean_percentile, permutation_test
from genebrain.evaluation.retrieval import evaluate_retrieval


def planted_site(seed: int = 0, n: int = 240) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Genes and brains that share their site and nothing else."""
    rng = np.random.default_rng(seed)
    site = rng.integers(0, 4, n)
    codes = 2 * rng.standard_normal((4, 6))
    return codes[site] + rng.standard_normal((n, 6)), codes[site] + rng.standard_normal((n, 6)), site


def test_p_is_uniform_without_signal():
    rng = np.random.default_rng(0)
    p = []
    for seed in range(200):
        gene, brain = rng.standard_normal((2, 40, 4))
        strata = rng.integers(0, 2, 40)
        test = permutation_test(gene, brain, strata=strata, n=99, seed=seed)
        p.append((test["p_free"], test["p_stratified"]))
    free, stratified = np.array(p).T
    for values in (free, stratified):
        assert kstest(values, "uniform").pvalue > 0.01
        assert np.mean(values <= 0.05) <= 0.10


def test_p_is_uniform_without_signal_in_families():
    """Relatives resemble each other on both sides; dealing single subjects would be too sure."""
    rng = np.random.default_rng(1)
    families = np.repeat(np.arange(15), 3)
    by_family, by_subject = [], []
    for seed in range(200):
        gene, brain = (rng.standard_normal((15, 3))[families] + 0.3 * rng.standard_normal((45, 3)) for _ in range(2))
        by_family.append(permutation_test(gene, brain, families=families, n=99, seed=seed)["p_free"])
        by_subject.append(permutation_test(gene, brain, n=99, seed=seed)["p_free"])
    assert kstest(by_family, "uniform").pvalue > 0.01
    assert np.mean(np.array(by_subject) <= 0.05) > 0.12


def test_signal_gives_the_smallest_p():
    rng = np.random.default_rng(0)
    gene = rng.standard_normal((200, 5))
    test = permutation_test(gene, gene + rng.standard_normal((200, 5)), strata=np.arange(200) % 4, n=199)
    assert test["p_free"] == test["p_stratified"] == 1 / 200
    assert test["exchangeable_free"] == test["exchangeable_stratified"] == 1.0
    assert test["null_free"]["mean"] == pytest.approx(0.5, abs=0.01)
    assert sum(test["null_free"]["histogram"]["counts"]) == 199


def test_stratified_dealing_removes_a_site_effect_and_free_dealing_does_not():
    gene, brain, site = planted_site()
    test = permutation_test(gene, brain, strata=site, n=199)
    assert test["p_free"] == 1 / 200
    assert test["p_stratified"] > 0.05


def test_statistic_is_the_mean_percentile_rank():
    gene, brain, _ = planted_site()
    brain = np.round(brain)  # with ties
    mean = evaluate_retrieval(gene, brain)["mean"]["percentile_rank"]["value"]
    assert permutation_test(gene, brain, n=1)["statistic"] == pytest.approx(mean)


def test_collapsed_model_has_p_of_one():
    flat = np.full((30, 3), 0.1, np.float32)
    test = permutation_test(flat, flat, n=50)
    assert test["statistic"] == pytest.approx(0.5)
    assert test["p_free"] == 1.0
    assert test["p_stratified"] is None


def test_pairings_are_looked_up_as_if_the_scans_had_been_moved():
    rng = np.random.default_rng(0)
    gene, brain = rng.standard_normal((2, 30, 4))
    order = rng.permutation(30)
    moved = evaluate_retrieval(gene, brain[order], gallery_size=None)["mean"]["percentile_rank"]["value"]
    assert mean_percentile(gene, brain, order[None])[0] == pytest.approx(moved)


def test_families_move_whole_to_families_of_equal_make_up():
    family = np.array([0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 6, 6])
    stratum = np.array([0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1])
    dealt = deal(family, stratum, 300, np.random.default_rng(0))
    assert (np.sort(dealt, axis=1) == np.arange(12)).all()
    assert (stratum[dealt] == stratum).all()
    for members in ([0, 1], [2, 3], [4, 5], [9, 10, 11]):
        assert (np.ptp(family[dealt[:, members]], axis=1) == 0).all()
    assert set(family[dealt[:, 0]]) == {0, 1}  # same make-up: one member in each stratum
    assert set(dealt[:, 4]) == {4, 5}  # no equal: members may only swap
    assert set(dealt[:, 6]) == {6, 7}
    assert set(dealt[:, 8]) == {8}
    assert set(dealt[:, 11]) == {11}


def test_what_cannot_be_dealt_is_reported():
    rng = np.random.default_rng(0)
    gene = rng.standard_normal((20, 3))
    test = permutation_test(gene, gene, strata=np.arange(20), n=19)
    assert test["exchangeable_stratified"] == 0.0
    assert test["p_stratified"] == 1.0


def test_wrong_lengths_raise():
    gene = np.eye(10)
    with pytest.raises(UserError, match="strata has 3 labels for 10"):
        permutation_test(gene, gene, strata=[1, 2, 3])
    with pytest.raises(UserError, match="at least 1 permutation"):
        permutation_test(gene, gene, n=0)
