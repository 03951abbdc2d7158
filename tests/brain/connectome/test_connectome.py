"""Laws of the connectome features: exact moments, invariances, training rows only."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import logm, sqrtm

from genebrain.brain.connectome.features import (
    FEATURES,
    Correlation,
    InnovationTangent,
    Lag0Tangent,
    PartialCorrelation,
    innovation_covariance,
    scan_moments,
    subject_moments,
)
from genebrain.brain.connectome.moments import Moments, stack_moments
from genebrain.common.types import UserError


def autoregressive(n: int = 30, frames: int = 150, parcels: int = 8, seed: int = 0) -> list[np.ndarray]:
    """Series [frames, parcels] of subjects whose innovation covariances differ."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(parcels, parcels))
    scans = []
    for _ in range(n):
        own = mixing * np.exp(0.3 * rng.normal(size=parcels))
        y = np.zeros((frames + 20, parcels))
        for t in range(1, frames + 20):
            y[t] = 0.6 * y[t - 1] + own @ rng.normal(size=parcels)
        scans.append(100 + 7 * y[20:])
    return scans


@pytest.fixture(scope="module")
def scans() -> list[np.ndarray]:
    return autoregressive()


@pytest.fixture(scope="module")
def moments(scans) -> Moments:
    return stack_moments((scan_moments(s) for s in scans), len(scans))


def test_lag_moments_are_the_textbook_ones(scans):
    y = scans[0] - scans[0].mean(0)
    y = y / np.sqrt(np.mean(y**2))
    (C0,), (C1,), *_ = scan_moments(scans[0])
    np.testing.assert_allclose(C0, y.T @ y / len(y), atol=1e-6)
    np.testing.assert_allclose(C1, y[1:].T @ y[:-1] / (len(y) - 1), atol=1e-6)
    assert C0.dtype == C1.dtype == np.float32
    assert np.trace(C0) / len(C0) == pytest.approx(1, abs=1e-6)


def test_innovation_covariance_equals_that_of_explicit_residuals(scans, moments):
    phi = np.random.default_rng(1).normal(size=(8, 8)) * 0.3
    got = innovation_covariance(moments.C0, moments.C1, phi, moments.edges, moments.frames)
    for row, scan in enumerate(scans):
        y = scan - scan.mean(0)
        y = y / np.sqrt(np.mean(y**2))
        residual = y[1:] - y[:-1] @ phi.T
        np.testing.assert_allclose(got[row], residual.T @ residual / len(residual), atol=2e-6)


def test_innovation_covariance_does_not_cross_a_scrubbed_gap(scans):
    kept = np.r_[0:40, 45:46, 60:150]  # one isolated frame, two gaps
    y = scans[0][kept] - scans[0][kept].mean(0)
    y = y / np.sqrt(np.mean(y**2))
    one = scan_moments(scans[0][kept], frame_numbers=kept)
    phi = np.full((8, 8), 0.1)
    follows = np.flatnonzero(np.diff(kept) == 1)
    residual = y[follows + 1] - y[follows] @ phi.T
    got = innovation_covariance(one.C0, one.C1, phi, one.edges, one.frames)[0]
    np.testing.assert_allclose(got, residual.T @ residual / len(residual), atol=2e-6)


def test_without_edges_the_innovation_covariance_is_close(moments):
    phi = np.eye(8) * 0.6
    exact = innovation_covariance(moments.C0, moments.C1, phi, moments.edges, moments.frames)
    near = innovation_covariance(moments.C0, moments.C1, phi)
    assert 0 < np.abs(near - exact).max() < 0.1
    # Right on average: the mean over subjects is much closer than single scans are.
    assert np.abs((near - exact).mean(0)).max() < 0.4 * np.abs(near - exact).max()


def test_edges_without_frames_are_refused(moments):
    with pytest.raises(ValueError, match="belong together"):
        innovation_covariance(moments.C0, moments.C1, np.eye(8), moments.edges)
    feature = InnovationTangent(4).fit(*moments)
    with pytest.raises(ValueError, match="belong together"):
        feature.transform(moments.C0, moments.C1, moments.edges)


