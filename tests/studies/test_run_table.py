"""Judged runs side by side, and learning curves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genebrain
from genebrain import cli, config, tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.cohort.splits.splits import make_split
from genebrain.common.hashing import content_digest
from genebrain.common.types import UserError
from genebrain.sides.vectors.cohorts import open_cohort
from genebrain.studies.ablation import own_arms
from genebrain.studies.learning_curve import curve_table, learning_curve
from genebrain.studies.run_table import latex, names_of, tidy_table

CLOSED = AlignmentSettings(train="none")
JUDGE = {"n_bootstrap": 40, "n_permutations": 40, "progress": False, "comparisons": ["confound_only"]}


def people(n: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 4))
    ids = [f"p{i:03d}" for i in range(n)]
    brain = shared @ rng.normal(size=(4, 20)) + 0.4 * rng.normal(size=(n, 20))
    genes = np.c_[shared, rng.normal(size=(n, 4))]
    participants = pd.DataFrame(
        {"family_id": [f"f{i // 2}" for i in range(n)], "age": rng.uniform(20, 70, n)}, index=ids
    )
    return {
        "genes": pd.DataFrame(genes, index=ids, columns=[f"g{i}:0" for i in range(8)]),
        "brains": pd.DataFrame(brain, index=ids).add_prefix("b"),
        "participants": participants,
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    made = [
        genebrain.fit(**people(150), run=folder / name, seed=seed, alignment=CLOSED, progress=False)
        for name, seed in (("one", 0), ("an other", 1))
    ]
    for run in made:
        tasks.evaluate(run, **JUDGE)
    return made


def test_the_tidy_table_holds_the_numbers_of_the_runs(runs, tmp_path, capsys):
    table = tasks.compare(runs, out=tmp_path / "out")
    metrics = json.loads((runs[1] / "metrics.json").read_text())
    row = table[(table["run"] == "an other") & (table["method"] == "model")]
    row = row[(row["direction"] == "brain_to_gene") & (row["metric"] == "recall@5")].iloc[0]
    found = metrics["retrieval"]["brain_to_gene"]["recall@5"]
    assert [row["value"], row["low"], row["high"]] == [found["value"], *found["ci"]]
    assert row["chance"] == metrics["chance"]["recall@5"]
    assert set(table["method"]) == {"model", "confound_only"}
    assert "2 sets of people were judged" in capsys.readouterr().out
    written = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert len(written) == len(table)
    text = (tmp_path / "out" / "comparison.tex").read_text()
    assert text.count(r"\\") == 3
    assert "percentile\\_rank" in text
    assert (tmp_path / "out" / "comparison.md").read_text().startswith("| run | genes |")


def test_the_same_people_and_other_galleries_are_told(runs, tmp_path, capsys):
    again = genebrain.fit(**people(150), run=tmp_path / "third", seed=0, progress=False, alignment=CLOSED,
                          pooling=genebrain.GenePooling(window="mean", chunk="mean"))  # fmt: skip
    tasks.evaluate(again, **JUDGE, gallery_size=16)
    tasks.compare([runs[0], again])
    out = capsys.readouterr().out
    assert "galleries of 16, 50 candidates" in out
    assert "the same people were judged in all runs" in out


def test_other_vectors_of_one_side_are_still_the_same_people(runs, tmp_path):
    given = people(150)
    given["brains"] = given["brains"] * 2 + 1
    same = genebrain.fit(**given, run=tmp_path / "scaled", alignment=CLOSED, progress=False)
    other = genebrain.fit(**people(150, seed=3), run=tmp_path / "others", alignment=CLOSED, progress=False)
    for run in (same, other):
        tasks.evaluate(run, **JUDGE)
    swapped = people(150)
    swapped["genes"], swapped["brains"] = swapped["genes"] * 3, given["brains"]
    neither = genebrain.fit(**swapped, run=tmp_path / "neither", alignment=CLOSED, progress=False)
    tasks.evaluate(neither, **JUDGE)
    through = tidy_table([runs[0], neither, same]).groupby("run")["test_set"].first()
    assert through.nunique() == 1, "the first two share nothing but the third"
    marks = tidy_table([runs[0], same, other]).groupby("run")["test_set"].first()
    assert marks["one"] == marks["scaled"], "the same genes of the same rows"
    assert marks["others"] != marks["one"], "the same ids, and other people"


def test_the_command_line_takes_plain_names(runs, tmp_path, capsys):
    assert cli.main(["compare", *map(str, runs), f"out={tmp_path / 'o'}"]) == 0
    assert "an other" in capsys.readouterr().out
    assert cli.main(["compare", str(tmp_path / "nothing")]) == 2
    assert "hold no metrics of test people" in capsys.readouterr().err
    assert cli.main(["compare"]) == 2


def test_changed_metrics_are_found(runs, tmp_path):
    copy = Path(shutil.copytree(runs[0], tmp_path / "r"))
    place, seals = copy / "metrics.json", copy / "checksums.json"
    good = place.read_text()
    place.write_text(good.replace('"gallery_size": ', '"gallery_size": 1', 1))
    with pytest.raises(UserError, match=r"did not stay as written: metrics\.json"):
        genebrain.compare([copy])
    content = json.loads(good)
    content["retrieval"]["mean"]["percentile_rank"] = None
    for wrong in (content, [], {**content, "chance": 3}, {**content, "n_subjects": {}, "retrieval": "x"}):
        place.write_text(json.dumps(wrong))
        seals.write_text(json.dumps({"metrics.json": content_digest(place)}))  # somebody sealed it again
        with pytest.raises(UserError, match=r"metrics\.json is damaged"):
            genebrain.compare([copy])


def test_names_and_letters():
    assert names_of([Path("a/x"), Path("b/x")]) == ["a/x", "b/x"]
    with pytest.raises(UserError, match="named twice"):
        names_of([Path("a"), Path("a")])
    table = pd.DataFrame({"a_b": ["50 % {x} & \\y"]})
    assert r"50 \% \{x\} \& \textbackslash{}y \\" in latex(table)


def test_shares_of_the_training_people_are_nested_and_keep_families_and_test_people(runs):
    cohort = open_cohort(runs[0] / "cohort" / "cohort.yaml", genebrain.VectorGenes(), genebrain.VectorBrain())
    whole, half, eighth = (make_split(cohort, seed=3, train_share=share) for share in (1.0, 0.5, 0.25))
    plain = make_split(cohort, seed=3)
    assert np.array_equal(whole.train, plain.train)
    for split in (half, eighth):
        assert np.array_equal(split.test, plain.test)
    assert set(eighth.train) < set(half.train) < set(whole.train)
    assert len(half.train) == pytest.approx(len(whole.train) / 2, abs=1)
    family = cohort.table["family"].to_numpy()
    cut = set(family[half.train]) & set(family[np.setdiff1d(whole.train, half.train)])
    assert len(cut) <= 1  # one family may be cut by the exact size
    with pytest.raises(UserError, match=r"split\.train_share=0 must lie"):
        SplitSettings(train_share=0)


def test_a_learning_curve_is_an_ablation(tmp_path):
    given = people(150)
    arms = {f"{share}": {"split": {"train_share": share}} for share in (0.5, 1.0)}
    results = pd.read_csv(
        tasks.ablate(None, {"arms": arms}, run=tmp_path / "a", seeds=[0], jobs=1, **given, alignment=CLOSED)
    )
    assert results["n_train"].tolist() == [50, 100]
    assert (tmp_path / "a" / "learning_curve.png").stat().st_size > 5000
    table = curve_table(results, "recall@1")
    assert table["mean"].tolist() == results["recall@1"].tolist()
    assert not learning_curve(results.iloc[:1], "recall@1", tmp_path / "no.png")


@pytest.mark.parametrize("options", [{"seeds": [-1]}, {"seeds": [0, 0]}, {"seeds": []}, {"seeds": [0], "jobs": 0}])
def test_seeds_and_jobs_that_cannot_be_are_refused_before_any_work(tmp_path, options):
    arms = {"ablation": {"arms": {"a": {}, "b": {"pooling": {"chunk": "mean"}}}}}
    with pytest.raises(UserError, match="different whole numbers from 0 are wanted, and at least one job"):
        tasks.ablate(None, **arms, **people(60), run=tmp_path / "a", **options)
    assert not (tmp_path / "a" / "cells").exists()


def test_arms_of_ones_own(tmp_path):
    words = ["arms={plain: {}, wide: {pooling: {window: mean}}}", "genes=g.parquet", "brains=b.parquet"]
    given = config.build(config.compose("ablate", words))["arms"]
    assert own_arms(given) == {"plain": {}, "wide": {"pooling": {"window": "mean"}}}
    (tmp_path / "arms.yaml").write_text("arms:\n  plain:\n  half: {split: {train_share: 0.5}}\n")
    assert own_arms(tmp_path / "arms.yaml") == {"plain": {}, "half": {"split": {"train_share": 0.5}}}
    for wrong in (
        {"one": {}},
        {"a": {}, "b": {"poling": {}}},
        {"a": {}, "b": 3},
        {"a": {}, "b": {"brain": "x"}},
        ["a", "b"],
    ):
        with pytest.raises(UserError, match="at least two arms"):
            own_arms(wrong)
    (tmp_path / "twice.yaml").write_text("a: {}\nb: {}\na: {split: {train_share: 0.5}}\n")
    with pytest.raises(UserError, match=r"twice\.yaml: .*a.* more than once"):
        own_arms(tmp_path / "twice.yaml")
    with pytest.raises(UserError, match=r"none\.yaml"):
        own_arms(tmp_path / "none.yaml")
