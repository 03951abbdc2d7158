"""Components, rotations, folds and ridge CCA against plain linear algebra and an independent library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from sklearn.cross_decomposition import CCA

from genebrain.alignment.closed_form import spectral
from genebrain.alignment.closed_form.ridge_cca import CanonicalBasis, RidgeCCA, _leading, fit_ridge_cca
from genebrain.alignment.closed_form.spectral import (
    BlockTridiagonal,
    RidgePath,
    grouped_folds,
    principal_components,
    projected,
    varimax,
)
from genebrain.evaluation.rank_metrics import expected_recall_at_1


def pair(n: int, p: int, q: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    x = z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)) + 5.0
    return x, z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q)) - 2.0


@pytest.mark.parametrize(("n", "p"), [(50, 8), (8, 50)])
def test_components_are_those_of_the_singular_value_decomposition(n: int, p: int) -> None:
    x, _ = pair(n, p, 2)
    pc = principal_components(x)
    singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[: len(pc.variances)]
    np.testing.assert_allclose(pc.variances, singular**2 / n, rtol=1e-9)
    z = pc.scores(x)
    np.testing.assert_allclose(z.T @ z / n, np.eye(z.shape[1]), atol=1e-8)
    np.testing.assert_allclose(pc.axes.T @ pc.axes, np.eye(len(pc.variances)), atol=1e-8)
    assert len(pc.variances) == min(n - 1, p)


def test_signs_do_not_depend_on_the_solver() -> None:
    pc = principal_components(pair(40, 6, 2)[0])
    assert (pc.axes[np.abs(pc.axes).argmax(axis=0), np.arange(6)] > 0).all()


@pytest.mark.parametrize("value", [0.0, 1.0, 1e6])
def test_constant_table_has_no_components(value: float) -> None:
    pc = principal_components(np.full((20, 5), value, dtype=np.float32))
    assert pc.scores(np.full((3, 5), value)).shape == (3, 0)


def test_varimax_undoes_a_rotation_of_sparse_loadings() -> None:
    rng = np.random.default_rng(0)
    sparse = rng.normal(size=(200, 4)) * (rng.random((200, 4)) < 0.15)
    mixing = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    found = mixing @ varimax(sparse @ mixing)
    np.testing.assert_allclose(np.sort(np.abs(found), axis=0)[-1], 1.0, atol=0.02)


@pytest.mark.parametrize("shape", [(0, 3), (5, 1), (5, 3)])
def test_varimax_of_nothing_is_the_identity(shape: tuple[int, int]) -> None:
    np.testing.assert_array_equal(varimax(np.zeros(shape)), np.eye(shape[1]))


def test_folds_keep_families_whole_and_even() -> None:
    families = np.random.default_rng(0).integers(0, 60, 200)
    folds = grouped_folds(families, 5, seed=1)
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(200))
    assert sum(len(np.unique(families[rows])) for rows in folds) == len(np.unique(families))
    assert max(map(len, folds)) - min(map(len, folds)) <= 6
    assert any(
        (a.shape != b.shape or (a != b).any()) for a, b in zip(folds, grouped_folds(families, 5, 2), strict=True)
    )


def test_fewer_families_than_folds() -> None:
    assert len(grouped_folds(np.array([7, 7, 9]), 5, 0)) == 2
    with pytest.raises(ValueError, match="at least 2 families, got 1"):
        grouped_folds(np.zeros(4, dtype=int), 5, 0)


def test_without_ridge_it_is_classical_cca() -> None:
    x, f = pair(400, 6, 5)
    basis = CanonicalBasis.fit(x, f, 5)
    left, right, correlations = basis.solve(0.0, 0.0, 3)
    a = basis.gene.scores(x, whiten=False) @ left
    b = basis.brain.scores(f, whiten=False) @ right
    x_scores, y_scores = CCA(n_components=3, max_iter=5000, tol=1e-12).fit_transform(x, f)
    for d in range(3):
        ours = np.corrcoef(a[:, d], b[:, d])[0, 1]
        theirs = np.corrcoef(x_scores[:, d], y_scores[:, d])[0, 1]
        assert ours == pytest.approx(theirs, abs=1e-6)
        assert ours == pytest.approx(correlations[d], abs=1e-9)


@pytest.mark.parametrize(("n", "p"), [(60, 12), (60, 150)])
def test_ridge_solution_solves_the_regularised_eigenproblem(n: int, p: int) -> None:
    """Both in primal and in dual form: singular values of Rx^-1/2 Cxf Rf^-1/2."""
    x, f = pair(n, p, 7)
    basis = CanonicalBasis.fit(x, f, 7)
    _, _, correlations = basis.solve(0.4, 0.3, 3)
    xc, fc = x - x.mean(axis=0), f - f.mean(axis=0)
    cxx, cff = xc.T @ xc / n, fc.T @ fc / n
    sx, sf = basis.gene.variances.mean(), basis.brain.variances.mean()
    rx = 0.6 * cxx / sx + 0.4 * np.eye(p)
    rf = 0.7 * cff / sf + 0.3 * np.eye(7)
    lx, lf = np.linalg.cholesky(rx), np.linalg.cholesky(rf)
    cross = scipy.linalg.solve_triangular(lx, xc.T @ fc / n / np.sqrt(sx * sf), lower=True)
    table = scipy.linalg.solve_triangular(lf, cross.T, lower=True)
    np.testing.assert_allclose(correlations, np.linalg.svd(table, compute_uv=False)[:3], rtol=1e-6)


def recall(model: RidgeCCA, x: np.ndarray, f: np.ndarray) -> float:
    return expected_recall_at_1(model.gene_vectors(x) @ model.brain_vectors(f).T, relatives="rivals")


@pytest.fixture(scope="module")
def baseline() -> dict[str, Any]:
    x, f = pair(300, 20, 15)
    return {"x": x, "f": f, "model": fit_ridge_cca(x[:200], f[:200], np.arange(200), 0)}


def test_baseline_finds_signal_and_predicts_its_own_score(baseline: dict[str, Any]) -> None:
    value = recall(baseline["model"], baseline["x"][200:], baseline["f"][200:])
    assert value > 0.3
    assert abs(value - baseline["model"].chosen["recall@1"]) < 0.15


def test_baseline_reads_back(baseline: dict[str, Any]) -> None:
    again = RidgeCCA.from_state(baseline["model"].state())
    np.testing.assert_array_equal(again.gene_vectors(baseline["x"]), baseline["model"].gene_vectors(baseline["x"]))
    assert again.chosen == baseline["model"].chosen


def test_baseline_of_identical_genomes_is_chance(baseline: dict[str, Any]) -> None:
    flat = np.ones_like(baseline["x"])
    model = fit_ridge_cca(flat[:200], baseline["f"][:200], np.arange(200), 0)
    assert recall(model, flat[200:], baseline["f"][200:]) == pytest.approx(1 / 32)


@pytest.mark.parametrize(("n", "p"), [(50, 8), (8, 50)])
def test_components_of_some_people_at_a_time_are_those_of_all(n: int, p: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = pair(n, p, 2)[0].astype(np.float32)
    whole = principal_components(x)
    monkeypatch.setattr(spectral, "ROWS", 7)
    parts = principal_components(x)
    np.testing.assert_allclose(parts.variances, whole.variances, rtol=1e-10)
    np.testing.assert_allclose(parts.scores(x), whole.scores(x), atol=1e-8)
    np.testing.assert_allclose(projected(x, whole.axes), x.astype(np.float64) @ whole.axes, atol=1e-12)


@pytest.mark.parametrize("size", [0, 1, 3, 8, 9, 40, 41])
def test_a_reduced_table_is_the_same_table_in_another_basis(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral, "BLOCK", 4)
    monkeypatch.setattr(spectral, "STRIP", 8)
    rng = np.random.default_rng(size)
    x, values = rng.normal(size=(50, size)), rng.normal(size=(size, 3))
    x[:, :2] = 1.0  # what is already zero below a block
    table = x.T @ x
    before, reduced = table.copy(), BlockTridiagonal.of(table)
    np.testing.assert_array_equal(table, before)
    turned = reduced.turned(values)
    np.testing.assert_allclose(turned.T @ turned, values.T @ values, atol=1e-12)
    np.testing.assert_allclose(reduced.turned(turned, back=True), values, atol=1e-12)
    shifted = table + 7 * np.eye(size)
    expected = np.linalg.solve(shifted, values)
    np.testing.assert_allclose(reduced.turned(reduced.solved(turned, 7), back=True), expected, atol=1e-12)
    logs, powers = reduced.powers(turned, np.array([0.5, 7.0]))
    np.testing.assert_allclose(logs[1], np.linalg.slogdet(shifted)[1], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(powers[1], np.sum(values * expected, axis=0), rtol=1e-10)
    assert reduced.trace(7) == pytest.approx(np.trace(np.linalg.inv(shifted)), rel=1e-12)


@pytest.mark.parametrize(("precision", "error"), [(np.float64, 1e-10), (np.float32, 2e-6)])
def test_ridge_of_columns_and_of_people_is_the_solved_equation_under_any_penalty(precision: Any, error: float) -> None:
    rng = np.random.default_rng(3)
    for n, p in ((230, 150), (150, 230)):
        x, u = rng.normal(size=(n, p)), rng.normal(size=(n, 3))
        of_columns = RidgePath(BlockTridiagonal.of(x.T @ x, precision), x.T @ x, x.T @ u)
        of_people = RidgePath(BlockTridiagonal.of(x @ x.T, precision), x @ x.T, u, x)
        penalties = np.array([0.5, 40.0])
        solved = [np.linalg.solve(x.T @ x + one * np.eye(p), x.T @ u) for one in penalties]
        values = np.linalg.eigvalsh(x @ x.T)
        for path in (of_columns, of_people):
            explained, logs = path.explained(penalties)
            np.testing.assert_allclose(explained.T, [np.sum((x.T @ u) * b, axis=0) for b in solved], rtol=10 * error)
            np.testing.assert_allclose(logs, [np.log1p(values.clip(0) / one).sum() for one in penalties], rtol=error)
            assert path.used(40.0) == pytest.approx((values / (values + 40)).sum(), rel=error)
            found = path.coefficients(np.array([40.0, np.inf, 0.5]))
            expected = np.stack([solved[1][:, 0], np.zeros(p), solved[0][:, 2]], axis=1)
            np.testing.assert_allclose(found, expected, atol=1e-10)  # mended in double precision


@pytest.mark.parametrize("shape", [(5, 30), (30, 5), (12, 12)])
def test_leading_directions_are_those_of_a_singular_value_decomposition(shape):
    table = np.random.default_rng(3).normal(size=shape)
    left, values, right = _leading(table, 4)
    u, s, v = np.linalg.svd(table)
    np.testing.assert_allclose(values, s[:4])
    np.testing.assert_allclose((left * values) @ right.T, (u[:, :4] * s[:4]) @ v[:4], atol=1e-10)
