"""Warnings about how scans are read, and the tests of the series behind them."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.brain.connectome.first_order import FirstOrderFit, first_order_fit
from genebrain.evaluation.verdict import verdict
from genebrain.sides.connectome import DEFAULT_KINDS, ConnectomeSide
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from genebrain.studies.scan_readings import warnings

SMALL = {"n_windows": 4, "window_bp": 6000, "n_genomewide": 60}
FINE = FirstOrderFit([0.01, 0.0, 0.0, 0.0], 0.0, 1.3, 10)


def series(kind: str, seed: int, frames: int = 400) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(frames, 20))
    for t in range(1, frames):
        y[t] += 0.7 * y[t - 1]
    if kind == "noisy":
        y += 1.5 * rng.normal(size=y.shape)
    if kind == "spiky":
        y[rng.choice(frames, 6)] += 12 * rng.normal(size=(6, 20))
    return y


@pytest.mark.parametrize(("kind", "fits"), [("first order", True), ("noisy", False)])
def test_residuals_of_a_first_order_process_are_white_and_with_noise_they_are_not(kind: str, fits: bool) -> None:
    scans = [(series(kind, i), np.ones(20, bool), np.arange(400)) for i in range(20)]
    found = first_order_fit(scans)
    assert found.fits == fits
    assert found.scans == 20
    assert abs(found.excess_kurtosis) < 0.3


def test_spikes_show_in_kurtosis_and_steps_and_gaps_do_not() -> None:
    spiky = first_order_fit([(series("spiky", i), np.ones(20, bool), np.arange(400)) for i in range(10)])
    assert spiky.excess_kurtosis > 2
    assert spiky.largest_step > 4
    kept = np.r_[0:100, 200:400]
    jumping = [series("first order", i) + 50 * (np.arange(400) >= 150)[:, None] for i in range(10)]
    gap = first_order_fit([(y[kept] - y[kept].mean(axis=0), np.ones(20, bool), kept) for y in jumping])
    assert gap.largest_step < 2


def test_the_better_kind_is_named_with_what_to_type() -> None:
    (said,) = warnings(("innovation",), "innovation-15", {"innovation": 0.05, "lag0": 0.67, "spectrum": 0.06}, FINE)
    assert "reaches .050" in said
    assert "lag0 reaches .67" in said
    assert "brain.kind=lag0" in said
    assert warnings(("innovation",), "innovation-15", {"innovation": 0.64, "lag0": 0.67}, FINE) == []
    assert warnings(("innovation", "lag0"), "lag0-15", {"innovation": 0.05, "lag0": 0.67}, FINE) == []


def test_a_bad_fit_is_a_warning_only_where_innovations_are_used() -> None:
    bad = FirstOrderFit([-0.14, 0.12, 0.0, 0.0], 3.6, 2.5, 60)
    (said,) = warnings(("innovation", "lag0"), "innovation-15+lag0-15", {"innovation": 0.6, "lag0": 0.5}, bad)
    assert "-0.14 at lag 1" in said
    assert warnings(("innovation", "lag0"), "lag0-15", {"innovation": 0.1, "lag0": 0.5}, bad) == []


def test_the_verdict_of_a_blind_reading_says_so(tmp_path) -> None:
    """Oscillators read by innovations alone: the spectrum would have seen more."""
    path = simulate_cohort(tmp_path / "c", n_subjects=300, seed=1, mechanism="oscillators", k=4, h2=0.9, **SMALL)
    workspace = Workspace(path, progress=False)
    side = ConnectomeSide(kind="innovation", components=(5,))
    run = tasks.fit(
        path, tmp_path / "run", brain=side, alignment=AlignmentSettings(train="none"), workspace=workspace,
        progress=False,
    )  # fmt: skip
    metrics = tasks.evaluate(
        run, comparisons=(), n_bootstrap=20, n_permutations=20, workspace=workspace, progress=False
    )
    found = metrics["scan_readings"]
    assert set(found["recall@1"]) == set(DEFAULT_KINDS)
    assert found["recall@1"]["spectrum"] > found["recall@1"]["innovation"] + 0.05
    assert "brain.kind=" in metrics["verdict"]
    assert verdict(metrics) == metrics["verdict"]


def test_a_reading_that_finds_nothing_says_that_others_were_not_tried() -> None:
    reached = {"innovation": 0.04, "lag0": 0.05, "envelopes": 0.03}
    (said,) = warnings(tuple(reached), "lag0-15", reached, FINE)
    assert "None of the kinds" in said
    assert "innovation, lag0, envelopes" in said
    assert "best 0.05, chance 0.03" in said
    assert warnings(tuple(reached), "lag0-15", reached | {"lag0": 0.07}, FINE) == []
