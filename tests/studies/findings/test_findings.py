"""Genes and connections that carry a match: planted ones are found, others and null cohorts give nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from genebrain import tasks
from genebrain.alignment.closed_form.column_sets import ColumnSet, GeneBlocks
from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.fit import ClosedForm, ClosedFormSettings, fit_closed_form
from genebrain.alignment.settings import AlignmentSettings
from genebrain.simulation.cohort import simulate_cohort
from genebrain.studies.findings.connections import connection_findings
from genebrain.studies.findings.genes import gene_findings, windows_of_columns

N, WINDOWS, CAUSAL = 600, 6, 2
TRAIN, HELD_OUT = np.arange(400), np.arange(400, N)


def people(effect: float, seed: int = 3) -> tuple[list[np.ndarray], np.ndarray]:
    """Blocks of six windows, and brain features that one of them moves."""
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(size=(N, 5)).astype(np.float32) for _ in range(WINDOWS)]
    brain = rng.normal(size=(N, 8))
    brain[:, :2] += effect * blocks[CAUSAL][:, :2]
    return blocks, brain.astype(np.float32)


def found_genes(effect: float) -> tuple[pd.DataFrame, ClosedForm]:
    blocks, brain = people(effect)
    closed = fit_closed_form(
        [block[TRAIN] for block in blocks], {"b": brain[TRAIN]}, TRAIN, settings=ClosedFormSettings(modes=("ridge",))
    )
    columns, observed = closed.gene_columns(blocks), closed.observed_latents(brain)
    names = [f"gene{w}" for w in range(WINDOWS)]
    return gene_findings(closed, columns[HELD_OUT], observed[HELD_OUT], names, HELD_OUT, n=400), closed


def test_the_window_that_moves_the_brain_is_found_and_no_other() -> None:
    genes, _ = found_genes(1.5)
    assert genes["window"][0] == f"gene{CAUSAL}"
    assert genes["q"][0] < 0.02
    assert genes["q"][1:].min() > 0.05
    assert genes["share"].sum() == pytest.approx(1)
    assert genes["share"][0] == genes["share"].max()
    assert (genes["low"] < genes["r"]).all()
    assert (genes["r"] < genes["high"]).all()


def test_the_correlation_of_a_window_is_that_of_its_part_of_the_prediction() -> None:
    genes, closed = found_genes(1.5)
    blocks, brain = people(1.5)
    alone = [
        block if w == CAUSAL else np.broadcast_to(block.mean(axis=0), block.shape) for w, block in enumerate(blocks)
    ]
    part = closed.predicted_latents(closed.gene_columns(alone))[HELD_OUT] / np.sqrt(closed.predictive)
    seen = closed.observed_latents(brain)[HELD_OUT] / np.sqrt(closed.predictive)
    part, seen = part - part.mean(axis=0), seen - seen.mean(axis=0)
    expected = (part * seen).sum() / np.sqrt((part**2).sum() * (seen**2).sum())
    assert genes["r"][0] == pytest.approx(expected, abs=1e-6)


def test_p_of_windows_without_effect_is_uniform() -> None:
    rng = np.random.default_rng(0)
    _, closed = found_genes(1.5)
    p = []
    for _ in range(40):
        columns = rng.normal(size=(60, len(closed.columns.window))).astype(np.float32)
        observed = rng.normal(size=(60, len(closed.predictive)))
        p += gene_findings(closed, columns, observed, list("abcdef"), np.arange(60) // 2, n=99)["p"].tolist()
    assert np.mean(np.array(p) <= 0.05) < 0.09
    assert 0.42 < np.mean(p) < 0.58


def test_all_readings_of_a_window_are_one_row_and_a_block_of_all_windows_has_its_own() -> None:
    """Half of the effect in each of two readings; a third one holds all windows in one block."""
    blocks, brain = people(1.0)
    other, _ = people(1.0, seed=9)
    brain[:, 2:4] += 1.0 * other[CAUSAL][:, :2]
    sets = tuple(ColumnSet(name, name, "embeddings", ColumnSettings()) for name in ("one", "two", "whole"))
    whole = [np.random.default_rng(7).normal(size=(N, 10)).astype(np.float32)]
    brain[:, 4:6] += 1.5 * whole[0][:, :2]
    genes = GeneBlocks({"one": blocks, "two": other, "whole": whole}, sets)
    settings = ClosedFormSettings(modes=("ridge",), dimensions=(6,))
    closed = fit_closed_form(genes.rows(TRAIN), {"b": brain[TRAIN]}, TRAIN, settings=settings)
    n, window = windows_of_columns(closed, genes)
    assert n == WINDOWS
    assert len(window) == len(closed.coefficients)
    columns, observed = closed.gene_columns(genes), closed.observed_latents(brain)
    names = [*(f"gene{w}" for w in range(WINDOWS)), "all windows"]
    found = gene_findings(
        closed, columns[HELD_OUT], observed[HELD_OUT], names, HELD_OUT, window=window, n=200
    ).set_index("window")  # fmt: skip
    assert set(found["share"].nlargest(2).index) == {f"gene{CAUSAL}", "all windows"}
    assert (window == WINDOWS).any()
    # By hand: the part of a window is that of its columns of both readings.
    mine = np.concatenate([
        part.window == CAUSAL if one.source != "whole" else np.zeros(len(part.window), bool)
        for one, part in zip(closed.columns.sets, closed.columns.parts, strict=True)
    ])  # fmt: skip
    part = columns[HELD_OUT][:, mine] @ closed.coefficients[mine] / np.sqrt(closed.predictive)
    seen = observed[HELD_OUT] / np.sqrt(closed.predictive)
    part, seen = part - part.mean(axis=0), seen - seen.mean(axis=0)
    expected = (part * seen).sum() / np.sqrt((part**2).sum() * (seen**2).sum())
    assert found.loc[f"gene{CAUSAL}", "r"] == pytest.approx(expected, abs=1e-6)


def series(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Covariances of five parcels of which parcels 2 and 4 are coupled by the latent."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=n)
    covariances = []
    for one in latent:
        x = rng.normal(size=(300, 5))
        x[:, 3] += np.clip(0.5 + 0.3 * one, -2, 2) * x[:, 1]
        covariances.append(np.cov(x.T))
    return np.array(covariances), latent[:, None]


def whole(covariances: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Everybody at once."""
    return [(np.arange(len(covariances)), covariances)]