def test_batched_tangent_equals_the_formula_one_subject_at_a_time(moments):
    a, q = 0.05, 4
    got = InnovationTangent(q, shrinkage=a).fit(*moments).transform(*moments)
    C0, C1 = moments.C0.astype(float), moments.C1.astype(float)
    V = np.linalg.eigh(C0.mean(0))[1][:, ::-1][:, :q]
    C0, C1, edges = V.T @ C0 @ V, V.T @ C1 @ V, moments.edges @ V
    ratio = (moments.frames[:, 0] / moments.frames[:, 1])[:, None, None]
    past = C0 * ratio - np.swapaxes(edges[:, 1], 1, 2) @ edges[:, 1]
    phi = C1.mean(0) @ np.linalg.inv(past.mean(0))
    E = innovation_covariance(C0, C1, phi, edges, moments.frames)
    W = np.linalg.inv(np.real(sqrtm(E.mean(0))))
    rows, columns = np.triu_indices(q)
    expected = []
    for one in E:
        L = np.real(logm((1 - a) * W @ one @ W + a * np.eye(q)))
        expected.append(L[rows, columns] * np.where(rows == columns, 1, np.sqrt(2)))
    # Single elements may flip sign with the sign of an eigenvector: distances between subjects may not.
    gram = np.asarray(expected) @ np.asarray(expected).T
    np.testing.assert_allclose(got @ got.T, gram, atol=2e-4 * np.abs(gram).max())
    np.testing.assert_allclose(np.abs(got), np.abs(expected), atol=2e-4)


def test_batches_do_not_change_the_numbers(moments, monkeypatch):
    whole = InnovationTangent(5).fit(*moments).transform(*moments)
    monkeypatch.setattr("genebrain.brain.connectome.base.BATCH_ENTRIES", 3 * 64)
    np.testing.assert_allclose(InnovationTangent(5).fit(*moments).transform(*moments), whole, atol=1e-5)


OF_MOMENTS = sorted(name for name, kind in FEATURES.items() if not kind.powers_needed and not kind.series_needed)


@pytest.mark.parametrize("name", OF_MOMENTS)
def test_features_do_not_see_the_unit_of_the_scanner(name, scans):
    """Every scan in its own unit, chosen at random: the same features."""
    units = np.random.default_rng(2).uniform(0.01, 100, len(scans))
    plain = stack_moments((scan_moments(s) for s in scans), len(scans))
    scaled = stack_moments((scan_moments(u * s + 3) for u, s in zip(units, scans, strict=True)), len(scans))
    feature = FEATURES[name]().fit(*plain)
    np.testing.assert_allclose(feature.transform(*scaled), feature.transform(*plain), atol=1e-4)


@pytest.mark.parametrize("name", OF_MOMENTS)
def test_fit_uses_only_the_rows_it_is_given_and_state_restores_it(name, moments):
    train = Moments(*(array[:20] for array in moments))
    feature = FEATURES[name]().fit(*train)
    before = feature.transform(*moments)
    restored = FEATURES[name].from_state(feature.state())
    np.testing.assert_array_equal(restored.transform(*moments), before)
    # A test subject's features do not depend on which other test subjects there are.
    np.testing.assert_allclose(feature.transform(*(a[25:26] for a in moments)), before[25:26], atol=1e-6)
    assert all(array.dtype != object for array in feature.state().values())


def test_the_average_training_subject_sits_at_the_origin(moments):
    average = (moments.C0.mean(0, keepdims=True), moments.C1.mean(0, keepdims=True))
    for kind in (InnovationTangent, Lag0Tangent):
        got = kind(None).fit(moments.C0, moments.C1).transform(*average)
        np.testing.assert_allclose(got, 0, atol=1e-4)


