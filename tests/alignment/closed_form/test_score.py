"""The score as a likelihood ratio, and its calibration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from genebrain.alignment.closed_form.score import (
    MAX_SLOPE,
    Calibration,
    calibrate,
    llr_vectors,
    unit_rows,
)


def test_dot_product_is_the_log_likelihood_ratio() -> None:
    rng = np.random.default_rng(0)
    ghat, u, s = rng.normal(size=(9, 4)), rng.normal(size=(11, 4)), rng.uniform(0.2, 0.8, 4)
    calibration = Calibration(variance=1.3, slope=0.7, inflation=1.1)
    gene, _ = llr_vectors(ghat, None, s, calibration)
    _, brain = llr_vectors(None, u, s, calibration)
    together = norm.logpdf(u[None], 0.7 * ghat[:, None], np.sqrt(1.1 * s)).sum(axis=-1)
    apart = norm.logpdf(u, 0.0, np.sqrt(1.3)).sum(axis=-1)
    np.testing.assert_allclose(gene @ brain.T, together - apart, atol=1e-12)


def test_no_slope_no_ranking() -> None:
    rng = np.random.default_rng(0)
    gene, brain = llr_vectors(rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), np.ones(3), Calibration(slope=0.0))
    assert np.ptp(gene @ brain.T) == 0.0


def test_calibration_recovers_slope_and_inflation() -> None:
    rng = np.random.default_rng(1)
    ghat = rng.normal(size=(40_000, 2))
    u = 0.6 * ghat + np.sqrt(0.5) * rng.normal(size=ghat.shape)
    found = calibrate(ghat, u, np.full(ghat.shape, 0.25))
    assert found.slope == pytest.approx(0.6, abs=0.01)
    assert found.inflation == pytest.approx(2.0, abs=0.03)
    assert found.variance == pytest.approx(0.86, abs=0.02)


@pytest.mark.parametrize(("sign", "slope"), [(-1.0, 0.0), (3.0, MAX_SLOPE)])
def test_slope_is_clipped(sign: float, slope: float) -> None:
    ghat = np.random.default_rng(0).normal(size=(100, 2))
    assert calibrate(ghat, sign * ghat + 1e-3, np.ones(ghat.shape)).slope == slope


@pytest.mark.parametrize("shape", [(10, 3), (10, 0)])
def test_nothing_observed_gives_no_slope(shape: tuple[int, int]) -> None:
    assert calibrate(np.zeros(shape), np.zeros(shape), np.ones(shape)).slope == 0.0


def test_unit_rows_keep_zero_rows() -> None:
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]])


def test_zero_speaks_for_neither() -> None:
    """Against strangers a likelihood ratio is 1 on average, and its logarithm is that of the two densities."""
    rng, n, s = np.random.default_rng(5), 4000, np.array([0.3, 0.6, 0.9])
    ghat = rng.normal(size=(n, 3)) * np.sqrt(1 - s)
    u = ghat + rng.normal(size=(n, 3)) * np.sqrt(s)
    calibration = calibrate(ghat, u, np.broadcast_to(s, u.shape))
    gene, brain = llr_vectors(ghat, u, s, calibration)
    scores = gene @ brain.T
    strangers = np.exp(scores[~np.eye(n, dtype=bool)])
    assert np.mean(strangers) == pytest.approx(1, abs=0.1)
    truth = norm.logpdf(u, ghat, np.sqrt(s)).sum(axis=1) - norm.logpdf(u).sum(axis=1)
    assert np.diag(scores) == pytest.approx(truth, abs=0.35)
    assert np.mean(np.diag(scores)) == pytest.approx(truth.mean(), abs=0.02)