def test_the_connection_that_the_genome_predicts_is_found() -> None:
    covariances, latent = series(300, 1)
    training, rows = np.arange(200), np.arange(200, 300)
    table = connection_findings(whole(covariances), training, rows, latent[training], 0.7 * latent[rows], 100)
    assert len(table) == 10
    assert (table["parcel_1"][0], table["parcel_2"][0]) == (2, 4)
    assert table["q"][0] < 1e-6
    assert (table["q"][1:] > 1e-3).all()
    edge = covariances[:, 1, 3] / np.sqrt(covariances[:, 1, 1] * covariances[:, 3, 3])
    assert table["r"][0] == pytest.approx(pearsonr(edge[rows], latent[rows, 0]).statistic)
    assert table["p"][0] == pytest.approx(pearsonr(edge[rows], latent[rows, 0], alternative="greater").pvalue)
    assert table["in_latents"][0] == pytest.approx(pearsonr(edge[:200], latent[:200, 0]).statistic ** 2)


def test_how_a_connection_moves_is_learned_from_training_people_alone() -> None:
    covariances, latent = series(120, 2)
    training, rows = np.arange(80), np.arange(80, 120)
    before = connection_findings(whole(covariances), training, rows, latent[training], latent[rows], 40)
    covariances[rows] = covariances[np.roll(rows, 1)]
    after = connection_findings(whole(covariances), training, rows, latent[training], latent[rows], 40)
    order = ["parcel_1", "parcel_2"]
    told = [one.sort_values(order)["in_latents"].to_numpy() for one in (before, after)]
    np.testing.assert_array_equal(*told)


def test_people_may_come_in_any_order_and_number_and_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    covariances, latent = series(90, 4)
    covariances[:30:7, 0] = covariances[:30:7, :, 0] = 0  # a parcel that some scans lack
    training, rows = np.arange(50), np.arange(60, 90)  # 50 to 59 are nobody's
    asked = training, rows, latent[training], latent[rows], 30
    once = connection_findings(whole(covariances), *asked)
    monkeypatch.setattr("genebrain.studies.findings.connections.ENTRIES", 7 * 25)
    mixed = np.random.default_rng(0).permutation(90)
    parts = [(some, covariances[some]) for some in np.array_split(mixed, 4)]
    pd.testing.assert_frame_equal(once, connection_findings(parts, *asked), rtol=1e-10)
    r = {tuple(row[:2]): row[2] for row in once[["parcel_1", "parcel_2", "r"]].to_numpy()}
    edge = covariances[:, 1, 3] / np.sqrt(covariances[:, 1, 1] * covariances[:, 3, 3])
    assert r[2, 4] == pytest.approx(pearsonr(edge[rows], latent[rows, 0]).statistic, rel=1e-10)


def test_a_constant_parcel_has_no_connections() -> None:
    covariances, latent = series(60, 3)
    covariances[:, 0] = covariances[:, :, 0] = 0
    table = connection_findings(whole(covariances), np.arange(40), np.arange(40, 60), latent[:40], latent[40:], 20)
    dead = table[table["parcel_1"] == 1]
    assert (dead["r"] == 0).all()
    assert np.isfinite(table.to_numpy()).all()


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("findings")
    cohort = simulate_cohort(
        folder / "c", n_subjects=240, seed=8, n_windows=4, window_bp=6000, n_frames=150, n_parcels=20, n_genomewide=100
    )
    run = tasks.fit(cohort, run=folder / "run", alignment=AlignmentSettings(train="none"), progress=False)
    tasks.evaluate(run, n_bootstrap=100, n_permutations=100, comparisons=(), progress=False)
    return run


def test_a_judged_run_holds_both_tables_and_the_page_shows_them(judged: Path) -> None:
    metrics = json.loads((judged / "metrics.json").read_text())
    genes = pd.read_csv(judged / "findings" / "genes.tsv", sep="\t")
    connections = pd.read_csv(judged / "findings" / "connections.tsv", sep="\t")
    assert len(genes) == metrics["findings"]["genes"]["n"] == 4
    assert len(connections) == metrics["findings"]["connections"]["n"] == 190
    assert metrics["findings"]["genes"]["found"] >= 1
    page = tasks.report(judged).read_text()
    assert "Which genes, which connections" in page
    assert all(f'<th scope="row">{name}</th>' in page for name in genes["window"])
    assert {"genes.png", "connections.png"} <= {path.name for path in (judged / "figures").iterdir()}


def test_findings_of_validation_people_have_names_of_their_own(judged: Path) -> None:
    run = shutil.copytree(judged, judged.parent / "copy")  # beside its cohort
    before = (run / "findings" / "genes.tsv").read_bytes()
    tasks.evaluate(run, split="validation", n_bootstrap=40, n_permutations=40, comparisons=(), progress=False)
    assert (run / "findings.validation" / "genes.tsv").exists()
    assert (run / "findings" / "genes.tsv").read_bytes() == before
