"""Intervals hold the truth about as often as they say, also for rare events and relatives."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.evaluation.intervals import FamilyBootstrap, interval, median_of, rate_interval


def test_bootstrap_of_singletons_has_the_textbook_standard_error():
    values = np.random.default_rng(0).standard_normal((1, 200))
    bootstrap = FamilyBootstrap(np.arange(200))
    mean, draws = bootstrap.means(bootstrap.sums(values))
    assert mean[0] == pytest.approx(values.mean())
    assert draws.std() == pytest.approx(values.std() / np.sqrt(200), rel=0.08)
    low, high = interval(draws[:, 0])
    assert low < mean[0] < high


def test_mean_weighs_subjects_not_families():
    bootstrap = FamilyBootstrap(np.array([7, 7, 7, 2]), n_resamples=10)
    assert bootstrap.n_families == 2
    assert bootstrap.means(bootstrap.sums(np.array([[1.0, 1, 1, 0]])))[0][0] == 0.75


@pytest.mark.parametrize(("rate", "family_size"), [(0.02, 1), (0.5, 1), (0.97, 1), (0.3, 3)])
def test_rates_are_covered(rate: float, family_size: int):
    rng = np.random.default_rng(1)
    families = np.repeat(np.arange(120 // family_size), family_size)
    held = 0
    for seed in range(200):
        hits = (rng.random(families.max() + 1) < rate)[families][None].astype(float)  # relatives agree
        bootstrap = FamilyBootstrap(families, 200, seed)
        value, draws = bootstrap.means(bootstrap.sums(hits))
        low, high = rate_interval(value, draws, bootstrap.n_subjects, bootstrap.n_families)
        held += low[0] <= rate <= high[0]
    assert held / 200 >= 0.90


def test_nobody_missing_is_not_certainty():
    ones = np.ones((10, 1))
    low, high = rate_interval(np.ones(1), ones, n_subjects=60, n_families=20)
    assert high[0] == pytest.approx(1.0)
    assert low[0] == pytest.approx(20 / (20 + 1.96**2), abs=1e-3)  # Wilson with 20 of 20
    low, high = rate_interval(np.zeros(1), 0 * ones, n_subjects=60, n_families=20)
    assert low[0] == pytest.approx(0.0)
    assert high[0] == pytest.approx(1.96**2 / (20 + 1.96**2), abs=1e-3)


def test_median_between_two_places():
    places = np.arange(1, 5)
    cdf = np.array([[0.25, 0.5, 0.75, 1.0], [0.1, 0.6, 0.9, 1.0]])
    assert median_of(cdf, places).tolist() == [2.5, 2.0]
