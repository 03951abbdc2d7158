"""``fit report=true``: one command to a page, with the numbers of three."""

from __future__ import annotations

import json

import pytest

import genebrain
from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.cli import main
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.training import collectives
from tests.studies.test_run_table import people

CLOSED = AlignmentSettings(train="none")


@pytest.fixture
def given() -> dict:
    return {**people(150), "alignment": CLOSED, "progress": False}


def test_the_numbers_are_those_of_three_commands(given, tmp_path):
    at_once = genebrain.fit(**given, run=tmp_path / "a", report=True)
    assert (at_once / "report.html").stat().st_size > 10_000
    apart = genebrain.fit(**given, run=tmp_path / "b")
    assert not (apart / "metrics.json").exists()
    tasks.evaluate(apart, progress=False)
    found, wanted = (json.loads((run / "metrics.json").read_text()) for run in (at_once, apart))
    for name in ("retrieval", "baselines", "permutation", "verdict", "n_subjects"):
        assert found[name] == wanted[name], name


def test_all_folds_are_judged_together(given, tmp_path):
    run = genebrain.fit(**given, run=tmp_path / "r", split=SplitSettings(folds=2), report=True)
    assert json.loads((run / "metrics.json").read_text())["n_subjects"] == 150
    assert (run / "report.html").is_file()
    assert not (run / "fold-0" / "report.html").exists()


def test_several_processes_leave_the_judgement_to_a_command_of_its_own(given, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collectives, "world_size", lambda: 2)
    run = genebrain.fit(**given | {"progress": True}, run=tmp_path / "r", report=True)
    assert not (run / "metrics.json").exists()
    assert f"judge it with: genebrain evaluate run={run}" in capsys.readouterr().out


def test_another_word_than_true_or_false_is_refused_before_work(tmp_path, capsys):
    assert main(["fit", "report=page", f"run={tmp_path / 'r'}"]) == 2
    assert "report=page: true or false is wanted" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
