"""Both forms of the sums, blocks of columns and the plain loop give one answer; and what memory they need."""

from __future__ import annotations

import sys
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tqdm import tqdm

from genebrain.alignment.closed_form import empirical_bayes, spectral
from genebrain.alignment.closed_form import fit as closed_form
from genebrain.alignment.closed_form.choice import Judge, choose_prior, rank_latents
from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.empirical_bayes import fit_entry, fit_ridge, fit_sparse
from genebrain.alignment.closed_form.fit import ClosedFormSettings, TooManyColumnsError, fit_closed_form
from genebrain.alignment.closed_form.memory import Size, form_for
from genebrain.alignment.closed_form.regression_data import Form, Moments, PeopleRows
from genebrain.alignment.closed_form.spectral import BlockTridiagonal, grouped_folds, principal_components
from tests.alignment.closed_form import plain_regression as plain


def people(n: int, p: int, k: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    effects = np.zeros((p, k))
    for d in range(k):
        effects[rng.choice(p, 3, replace=False), d] = 0.6
    u = x @ effects + 0.4 * rng.normal(size=(n, k))
    return x, u, [*np.array_split(rng.permutation(n), 3), np.zeros(0, np.int64)]


@pytest.mark.parametrize("form", [Moments, PeopleRows])
@pytest.mark.parametrize(("n", "p"), [(120, 75), (120, 150)])
def test_blocks_of_columns_in_either_form_give_what_the_plain_loop_gives(n: int, p: int, form: Form) -> None:
    x, u, left_out = people(n, p)
    data, tables = form.of_subsets(x, u, left_out), Moments.of_subsets(x, u, left_out)
    ridge, slow_ridge = fit_ridge(data), plain.ridge(tables)
    row = fit_sparse(data, ridge.mean, shared=True)
    slow_row = plain.sparse(tables, slow_ridge.mean, shared=True)
    pairs = {"ridge": (ridge, slow_ridge), "row": (row, slow_row)}
    pairs["entry"] = fit_entry(data, row), plain.entry(tables, slow_row)
    for prior, (fast, slow) in pairs.items():
        assert np.abs(slow.mean).max() > 0.3
        for name in ("predictive", "inclusion"):
            np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), atol=1e-8, err_msg=f"{prior} {name}")
        # Of rotated latents: the sign of each is free.
        turned, expected = (one.mean @ np.swapaxes(one.rotation, 1, 2) for one in (fast, slow))
        np.testing.assert_allclose(turned, expected, atol=1e-8, err_msg=prior)


def test_both_forms_follow_coefficients_that_move() -> None:
    x, u, left_out = people(40, 60)
    rng = np.random.default_rng(1)
    mean, columns, steps = rng.normal(size=(4, 60, 4)), np.array([3, 58, 17]), rng.normal(size=(3, 4, 4))
    rotation = np.linalg.qr(rng.normal(size=(4, 4, 4)))[0]
    moved = mean.copy()
    moved[:, columns] += np.swapaxes(steps, 0, 1)
    for form in (Moments, PeopleRows):
        data = form.of_subsets(x, u, left_out).rotated(rotation).part(slice(1, 3))
        residual = data.residual(mean[:, :, 1:3])
        residual.move(columns, steps[:, :, 1:3])
        for f, rows in enumerate(left_out):
            kept = np.setdiff1d(np.arange(40), rows)
            own, latents = x[kept], (u[kept] @ rotation[f])[:, 1:3]
            left = latents - own @ moved[f, :, 1:3]
            np.testing.assert_allclose(residual.of(columns)[:, f], own[:, columns].T @ left, atol=1e-9)
            np.testing.assert_allclose(residual.gram(columns)[:, :, f], own[:, columns].T @ own[:, columns], atol=1e-9)
            explained = np.sum(latents**2 - left**2, axis=0)
            np.testing.assert_allclose(residual.explained(moved[:, :, 1:3])[f], explained, atol=1e-8)
            np.testing.assert_allclose(data.diagonal[f], np.sum(own**2, axis=0), atol=1e-9)


