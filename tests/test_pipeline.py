"""The main job on a small cohort in real file formats: every verb, laws of the result, kills and broken input."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.cli import main
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.types import UserError
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.simulation.cohort import simulate_cohort

SMALL = {"n_windows": 4, "window_bp": 6000, "n_frames": 150, "n_parcels": 30, "n_genomewide": 200}
QUICK = TrainerSettings(max_epochs=6, patience=6)
LAG0 = ConnectomeSide("lag0")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("cohort") / "c", n_subjects=360, seed=5, **SMALL)


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "fit"
    tasks.fit(cohort, run=folder, trainer=QUICK, progress=False)
    tasks.evaluate(folder, gallery_size=32, n_bootstrap=200, n_permutations=200, progress=False)
    return folder


@pytest.fixture(scope="module")
def metrics(run) -> dict:
    return json.loads((run / "metrics.json").read_text())


def genebrain(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "genebrain", *arguments], capture_output=True, text=True, timeout=300, **more
    )


def test_metrics_follow_the_schema(metrics):
    assert metrics["schema"] == 1
    assert metrics["split"] == "test"
    assert metrics["n_subjects"] == 120
    assert metrics["gallery_size"] == 32
    wanted = {"recall@1", "recall@5", "recall@10", "mrr", "median_rank", "mean_rank", "percentile_rank", "matched_auc"}
    for direction in ("gene_to_brain", "brain_to_gene", "mean"):
        assert wanted <= set(metrics["retrieval"][direction])
        for one in metrics["retrieval"][direction].values():
            assert one["ci"][0] <= one["value"] <= one["ci"][1]
    assert metrics["chance"]["recall@1"] == pytest.approx(1 / 32)
    assert {"chunks_naive", "chunks_unique", "encoder_tokens", "seconds", "peak_rss_mb"} <= set(metrics["cost"])
    assert {"n", "statistic", "p_free", "p_stratified"} <= set(metrics["permutation"])
    assert {"ridge_cca", "confound_only", "dosage", "textbook"} <= set(metrics["baselines"])


def test_the_connectome_reads_scans_about_as_well_as_can_be(metrics):
    # Of one cohort: a reading that is best in expectation is beaten now and then, but never by far.
    best, model = metrics["baselines"]["best_scan_reading"]["recall@1"], metrics["retrieval"]["mean"]["recall@1"]
    assert best["value"] > 10 * metrics["chance"]["recall@1"]
    assert best["ci"][0] < model["value"] < best["ci"][1]


def test_the_alignment_is_above_chance_and_never_above_the_ceiling(metrics):
    recall = metrics["retrieval"]["mean"]["recall@1"]
    error = (recall["ci"][1] - recall["ci"][0]) / 3.92
    assert recall["value"] > 4 * metrics["chance"]["recall@1"]
    assert recall["value"] < metrics["ceiling"]["recall@1"] + 3 * error
    assert metrics["permutation"]["p_free"] < 0.01


def test_the_start_and_the_trained_number_are_both_shown(metrics):
    model = metrics["model"]
    assert "closed_form" in model["arms"]
    assert model["kept"] in ("closed_form", "trained")
    assert {"approved", "gain", "gain_standard_error"} <= set(model["approval"])
    assert metrics["baselines"]["textbook"]["recall@1"]["value"] < model["arms"]["closed_form"]["recall@1"]["value"]


def test_the_report_is_one_page_with_the_verdict_and_nothing_from_outside(run, metrics):
    page = tasks.report(run).read_text()
    assert metrics["verdict"].split(",")[0].split(":")[0] in page
    assert not re.findall(r"(?:src|href)=[\"']https?://", page)


def test_no_participant_is_named_in_what_a_run_leaves(run, cohort):
    people = pd.read_csv(cohort.parent / "participants.tsv", sep="\t", dtype=str)
    ids = {*people["participant_id"], *people["genotype_id"]}
    form = "|".join({re.sub(r"\d", r"\\d", one) for one in ids})
    assert re.findall(form, " ".join(ids)), "the ids have another form than is looked for"
    tasks.report(run)
    for path in [p for p in run.rglob("*") if p.is_file()]:
        named = {*re.findall(form.encode(), path.read_bytes()), *re.findall(form, path.name)}
        assert not {one if isinstance(one, str) else one.decode() for one in named} & ids, path.name


def test_a_finished_run_is_returned_and_another_experiment_is_refused(run, cohort, capsys):
    before = (run / "provenance.json").stat().st_mtime_ns
    tasks.fit(cohort, run=run, trainer=QUICK)
    assert "finished before: nothing is computed again" in capsys.readouterr().out
    assert (run / "provenance.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"seed=-1: a whole number from 0"):
        tasks.fit(cohort, run=run, trainer=QUICK, seed=-1)
    with pytest.raises(UserError, match="seed: 0 -> 1"):
        tasks.fit(cohort, run=run, trainer=QUICK, seed=1, progress=False)


def test_the_same_seed_gives_the_same_numbers(run, cohort, metrics, tmp_path):
    tasks.fit(cohort, run=tmp_path / "again", trainer=QUICK, progress=False)
    again = tasks.evaluate(
        tmp_path / "again", gallery_size=32, n_bootstrap=200, n_permutations=200, comparisons=(), progress=False
    )
    assert again["retrieval"] == metrics["retrieval"]
    assert again["permutation"] == metrics["permutation"]


def test_shuffled_scans_give_chance(cohort, tmp_path):
    """The negative control: the same files with scans dealt to the wrong people."""
    wrong = tmp_path / "wrong"
    shutil.copytree(cohort.parent, wrong, ignore=shutil.ignore_patterns("store"))
    scans = pd.read_csv(wrong / "scans.tsv", sep="\t", dtype=str)
    scans["participant_id"] = np.random.default_rng(0).permutation(scans["participant_id"])
    scans.to_csv(wrong / "scans.tsv", sep="\t", index=False)
    fitted = tasks.fit(
        wrong / "cohort.yaml", run=tmp_path / "run", alignment=AlignmentSettings(train="none"), progress=False
    )
    found = tasks.evaluate(fitted, gallery_size=32, n_bootstrap=200, n_permutations=200, comparisons=(), progress=False)
    low, high = found["retrieval"]["mean"]["recall@1"]["ci"]
    assert low <= 1 / 32 <= high
    assert found["permutation"]["p_free"] > 0.01
    assert "chance" in found["verdict"].lower()


@pytest.mark.parametrize(
    ("alignment", "pooling"),
    [
        (AlignmentSettings(start="random", train="full", score="cosine"), GenePooling()),
        (AlignmentSettings(start="random", train="full", score="cosine"),
         GenePooling(chunk="gated_attention", diploid="mean_absdiff", window="attention")),
        (AlignmentSettings(train="full", loss="siglip"), GenePooling(token="last")),
        (AlignmentSettings(train="none", score="cosine"), GenePooling(chunk="mean", window="mean")),
    ],
)  # fmt: skip
def test_other_recipes_run_and_read_back(cohort, tmp_path, alignment, pooling):
    fitted = tasks.fit(
        cohort, run=tmp_path / "run", brain=LAG0, alignment=alignment, pooling=pooling,
        trainer=TrainerSettings(max_epochs=2, patience=2), progress=False,
    )  # fmt: skip
    found = tasks.evaluate(fitted, gallery_size=32, n_bootstrap=50, n_permutations=50, comparisons=(), progress=False)
    assert 0 <= found["retrieval"]["mean"]["recall@1"]["value"] <= 1


def test_an_ablation_pairs_its_arms_skips_what_is_done_and_never_encodes(cohort, run, tmp_path, monkeypatch):
    arms = {"mean": {"pooling": {"chunk": "mean"}}, "flatten": {"pooling": {"chunk": "flatten"}}}
    one = {"jobs": 1, "brain": LAG0}
    tasks.embed(cohort, seed=1)  # another split masks other alleles
    monkeypatch.setattr("genebrain.genetics.store.store.encode_batches", None)
    table = tasks.ablate(cohort, {"arms": arms}, run=tmp_path / "grid", seeds=(0, 1), gallery_size=32, **one)
    results = pd.read_csv(table)
    assert len(results) == 4
    assert results["error"].isna().all()
    assert results.groupby("seed")["n_test"].nunique().eq(1).all()
    comparison = pd.read_csv(tmp_path / "grid" / "comparison.csv")
    assert {"mean", "low", "high", "difference", "p", "p_holm"} <= set(comparison.columns)
    assert (tmp_path / "grid" / "comparison.png").stat().st_size > 10_000
    cell = tmp_path / "grid" / "cells" / "00-seed0" / "metrics.json"
    before = cell.stat().st_mtime_ns
    tasks.ablate(cohort, {"arms": arms}, run=tmp_path / "grid", seeds=(0, 1), gallery_size=32, **one)
    assert cell.stat().st_mtime_ns == before


def test_an_arm_that_cannot_be_is_named_before_any_work(cohort, tmp_path):
    with pytest.raises(UserError, match=r"(?s)arm 'a'.*arm 'b'"):
        tasks.ablate(
            cohort,
            {"arms": {"a": {"pooling": {"chunk": "meen"}}, "b": {"pool": {}}}},
            run=tmp_path / "grid",
        )


def test_a_gallery_larger_than_the_test_set_is_refused_with_both_numbers(run):
    with pytest.raises(UserError, match=r"gallery_size=500.*120 people.*gallery_size=64"):
        tasks.evaluate(run, gallery_size=500, progress=False)


def test_without_a_gallery_a_small_set_is_judged_among_everybody_in_it(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    judge = {"n_bootstrap": 20, "n_permutations": 20, "comparisons": (), "progress": False}
    assert tasks.evaluate(copy, **judge)["gallery_size"] == 64
    small = tasks.evaluate(copy, split="validation", **judge)
    assert small["gallery_size"] == small["n_subjects"] == 36
    assert small["chance"]["recall@1"] == pytest.approx(1 / 36)
    assert "among 36 candidates, chance .028" in small["verdict"]
    with pytest.raises(UserError, match=r"gallery_size=64.*validation set \(36 people\)"):
        tasks.evaluate(copy, split="validation", gallery_size=64, **judge)


def test_more_variants_than_the_closed_form_handles_cost_one_comparison_not_the_judgement(
    cohort, tmp_path, monkeypatch, capsys
):
    plain = {"genetics": GeneSide(columns="embeddings"), "alignment": AlignmentSettings(train="none")}
    fitted = tasks.fit(cohort, run=tmp_path / "run", progress=False, **plain)
    monkeypatch.setattr("genebrain.alignment.closed_form.fit.memory_budget", lambda: 1e3)
    found = tasks.evaluate(fitted, n_bootstrap=20, n_permutations=20, comparisons=["dosage"], progress=False)
    assert found["baselines"] == {"dosage": None}
    assert re.search(
        r"left out: the comparison dosage \(\d+ gene columns of \d+ people from 4 windows need", capsys.readouterr().err
    )


def test_a_grid_has_one_gallery_and_refuses_one_that_does_not_fit_before_any_fit(cohort, run, tmp_path):
    arms = {"mean": {"pooling": {"chunk": "mean"}}}
    small = SplitSettings(test=0.1)
    with pytest.raises(UserError, match=r"arm 'mean': gallery_size=64.*test set of seed 0 \(36 people\)"):
        tasks.ablate(cohort, {"arms": arms}, run=tmp_path / "grid", seeds=(0,), gallery_size=64, split=small)
    assert not (tmp_path / "grid").exists()
    table = tasks.ablate(cohort, {"arms": arms}, run=tmp_path / "grid", seeds=(0,), split=small, jobs=1, brain=LAG0)
    assert pd.read_csv(table)["gallery_size"].tolist() == [36]
    assert "among 36 candidates (chance 0.028)" in (tmp_path / "grid" / "comparison.md").read_text()


def test_a_read_only_run_folder_and_a_missing_run_are_said_so(tmp_path, cohort):
    with pytest.raises(UserError, match="not a run folder"):
        tasks.evaluate(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another run="):
        tasks.fit(cohort, run=tmp_path / "file" / "run", progress=False)


def test_broken_scans_leave_their_people_out_and_are_counted(cohort, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(cohort.parent, broken, ignore=shutil.ignore_patterns("store"))
    scans = pd.read_csv(broken / "scans.tsv", sep="\t", dtype=str)
    np.save(broken / scans["path"][0], np.full((150, 30), np.nan, np.float32))
    (broken / scans["path"][1]).write_bytes(b"not an array")
    fitted = tasks.fit(
        broken / "cohort.yaml", run=tmp_path / "run", alignment=AlignmentSettings(train="none"), progress=False
    )
    funnel = json.loads((fitted / "funnel.json").read_text())
    assert funnel["dropped"]["no usable scan"] == 2
    assert funnel["ingest"]["quarantine"]["n"] == 2
    found = tasks.evaluate(fitted, gallery_size=32, n_bootstrap=50, n_permutations=50, comparisons=(), progress=False)
    assert sum(found["splits"].values()) == 358


def test_the_command_line_does_the_same_as_the_functions(cohort, tmp_path, capsys):
    plan = tmp_path / "plan.json"
    assert main(["plan", f"cohort.path={cohort}", f"out={plan}"]) == 0
    predicted = json.loads(plan.read_text())
    assert predicted["chunks_unique"] < predicted["chunks_naive"]
    assert main(["check", f"cohort.path={cohort}"]) == 0
    assert "with both" in capsys.readouterr().out
    assert main(["power", "n_train=133", "n_test=67"]) == 0
    assert "%" in capsys.readouterr().out
    done = genebrain("fit", "cohort.path=nowhere.yaml", f"run={tmp_path / 'r'}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
