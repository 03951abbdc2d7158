"""The command line: help for people, exit codes for scripts."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genebrain import cli, tasks
from genebrain.common.leftovers import writer
from genebrain.common.types import UserError

ROOT = Path(__file__).parent.parent


def test_overview_names_every_verb(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_every_verb_lists_its_options_with_words(verb, capsys):
    assert cli.main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert "options (key=default):" in out
    assert "#" in out
    assert f"genebrain {verb}" in out


@pytest.mark.parametrize(
    "words",
    [
        ["simulate", "out=z", "n_subjects=1000000000000"],
        ["simulate", "out=z", "n_subjects=30", "n_frames=1000000000000"],
        ["simulate", "out=z", "n_subjects=30", "window_bp=1000000000000"],
        ["power", "n_train=nan"],
        ["fit", "cohort.path=c/cohort.yaml", "trainer.learning_rate=inf"],
    ],
)
def test_absurd_sizes_are_one_sentence(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"genebrain {words[0]}: ")
    assert "Traceback" not in told
    assert not list(tmp_path.glob("z*"))


def test_help_shows_options_one_level_down(capsys):
    assert cli.main(["fit", "--help"]) == 0
    out = capsys.readouterr().out
    assert "\n    genetics.model.context=chunks " in out
    assert "_target_=" not in out  # a class is no option; words of help may name it


def test_a_mistyped_verb_gets_a_suggestion_and_exit_code_2(capsys):
    assert cli.main(["evalute", "run=x"]) == 2
    assert "did you mean 'evaluate'" in capsys.readouterr().err


def test_user_errors_are_one_message_without_traceback(capsys):
    assert cli.main(["fit", "poling=mean"]) == 2
    err = capsys.readouterr().err
    assert "did you mean 'pooling'" in err
    assert "Traceback" not in err


def test_an_interrupt_says_that_work_is_kept(monkeypatch, capsys):
    def interrupted(verb, arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_call", interrupted)
    assert cli.main(["power"]) == 130
    assert "goes on from there" in capsys.readouterr().err


def test_a_full_disk_is_one_message(monkeypatch, capsys):
    def full(verb, arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "out.json")

    monkeypatch.setattr(cli, "_call", full)
    assert cli.main(["power"]) == 2
    assert "No space left on device (out.json)" in capsys.readouterr().err


def test_a_sweep_over_several_devices_without_a_cluster_launcher_is_refused():
    with pytest.raises(UserError, match="hydra/launcher=submitit_slurm"):
        cli._run("fit", ["-m", "seed=0,1", "trainer.devices=4"])


def test_importing_the_package_is_light():
    code = "import sys, genebrain; print([m for m in ('torch', 'numpy', 'pandas', 'hydra') if m in sys.modules])"
    start = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(("extra", "words"), [(None, r"genebrain\[slurm\]"), (object(), "no srun on PATH")])
def test_a_sweep_for_slurm_says_what_is_missing_before_any_work(monkeypatch, extra, words):
    monkeypatch.setattr(cli, "find_spec", lambda name: extra)
    monkeypatch.setattr(cli.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=words):
        cli._run("fit", ["-m", "seed=1,2", "hydra/launcher=submitit_slurm"])


def test_a_sweep_over_finished_runs_asks_each_of_them_and_tells_who_failed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for one in "abc":
        (tmp_path / "runs" / one).mkdir(parents=True)
    asked = []

    def export(run, out, **_):
        asked.append((str(run), str(out)))
        if str(run) == "runs/b":
            raise UserError("runs/b is not finished")

    monkeypatch.setattr(tasks, "export", export)
    assert cli.main(["export", "-m", "run=runs/a,runs/b,runs/c", "out=v"]) == 2
    assert asked == [(f"runs/{one}", f"v/run-runs_{one}") for one in "abc"]
    assert "run-runs_b: runs/b is not finished" in capsys.readouterr().err
    assert not list((tmp_path / "runs" / "a").iterdir())
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["a", "b", "c"], "nothing is left of Hydra"


@pytest.mark.parametrize("verb", cli.READS_RUNS)
def test_a_run_that_is_not_there_is_told_before_anything_is_imported(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tasks, verb, lambda **_: pytest.fail("work has begun"))
    assert cli.main([verb, "run=runs/frist"]) == 2
    assert "there is no run folder runs/frist; make one with 'genebrain fit'" in capsys.readouterr().err


def test_a_folder_that_is_gone_is_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main(["power"]) == 2
    assert "not there any more" in capsys.readouterr().err


def test_a_page_may_be_left_before_its_end():
    for words in ([], ["--help"], ["fit", "--help"]):
        command = [sys.executable, "-m", "genebrain", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_help_of_a_verb_by_either_order(capsys):
    assert cli.main(["power", "--help"]) == 0
    page = capsys.readouterr().out
    assert cli.main(["help", "power"]) == 0
    assert capsys.readouterr().out == page


def test_what_was_typed_is_kept_in_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "_call", lambda verb, arguments: None)
    run = tmp_path / "a run"
    run.mkdir()
    (run / f".commands.log.{writer().partition('-')[0]}-{2**22 + 1}-01234567.tmp").touch()  # of a killed process
    assert cli.main(["fit", f"run={run}", "seed=3"]) == 0
    assert [path.name for path in run.iterdir()] == ["commands.log"]
    assert cli.main(["evaluate", f"run={run}", f"out={tmp_path}", "cohort.path=B/cohort.yaml"]) == 0  # not judged here
    assert cli.main(["report", f"run={run}"]) == 0
    first, second = (run / "commands.log").read_text().splitlines()
    assert first.endswith(f"Z genebrain fit 'run={run}' seed=3")
    assert second.endswith(f"Z genebrain report 'run={run}'")


def test_a_refused_command_leaves_nothing(tmp_path, monkeypatch):
    def refused(verb, arguments):
        raise UserError("no")

    monkeypatch.setattr(cli, "_call", refused)
    assert cli.main(["fit", f"run={tmp_path}"]) == 2
    assert not (tmp_path / "commands.log").exists()


def test_the_completion_of_the_readme_completes_verbs():
    (line,) = [one for one in (ROOT / "README.md").read_text().splitlines() if one.startswith("complete ")]
    verbs = line.partition('"')[2].rpartition('"')[0]
    code = f'genebrain() {{ "{sys.executable}" -m genebrain "$@"; }}\n{line}\ncompgen -W "{verbs}" embed'
    done = subprocess.run(["bash", "-ec", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == [verb for verb in cli.VERBS if verb.startswith("embed")]