@pytest.mark.parametrize("form", [Moments, PeopleRows])
def test_sums_of_single_precision_in_parts_are_those_of_double(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    x, u, folds = people(50, 30)
    single = x.astype(np.float32)
    monkeypatch.setattr(spectral, "ROWS", 7)
    overlapping = [folds[0], np.concatenate([folds[0], folds[1]]), folds[-1]]
    for left_out in (folds, overlapping):
        whole = form.of_subsets(single, u, left_out)
        others = form.of_subsets(single, u[::-1], left_out).of_latents(single, u, left_out)
        for f, rows in enumerate(left_out):
            kept = np.setdiff1d(np.arange(50), rows)
            own = single[kept].astype(np.float64)
            for data in (whole, others):
                np.testing.assert_allclose(data.xu[f], own.T @ u[kept], atol=1e-12)
                np.testing.assert_allclose(data.uu[f], u[kept].T @ u[kept], atol=1e-12)
                np.testing.assert_allclose(data.diagonal[f], np.sum(own**2, axis=0), atol=1e-12)
                assert data.n[f] == len(kept)
            if isinstance(whole, Moments):
                np.testing.assert_allclose(whole.xx[f], own.T @ own, atol=1e-12)


def test_people_are_summed_once_for_all_kinds_of_scan_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of columns are the largest thing of a fit: those of a stack are those of its first kind."""
    made = []
    sums = Moments.of_subsets.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Moments], *arguments: Any) -> Moments:
        made.append(sums(cls, *arguments))
        return made[-1]

    monkeypatch.setattr(Moments, "of_subsets", classmethod(counted))
    x, u, _ = people(200, 20)
    noise = np.random.default_rng(3).normal(size=(2, 200, 2))
    brain = {"one-2": u[:, :2] + 0.1 * noise[0], "two-2": u[:, 2:] + 0.1 * noise[1]}
    model = fit_closed_form([x], brain, np.arange(200), settings=ClosedFormSettings(stack=True, dimensions=(2,)))
    assert len(model.chosen["parts"]) == 2
    assert len(made) == 1


def wide() -> tuple[list[np.ndarray], dict[str, np.ndarray], ClosedFormSettings]:
    """80 windows of 100 columns for 300 people, under ridge."""
    rng = np.random.default_rng(2)
    blocks = [rng.normal(size=(300, 120)).astype(np.float32) for _ in range(80)]
    trait = sum(block[:, :4] for block in blocks[:6]) / 6**0.5
    brain = {
        "loud": trait @ rng.normal(size=(4, 30)) + 0.1 * rng.normal(size=(300, 30)),
        "noise": rng.normal(size=(300, 9)),
    }
    columns = ColumnSettings(max_components=100, variance=1.0)
    return blocks, brain, ClosedFormSettings(columns=columns, dimensions=(2, 4), modes=("ridge",))


def test_8000_columns_of_few_people_are_their_own_directions_in_another_basis() -> None:
    """Ridge does not see the basis, so columns by columns over the few directions that exist are the reference."""
    blocks, brain, settings = wide()
    families = np.arange(300)
    model = fit_closed_form(blocks, brain, families, settings=settings)
    x = model.gene_columns(blocks).astype(np.float64)
    assert x.shape == (300, 8000)
    left, values, _ = np.linalg.svd(x, full_matrices=False)
    judge = Judge(left * values, families, grouped_folds(families, settings.folds, 0), settings)
    latents = {name: principal_components(features, 4) for name, features in brain.items()}
    cv, ((name, u, fits), *_) = rank_latents(judge, latents, brain, Moments)
    best = choose_prior(judge, u, fits, name, cv)
    chosen, posterior = best.row, best.posterior
    assert isinstance(fits[0], Moments)
    for one, other in zip([*model.cv, model.chosen], [*cv, chosen], strict=True):
        assert (one["brain"], one["k"], one["mode"]) == (other["brain"], other["k"], other["mode"])
        assert one["recall@1"] == pytest.approx(other["recall@1"], abs=1e-8)
    assert np.abs(x @ model.coefficients).max() > 0.01
    np.testing.assert_allclose(x @ model.coefficients, judge.x @ posterior.mean[-1], atol=1e-8)
    np.testing.assert_allclose(model.predictive, posterior.predictive[-1], atol=1e-8)


@pytest.mark.parametrize("people", [300, 4000, 40_000])
@pytest.mark.parametrize("budget", [2e9, 8e9, 64e9])
def test_the_most_columns_are_those_that_still_fit(people: int, budget: float) -> None:
    def fits(columns: int) -> bool:
        size = Size(people, columns, 6, 96)
        return form_for(size, budget) is Moments or size.of_rows <= budget

    most = Size(people, 1, 6, 96).most_columns(budget)
    assert fits(most) == (most > 0)
    assert not fits(most + 1 if most > 0 else 1)


@pytest.mark.parametrize(("form", "n", "p"), [(Moments, 420, 400), (PeopleRows, 400, 420), (PeopleRows, 150, 1500)])
def test_a_fit_stays_within_the_memory_that_it_is_said_to_need(form: Form, n: int, p: int) -> None:
    x, u, left_out = people(n, p)
    size = Size(n, p, len(left_out), u.shape[1])
    said = size.of_moments if form is Moments else size.of_rows
    tracemalloc.start()
    try:
        data = form.of_subsets(x, u, left_out)
        fit_sparse(data, fit_ridge(data).mean, shared=True, max_sweeps=1)
        peak = tracemalloc.get_traced_memory()[1] + x.nbytes
    finally:
        tracemalloc.stop()
    assert 0.4 * said < peak < said


@pytest.mark.parametrize(("form", "n", "p"), [(Moments, 60, 40), (PeopleRows, 40, 60)])
def test_other_latents_reduce_no_table_again(form: Form, n: int, p: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, u, left_out = people(n, p)
    data = form.of_subsets(x, u, left_out)
    fit_ridge(data, again=True)
    assert sum(name.startswith("reduced") for name in data.kept) == len(left_out)
    fresh = fit_ridge(form.of_subsets(x, u[:, ::-1].copy(), left_out))
    monkeypatch.setattr(BlockTridiagonal, "of", None)
    again = fit_ridge(data.of_latents(x, u[:, ::-1].copy(), left_out))
    np.testing.assert_allclose(again.mean, fresh.mean, atol=1e-12)
    assert not [name for name in data.kept if name.startswith("reduced")]  # nobody asked for them again


def test_memory_decides_how_many_columns_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, brain, settings = wide()
    monkeypatch.setattr(closed_form, "memory_budget", lambda: 30e6)
    words = (
        r"^8,000 gene columns of 300 people from 80 windows need 0\.0\d+ GB, and half of this machine's memory, 0\.03"
    )
    with pytest.raises(TooManyColumnsError, match=words + r" GB, holds [1-4],\d{3}: use at most \d+ windows$"):
        fit_closed_form(blocks, brain, np.arange(300), settings=settings)
    monkeypatch.setattr(closed_form, "memory_budget", lambda: 5e5)
    with pytest.raises(TooManyColumnsError, match=r"holds \d+: 300 people need a machine with more memory"):
        fit_closed_form(blocks, brain, np.arange(300), settings=settings)


def small() -> tuple[list[Any], dict[str, np.ndarray], np.ndarray]:
    x, u, _ = people(60, 40)
    return [x[:, :20], x[:, 20:]], {"one": u}, np.arange(60)


def test_bars_show_windows_fits_and_sweeps_and_only_where_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ClosedFormSettings(folds=3)
    quiet = fit_closed_form(*small(), settings=settings)
    fit_closed_form(*small(), settings=settings, progress=True)
    assert capsys.readouterr().err == "", "bars would fill a log file"
    monkeypatch.setitem(sys.modules, "ipykernel", None)  # as in a notebook
    shown = fit_closed_form(*small(), settings=settings, progress=True)
    bars = capsys.readouterr().err
    for part in ("gene columns: ", "/2 [", "ridge: ", "/4 [", "row and entry: ", "sweep/s]"):
        assert part in bars
    assert "\n" not in bars, "a bar per set of columns and prior would push the messages off the screen"
    np.testing.assert_array_equal(quiet.coefficients, shown.coefficients)
    fit_closed_form(*small(), settings=replace(settings, modes=("ridge",)), progress=True)
    assert "sweep" not in capsys.readouterr().err
    monkeypatch.setenv("TQDM_DISABLE", "1")
    fit_closed_form(*small(), settings=settings, progress=True)
    assert capsys.readouterr().err == ""


def test_a_key_that_interrupts_ends_the_fit_between_two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    visit, seen = empirical_bayes._visit, []

    def interrupted(*arguments: Any) -> Any:
        seen.append(len(arguments[1]))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return visit(*arguments)

    monkeypatch.setattr(empirical_bayes, "_visit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_closed_form(*small(), progress=True)
    assert len(seen) == 4
    assert not list(tqdm._instances)  # bars are closed: what is printed next stands on a line of its own
