"""Sparse regression: exact where an exact answer exists, and finding what was put in."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from genebrain.alignment.closed_form.empirical_bayes import fit_entry, fit_ridge, fit_sparse
from genebrain.alignment.closed_form.regression_data import Moments

NOBODY = np.zeros(0, dtype=np.int64)


def data(n: int = 400, p: int = 30, k: int = 3, seed: int = 0, *, shared: bool = False) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    effects = np.zeros((p, k))
    if shared:
        effects[:4] = rng.normal(size=(4, k))
    else:
        for d, causal in enumerate(rng.permutation(p)[: 3 * k].reshape(k, 3)):
            effects[causal, d] = rng.choice([-0.5, 0.5], 3)
    return x, x @ effects + 0.7 * rng.normal(size=(n, k)), effects


def test_moments_of_a_subset_are_those_of_its_rows() -> None:
    x, u, _ = data()
    out = np.arange(5, 60)
    moments = Moments.of_subsets(x, u, [out, NOBODY])
    kept = np.setdiff1d(np.arange(len(x)), out)
    np.testing.assert_allclose(moments.xx[0], x[kept].T @ x[kept])
    np.testing.assert_allclose(moments.xu[0], x[kept].T @ u[kept])
    np.testing.assert_allclose(moments.uu[1], u.T @ u)
    np.testing.assert_array_equal(moments.n, [len(kept), len(x)])


def test_ridge_is_the_penalised_least_squares_of_the_best_evidence() -> None:
    x, u, _ = data(n=60, p=8, k=1)
    found = fit_ridge(Moments.of_subsets(x, u, [NOBODY])).mean[0, :, 0]
    best, answer = -np.inf, found
    for ratio in np.geomspace(1e-3, 1e4, 43) * 60:  # noise variance over slab variance
        shape = np.eye(60) + x @ x.T / ratio
        noise = float(u[:, 0] @ np.linalg.solve(shape, u[:, 0])) / 60
        evidence = multivariate_normal(np.zeros(60), noise * shape).logpdf(u[:, 0])
        if evidence > best:
            best, answer = evidence, np.linalg.solve(x.T @ x + ratio * np.eye(8), x.T @ u[:, 0])
    np.testing.assert_allclose(found, answer, rtol=1e-8)


def test_ridge_gives_up_on_pure_noise() -> None:
    rng = np.random.default_rng(2)
    posterior = fit_ridge(Moments.of_subsets(rng.normal(size=(300, 40)), rng.normal(size=(300, 6)), [NOBODY]))
    assert np.abs(posterior.mean).max() < 0.08
    assert (np.abs(posterior.mean[0]).max(axis=0) == 0).any()


def test_sparse_matches_enumeration_of_all_models() -> None:
    """Orthogonal columns: the variational posterior is exact, given the prior that was learned."""
    rng = np.random.default_rng(1)
    x = np.linalg.qr(rng.normal(size=(80, 4)))[0] * np.sqrt(80)
    u = (x @ np.array([0.6, 0.0, 0.25, 0.0]) + rng.normal(size=80))[:, None]
    moments = Moments.of_subsets(x, u, [NOBODY])
    posterior = fit_sparse(moments, fit_ridge(moments).mean, shared=False, tolerance=1e-9, max_sweeps=2000)
    inclusion = posterior.inclusion[0, :, 0]
    rate = (inclusion.sum() + 1) / 6
    included_power = posterior.mean[0, :, 0] ** 2 / np.maximum(inclusion, 1e-12)

    def log_evidence(model: tuple[int, ...], slab: float, noise: float) -> float:
        active = x[:, np.array(model, dtype=bool)]
        covariance = noise * np.eye(80) + slab * active @ active.T
        prior = sum(np.log(rate) if m else np.log1p(-rate) for m in model)
        return multivariate_normal(np.zeros(80), covariance).logpdf(u[:, 0]) + prior

    noise = posterior.predictive[0, 0] / (1 + inclusion.sum() / 80)
    slab = float((included_power * inclusion).sum() / inclusion.sum() + noise / 80)
    models = list(product([0, 1], repeat=4))
    weights = np.array([log_evidence(m, slab, noise) for m in models])
    weights = np.exp(weights - weights.max())
    expected = weights @ np.array(models) / weights.sum()
    np.testing.assert_allclose(inclusion, expected, atol=0.03)


@pytest.mark.parametrize("shared", [True, False])
def test_sparse_finds_the_support_and_beats_ridge(shared: bool) -> None:
    x, u, effects = data(shared=shared)
    moments = Moments.of_subsets(x, u, [NOBODY])
    ridge = fit_ridge(moments)
    sparse = fit_sparse(moments, ridge.mean, shared=shared)
    support = effects != 0
    assert sparse.inclusion[0][support].min() > 0.9
    assert sparse.inclusion[0][~support].mean() < 0.1
    assert np.sum((sparse.mean[0] - effects) ** 2) < 0.7 * np.sum((ridge.mean[0] - effects) ** 2)


def test_predictive_variance_holds_on_new_people() -> None:
    x, u, _ = data(n=1400)
    moments = Moments.of_subsets(x[:400], u[:400], [NOBODY])
    ridge = fit_ridge(moments)
    for posterior in (ridge, fit_sparse(moments, ridge.mean, shared=False)):
        error = np.mean((u[400:] - x[400:] @ posterior.mean[0]) ** 2, axis=0)
        np.testing.assert_allclose(error, posterior.predictive[0], rtol=0.15)


def test_entry_finds_the_rotation_in_which_effects_are_sparse() -> None:
    x, u, effects = data(n=800, k=4, seed=3)
    mixing = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    moments = Moments.of_subsets(x, u @ mixing, [NOBODY])
    row = fit_sparse(moments, fit_ridge(moments).mean, shared=True)
    entry = fit_entry(moments, row)
    np.testing.assert_allclose(entry.rotation[0].T @ entry.rotation[0], np.eye(4), atol=1e-10)
    match = np.abs(mixing @ entry.rotation[0])
    np.testing.assert_allclose(match.max(axis=0), 1.0, atol=0.03)
    back = entry.mean[0] @ entry.rotation[0].T @ mixing.T
    assert np.sum((back - effects) ** 2) < np.sum((row.mean[0] @ mixing.T - effects) ** 2)


def test_fits_of_a_batch_do_not_touch_each_other() -> None:
    x, u, _ = data()
    folds = [np.arange(80), NOBODY]
    both = Moments.of_subsets(x, u, folds)
    together = fit_sparse(both, fit_ridge(both).mean, shared=False, tolerance=1e-8, max_sweeps=500)
    for f, left_out in enumerate(folds):
        one = Moments.of_subsets(x, u, [left_out])
        alone = fit_sparse(one, fit_ridge(one).mean, shared=False, tolerance=1e-8, max_sweeps=500)
        np.testing.assert_allclose(together.mean[f], alone.mean[0], atol=1e-4)


def test_duplicate_columns_and_more_columns_than_people_stay_finite() -> None:
    x, u, _ = data(n=30, p=50)
    x[:, 1] = x[:, 0]
    x[:, 2] = 0.0
    moments = Moments.of_subsets(x, u, [NOBODY])
    row = fit_sparse(moments, fit_ridge(moments).mean, shared=True)
    entry = fit_entry(moments, row)
    assert np.isfinite(entry.mean).all()
    assert (entry.predictive > 0).all()
    np.testing.assert_allclose(entry.mean[0, 2], 0.0, atol=1e-12)
