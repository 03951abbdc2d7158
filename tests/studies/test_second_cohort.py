"""A model on a simulated second cohort of the same truth, after the files of the first are gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.simulation.cohort import simulate_cohort
from tests.pictures import blank_pictures  # noqa: F401 - for the whole file
from tests.runs.test_transfer import SMALL

JUDGE = {"n_bootstrap": 100, "n_permutations": 60, "progress": False}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a run whose cohort is deleted, and three second cohorts."""
    folder = tmp_path_factory.mktemp("second")
    first = simulate_cohort(folder / "A", n_subjects=240, seed=31, **SMALL)
    tasks.fit(first, run=folder / "run", alignment=AlignmentSettings(train="none"), progress=False)
    tasks.evaluate(folder / "run", comparisons=(), **JUDGE)
    simulate_cohort(folder / "B", n_subjects=120, seed=9, like=first)
    simulate_cohort(folder / "null", n_subjects=120, seed=10, like=first, null_twin=True)
    shutil.rmtree(folder / "A")
    return folder


def test_what_was_found_is_found_again(place):
    metrics = tasks.evaluate(place / "run", cohort=place / "B" / "cohort.yaml", out=place / "on-B", **JUDGE)
    recall = metrics["retrieval"]["mean"]["recall@1"]
    before = json.loads((place / "run" / "metrics.json").read_text())["retrieval"]["mean"]["recall@1"]
    error = np.hypot(*((one["ci"][1] - one["ci"][0]) / 3.92 for one in (recall, before)))
    assert abs(recall["value"] - before["value"]) < 3 * error
    assert recall["value"] > 10 * metrics["chance"]["recall@1"]
    assert recall["value"] < metrics["ceiling"]["recall@1"] + 0.05
    words = metrics["verdict"]
    assert words.startswith("Second cohort, msprime-smoke-seed9: ")
    assert "Judged on all its 120 people, by a model fitted on 160 people of another cohort" in words
    assert "test people" not in words
    page = tasks.report(place / "on-B").read_text()
    assert "120</b><span>second-cohort subjects (the model was fitted on 160 of another cohort)" in page
    assert "0 for training" not in page
    assert "test subjects" not in page


def test_where_nothing_is_to_be_found_nothing_is(place):
    metrics = tasks.evaluate(place / "run", cohort=place / "null" / "cohort.yaml", out=place / "on-null", **JUDGE)
    low, high = metrics["retrieval"]["mean"]["percentile_rank"]["ci"]
    assert low < 0.5 + 0.02
    assert high > 0.5 - 0.02
    assert metrics["permutation"]["p_free"] > 0.01
