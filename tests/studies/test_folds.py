"""Folds: everybody is tested once, by a fit to the others; judged together."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genebrain
from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.types import UserError
from genebrain.evaluation.retrieval import evaluate_retrieval
from tests.pictures import blank_pictures  # noqa: F401 - for the whole file
from tests.studies.test_run_table import people

CLOSED = AlignmentSettings(train="none")
JUDGE = {"n_bootstrap": 50, "n_permutations": 50, "progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder, given = tmp_path_factory.mktemp("folds") / "run", people(150)
    given["brains"] += 1.5 * np.random.default_rng(1).normal(size=given["brains"].shape)
    return genebrain.fit(**given, run=folder, split=SplitSettings(folds=3), alignment=CLOSED, progress=False)


@pytest.fixture(scope="module")
def runs(run) -> list:
    return [genebrain.load_run(run / f"fold-{i}") for i in range(3)]


def test_everybody_is_tested_once_and_families_stay_together(runs):
    tested = [set(one.ids("test")) for one in runs]
    assert [len(one) for one in tested] == [50, 50, 50]
    assert set.union(*tested) == set(runs[0].ids("all"))
    for one in runs:
        family = one.cohort.table["family"].to_numpy()
        assert not set(family[one.rows("test")]) & set(family[one.split.training])


def test_values_are_means_over_people_of_their_own_fold(run, runs):
    metrics = tasks.evaluate(run, **JUDGE, comparisons=["confound_only"])
    single = []
    for one in runs:
        found = one.vectors("test")
        single.append(evaluate_retrieval(found.genome, found.brain, gallery_size=50)["mean"])
    for name in ("recall@1", "percentile_rank", "mrr"):
        wanted = np.mean([one[name]["value"] for one in single])  # folds of one size
        assert metrics["retrieval"]["mean"][name]["value"] == pytest.approx(wanted, abs=1e-9)
    assert metrics["n_subjects"] == 150
    low, high = metrics["retrieval"]["mean"]["percentile_rank"]["ci"]
    one_low, one_high = single[0]["percentile_rank"]["ci"]
    assert high - low < one_high - one_low  # three times the people
    assert metrics["permutation"]["p_free"] == pytest.approx(1 / 51)
    assert (
        metrics["baselines"]["confound_only"]["recall@1"]["value"] < metrics["retrieval"]["mean"]["recall@1"]["value"]
    )
    assert "Judged on 150 people, each tested once by one of 3 fits to the others." in metrics["verdict"]
    assert len(metrics["per_fold"]) == 3
    page = tasks.report(run).read_text()
    assert "each tested once" in page
    assert "0 for training" not in page
    assert len(tasks.compare([run])) > 0


def test_without_a_relation_the_permutation_says_so(tmp_path):
    given = people(90)
    given["brains"] = pd.DataFrame(
        given["brains"].to_numpy()[np.random.default_rng(3).permutation(90)], index=given["brains"].index
    ).add_prefix("b")
    run = genebrain.fit(**given, run=tmp_path / "r", split=SplitSettings(folds=3), alignment=CLOSED, progress=False)
    metrics = tasks.evaluate(run, **JUDGE, comparisons=[])
    assert metrics["permutation"]["p_free"] > 0.03


def test_verbs_that_read_one_run_name_the_folds(run, tmp_path):
    with pytest.raises(UserError, match=r"holds 3 folds, each a run of its own: name one, .*fold-0$"):
        genebrain.export(run, tmp_path / "out")


def test_what_cannot_be_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="holds 3 folds, not 4"):
        genebrain.fit(**people(150), run=run, split=SplitSettings(folds=4), alignment=CLOSED, progress=False)


def test_more_folds_than_people_allow_are_refused_before_anything_is_made(tmp_path):
    with pytest.raises(UserError, match=r"150 people are too few .*: test 2 .*at most split\.folds=30"):
        genebrain.fit(
            **people(150), run=tmp_path / "r", split=SplitSettings(folds=1000), alignment=CLOSED, progress=False
        )
    assert not list((tmp_path / "r").rglob("*.json"))


@pytest.mark.parametrize("content", ['{"folds": 2}', '{"folds": true}', "{}", "[3]", "x"])
def test_a_damaged_number_of_folds_is_found(run, tmp_path, content):
    shutil.copytree(run, tmp_path / "r")
    (tmp_path / "r/folds.json").write_text(content)
    with pytest.raises(UserError, match=r"folds\.json"):
        tasks.evaluate(tmp_path / "r", **JUDGE)


def test_damaged_results_of_folds_are_found_by_the_page(run, tmp_path):
    shutil.copytree(run, tmp_path / "r")
    tasks.evaluate(tmp_path / "r", **JUDGE, comparisons=[])
    place = tmp_path / "r/metrics.json"
    place.write_text(place.read_text().replace('"n_subjects": 150', '"n_subjects": 151'))
    with pytest.raises(UserError, match=r"did not stay as written: metrics\.json \(changed\)"):
        tasks.report(tmp_path / "r")
    with pytest.raises(UserError, match="everybody is tested once"):
        tasks.evaluate(run, split="validation", **JUDGE)
    with pytest.raises(UserError, match=r"judge one of them on a second cohort \(run=.*fold-0\)"):
        tasks.evaluate(run, cohort="x.yaml", out="y", **JUDGE)
    with pytest.raises(UserError, match=r"split\.fold=3: one of 0 to"):
        SplitSettings(folds=3, fold=3)
    with pytest.raises(UserError, match=r"split\.folds=1: at least 2"):
        SplitSettings(folds=1)
