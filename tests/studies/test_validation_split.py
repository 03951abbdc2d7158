"""Judging on validation people: never by a model that has learned from them, never to be taken for the test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from genebrain import stored_settings, tasks
from genebrain.alignment.closed_form.fit import fit_closed_form
from genebrain.alignment.model import AlignmentModel
from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.common.types import UserError
from genebrain.evaluation.nulls import permutation_test
from genebrain.evaluation.retrieval import chance, evaluate_retrieval
from genebrain.evaluation.verdict import judge
from genebrain.runs.recipe import fit_recipe
from genebrain.runs.train_only import fit_on_train
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.people import Subjects
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from tests.directed_cohort import directed
from tests.pictures import blank_pictures  # noqa: F401 - for the whole file

COHORTS, MOST = 20, 3
"""Of 20 cohorts without an effect, each found with probability .05, more than 3 are found once in 63 times."""
JUDGE = {"n_bootstrap": 40, "n_permutations": 40, "progress": False}
NO_EFFECT = ("chance", "reversed")


def test_the_bound_of_the_null_law():
    assert 1 / 64 < binom.sf(MOST, COHORTS, 0.05) < 1 / 62


def found(fitted: AlignmentModel, people: Subjects, rows: np.ndarray) -> bool:
    """Whether the verdict on these people is anything else than chance."""
    gene, brain = fitted.vectors(people, rows)
    size, everybody = len(rows), np.arange(len(rows))
    retrieval = evaluate_retrieval(
        gene, brain, families=everybody, genome_id=everybody, gallery_size=size, n_bootstrap=50
    )
    test = permutation_test(gene, brain, families=everybody, strata=None, n=99)
    metrics = {"retrieval": retrieval, "permutation": test, "gallery_size": size, "chance": chance(size)}
    return judge(metrics).kind not in NO_EFFECT


def test_no_effect_is_found_in_either_split_where_there_is_none():
    settings, counts = AlignmentSettings(train="none"), np.zeros(3, int)
    rows = np.arange(120)
    train, validation, test = rows[:60], rows[60:90], rows[90:]
    for seed in range(COHORTS):
        rng = np.random.default_rng(seed)
        blocks = [rng.normal(size=(120, 12)).astype(np.float32) for _ in range(2)]
        people = Subjects(blocks, {n: rng.normal(size=(120, 20)).astype(np.float32) for n in "ab"}, rows, rows)
        whole, alone = (
            AlignmentModel(settings, fit_recipe(people, who, settings, seed, progress=False))
            for who in (np.r_[train, validation], train)
        )
        counts += [found(whole, people, test), found(alone, people, validation), found(whole, people, validation)]
    assert counts[0] <= MOST, "test people"
    assert counts[1] <= MOST, "validation people, by a model fitted without them"
    assert counts[2] > MOST, "by a model that has learned from them: the law would see it"


@pytest.mark.slow
def test_no_effect_is_found_in_null_cohorts(tmp_path):
    kinds = {"test": 0, "validation": 0}
    for seed in range(COHORTS):
        cohort = simulate_cohort(
            tmp_path / str(seed), "null", 120, seed=seed, n_windows=4, window_bp=10_000, n_frames=80, n_parcels=16,
            n_genomewide=100,
        )  # fmt: skip
        run = tasks.fit(cohort, run=tmp_path / f"r{seed}", alignment=AlignmentSettings(train="none"), progress=False)
        for split in kinds:
            judged = tasks.evaluate(
                run, split=split, n_bootstrap=100, n_permutations=199, comparisons=(), progress=False
            )
            kinds[split] += judge(judged).kind not in NO_EFFECT
        shutil.rmtree(tmp_path / str(seed))
    assert max(kinds.values()) <= MOST, kinds


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return directed(tmp_path_factory.mktemp("cohort") / "c", n=90)


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "fit"
    side = ConnectomeSide(kind="innovation")
    tasks.fit(cohort, run=folder, brain=side, alignment=AlignmentSettings(train="none"), progress=False)
    tasks.evaluate(folder, **JUDGE, comparisons=("ridge_cca",))
    return folder


def test_nothing_of_validation_people_reaches_the_model_that_they_judge(run, cohort):
    """Other scans for the validation people change their own features and nothing that was fitted."""
    experiment = stored_settings.load(run / "config.yaml")["experiment"]
    fitted, subjects, split = fit_on_train(run, experiment, Workspace(cohort, progress=False))
    closed = fit_closed_form(
        [block[split.train] for block in subjects.blocks],
        {name: values[split.train] for name, values in subjects.brain.items()},
        subjects.family[split.train],
        seed=experiment.seed,
        settings=None,
    )
    assert fitted.brain_name == closed.chosen["brain"]
    moved = Workspace(cohort, progress=False)
    inputs = moved.brain_inputs(experiment.brain, split.train)
    for values in inputs[:2]:
        values[np.r_[split.validation, split.test]] *= 7
    other, features, _ = fit_on_train(run, experiment, moved)
    for name in ("coefficients", "brain_mean", "brain_map", "predictive"):
        one, same = getattr(fitted.closed_form, name), getattr(other.closed_form, name)
        assert one.tobytes() == same.tobytes(), name
    chosen = fitted.brain_name
    assert np.abs(features.brain[chosen][split.validation] - subjects.brain[chosen][split.validation]).max() > 0.1


def test_each_split_has_files_and_words_of_its_own(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    test = (copy / "metrics.json").read_bytes()
    named = ("ridge_cca", "textbook", "residualised")
    judged = tasks.evaluate(copy, split="validation", comparisons=named, **{**JUDGE, "progress": True})
    assert capsys.readouterr().out.endswith(f"genebrain report run={copy} split=validation\n")
    assert (copy / "metrics.json").read_bytes() == test
    assert json.loads((copy / "metrics.validation.json").read_text()) == judged
    assert judged["split"] == "validation"
    assert judged["n_subjects"] == judged["splits"]["validation"] == 9
    assert judged["fitted_on"] == {"parts": "train", "people": judged["splits"]["train"]}
    assert judged["baselines"]["textbook"] is None
    assert judged["verdict"].startswith("On validation people")
    assert "9 validation people, by a model fitted on 51 train people alone" in judged["verdict"]
    assert json.loads(test)["verdict"].endswith("Judged on 30 test people.")
    figures = {path.name for path in (copy / "figures").iterdir()}
    assert {path.name for path in (copy / "figures.validation").iterdir()} <= figures
    page = tasks.report(copy, split="validation").read_text()
    assert tasks.report(copy).name == "report.html"
    for words in ("(validation people)</title>", "<span>validation subjects", "On validation people: "):
        assert words in page
        assert words not in (copy / "report.html").read_text()
    assert "test subjects" not in page


def test_another_question_never_takes_the_place_of_an_answer(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    before = (copy / "metrics.json").read_text()
    asked = dict(JUDGE, progress=False, comparisons=("ridge_cca",))
    tasks.evaluate(copy, gallery_size=8, **asked)
    (kept,) = copy.glob("metrics.*.json")
    assert kept.read_text() == before
    assert f"now {kept.name}" in capsys.readouterr().err
    assert json.loads((copy / "metrics.json").read_text())["gallery_size"] == 8
    tasks.evaluate(copy, gallery_size=8, **asked)
    assert list(copy.glob("metrics.*.json")) == [kept]


def test_runs_that_validation_people_cannot_judge_say_why(cohort, run, tmp_path):
    quick = TrainerSettings(max_epochs=2, patience=2, loggers=())
    textbook = AlignmentSettings(start="random", train="full", score="cosine")
    fitted = tasks.fit(cohort, run=tmp_path / "random", alignment=textbook, trainer=quick, progress=False)
    with pytest.raises(UserError, match=r"until its 9 validation people were matched best.*split=test"):
        tasks.evaluate(fitted, split="validation", **JUDGE)
    copy = shutil.copytree(run, tmp_path / "run")
    with pytest.raises(UserError, match=r"no metrics\.validation\.json in .*split=validation"):
        tasks.report(copy, split="validation")
    (copy / "checksums.json").unlink()  # as before there were any
    metrics = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps(metrics | {"split": "validation"}))
    with pytest.raises(UserError, match=r"is about validation people; make it anew"):
        tasks.report(copy)
    split = json.loads((copy / "split.json").read_text())
    everybody = sorted(split["train"] + split["validation"])
    (copy / "split.json").write_text(json.dumps(split | {"train": everybody, "validation": []}))
    with pytest.raises(UserError, match="has no validation people"):
        tasks.evaluate(copy, split="validation", **JUDGE)


def test_trained_towers_are_not_judged_by_whom_they_were_stopped_by(cohort, tmp_path, monkeypatch, capsys):
    told = {"validation_people": 9, "gallery_size": 9, "validation_recall_start": 0.1, "validation_recall_trained": 0.2,
            "best_epoch": 1, "gain": 0.1, "gain_standard_error": 0.01}  # fmt: skip
    monkeypatch.setattr("genebrain.runs.recipe._approve", lambda *_: {"approved": True, **told})
    quick = TrainerSettings(max_epochs=2, patience=2, loggers=(), learning_rate=1e-2)
    run = tasks.fit(cohort, run=tmp_path / "run", trainer=quick, progress=False)
    if json.loads((run / "checkpoints" / "model.json").read_text())["kept"] != "trained":
        pytest.skip("the closed form finds nothing here")
    judged = tasks.evaluate(run, split="validation", comparisons=(), **JUDGE)
    assert "split=validation judges the closed form alone" in capsys.readouterr().err
    assert judged["model"]["kept"] == "closed_form"
    assert set(judged["model"]["arms"]) == {"closed_form", "embeddings_alone", "dosages_alone"}
    assert judged["retrieval"]["mean"] == judged["model"]["arms"]["closed_form"]
