"""Figures show what the numbers say, for any of the parts that are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genebrain.evaluation.disclosure import shown_count, shown_strata
from genebrain.evaluation.report.figures import (
    null_distribution,
    recall_bars,
    retrieval_curve,
    similarity,
    write_figures,
)
from genebrain.evaluation.report.run_figures import funnel_bars, training_curves
from genebrain.evaluation.report.style import pretty
from genebrain.evaluation.retrieval import recall_curve


def test_all_figures_are_written(tmp_path: Path, metrics: dict, embeddings: dict):
    curves = {"model": recall_curve(embeddings["gene"], embeddings["brain"], gallery_size=32, n_bootstrap=20)}
    history = {"epoch": [0, 1, 2], "train_loss": [3.0, 2.0, np.nan], "val_recall@1": [np.nan, 0.1, 0.2]}
    paths = write_figures(
        tmp_path / "figures",
        metrics,
        **embeddings,
        curves=curves,
        history=history,
        funnel={"listed": 100, "kept": 80, "dropped": {"no scan": 20}},
    )
    names = {"recall", "retrieval_curve", "null", "strata", "similarity", "history", "funnel"}
    assert {path.stem for path in paths} == names
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {f"{name}.png" for name in names}
    for path in paths:
        assert path.read_bytes()[:4] == b"\x89PNG"


def test_only_what_is_there_is_drawn(tmp_path: Path, metrics: dict):
    bare = metrics | dict.fromkeys(("ceiling", "within_stratum", "permutation", "baselines"))
    assert {path.stem for path in write_figures(tmp_path, bare)} == {"recall", "retrieval_curve"}
    assert null_distribution({}) is None
    assert training_curves({"epoch": [1]}) is None
    assert funnel_bars({"dropped": {}}) is None


def test_recall_bars_have_the_lengths_of_the_metrics(metrics: dict):
    figure = recall_bars(metrics)
    lengths = [bar.get_width() for bar in figure.axes[0].patches]
    assert lengths == [
        metrics["retrieval"]["mean"]["recall@1"]["value"],
        metrics["baselines"]["confound_only"]["recall@1"]["value"],
        0.9,
    ]
    assert "among 32 candidates (chance recall@1 = 0.031), n = 120" in figure.get_suptitle()


def test_curve_ends_where_chance_ends(metrics: dict):
    axes = retrieval_curve(metrics).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"model", "confound only", "ceiling", "chance"}
    assert lines["chance"].get_ydata()[[0, -1]] == pytest.approx([1 / 32, 1.0])


def test_null_shows_one_panel_per_test(metrics: dict):
    figure = null_distribution(metrics["permutation"])
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == [
        "dealt freely",
        "dealt within strata",
    ]


def test_similarity_leaves_small_strata_out(embeddings: dict):
    image = similarity(**embeddings).axes[0].images[0].get_array()
    assert image.shape == (114, 114)
    flat = np.ones((20, 3))
    assert (similarity(flat, flat).axes[0].images[0].get_array() == 0).all()  # no spread, no division by zero


def stratum(*sizes: int, left_out: int = 0) -> dict:
    table = [{"name": str(i), "n": n} for i, n in enumerate(sizes)]
    return {"per_stratum": table, "left_out": {"subjects": left_out, "strata": int(left_out > 0)}}


@pytest.mark.parametrize(
    ("within", "sizes"),
    [
        (stratum(50, 30, 20), [50, 30, 20]),
        (stratum(50, 30, 20, 7), [50, 30]),  # a single small one would follow from the total
        (stratum(50, 30, 9, 8), [50, 30]),
        (stratum(50, 30, 4, 3), [50]),  # together still fewer than ten
        (stratum(50, 30, left_out=4), [50]),
        (stratum(50, 30, left_out=40), [50, 30]),
        (None, []),
    ],
)
def test_small_cells_and_those_that_give_them_away_are_hidden(within: dict | None, sizes: list[int]):
    assert [one["n"] for one in shown_strata(within)] == sizes


def test_small_counts():
    assert [shown_count(n) for n in (0, 9, 10, 1234)] == ["0", "fewer than 10", "10", "1,234"]


def test_names_are_readable():
    assert pretty("ridge_cca") == "ridge CCA"
    assert pretty("val/loss") == "val loss"