def test_correlation_and_partial_correlation_match_numpy(scans, moments):
    rows, columns = np.triu_indices(8, k=1)
    r = np.corrcoef(scans[3].T)
    got = Correlation().fit(*moments).transform(*moments)[3]
    np.testing.assert_allclose(got, np.arctanh(r[rows, columns]), atol=1e-4)
    precision = np.linalg.inv(0.8 * r + 0.2 * np.eye(8))
    partial = -precision / np.sqrt(np.outer(np.diag(precision), np.diag(precision)))
    got = PartialCorrelation(shrinkage=0.2).fit(*moments).transform(*moments)[3]
    np.testing.assert_allclose(got, np.arctanh(partial[rows, columns]), atol=1e-4)


def test_short_scans_get_stronger_shrinkage_and_are_counted(scans):
    lengths = np.full(len(scans), 150)
    lengths[:3] = 10  # fewer than 2 * 8 frames
    cut = stack_moments((scan_moments(s[:t]) for s, t in zip(scans, lengths, strict=True)), len(scans))
    feature = InnovationTangent(None).fit(*cut)
    got = feature.transform(*cut)
    assert np.isfinite(got).all()
    assert feature.report["subjects_short"] == 3
    assert np.linalg.norm(got[:3], axis=1).max() < np.linalg.norm(feature.transform(cut.C0, cut.C1)[:3], axis=1).max()


def test_missing_parcels_are_dropped_or_filled_and_counted(scans):
    valid = np.ones((len(scans), 8), bool)
    valid[:10, 2] = False  # a third of the subjects lack parcel 2: not shared
    valid[29, 5] = False  # one subject lacks parcel 5: filled from the group
    made = stack_moments((scan_moments(s, v) for s, v in zip(scans, valid, strict=True)), len(scans))
    for name in OF_MOMENTS:
        feature = FEATURES[name]().fit(*made)
        got = feature.transform(*made)
        assert feature.report["parcels_dropped"] == 1
        assert feature.report["parcels_used"] == 7
        assert feature.report["subjects_filled"] == 1
        assert np.isfinite(got).all()
    # The filled subject is nearer to its true features than to anybody else's.
    full = stack_moments((scan_moments(s, np.arange(8) != 2) for s in scans), len(scans))
    feature = InnovationTangent(None).fit(*full)
    truth, guess = feature.transform(*full), feature.transform(*made)[29]
    assert np.linalg.norm(truth - guess, axis=1).argmin() == 29


def test_a_parcel_that_is_not_finite_must_be_masked(scans):
    broken = scans[0].copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="mask them as invalid"):
        scan_moments(broken)
    (C0,), (C1,), *_ = scan_moments(broken, valid=np.arange(8) != 1)
    assert not C0[1].any()
    assert not C1[:, 1].any()


def test_two_scans_of_one_person_are_pooled_by_frames(scans):
    a, b = scan_moments(scans[0]), scan_moments(scans[0][:50])
    pooled = subject_moments([a, b])
    np.testing.assert_allclose(pooled.C0, (150 * a.C0 + 50 * b.C0) / 200, atol=1e-6)
    np.testing.assert_allclose(pooled.C1, (149 * a.C1 + 49 * b.C1) / 198, atol=1e-6)
    assert pooled.frames.tolist() == [[200, 198]]
    phi = np.eye(8) * 0.5
    own = [innovation_covariance(m.C0, m.C1, phi, m.edges, m.frames) for m in (a, b)]
    got = innovation_covariance(pooled.C0, pooled.C1, phi, pooled.edges, pooled.frames)
    np.testing.assert_allclose(got, (149 * own[0] + 49 * own[1]) / 198, atol=1e-5)


def test_wrong_sizes_are_named(moments):
    with pytest.raises(UserError, match="n_components is 9"):
        InnovationTangent(9).fit(*moments)
    feature = Correlation().fit(*moments)
    with pytest.raises(UserError, match="fitted on 8 parcels, these scans have 5"):
        feature.transform(moments.C0[:, :5, :5], moments.C1[:, :5, :5])
    with pytest.raises(ValueError, match="before transform"):
        Correlation().transform(moments.C0, moments.C1)
