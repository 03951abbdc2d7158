"""Damage to any file of a run or a store has two outcomes: the right numbers, or a sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from genebrain import stored_settings, tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.brain.store import store as scan_store
from genebrain.common.checksums import verify_run
from genebrain.common.types import UserError
from genebrain.runs.fit import load_fit
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from tests.runs.damaging import damage

SMALL = {"n_windows": 2, "window_bp": 4000, "n_contigs": 2, "n_frames": 60, "n_parcels": 12, "n_genomewide": 50}
MODEL = {"k": 2, "n_active": 6}
JUDGE = {"n_bootstrap": 20, "n_permutations": 20, "comparisons": (), "progress": False}
QUICK_SIDE = ConnectomeSide("lag0", components=("all",))
FIT = {"alignment": AlignmentSettings(train="none"), "brain": QUICK_SIDE, "progress": False}
UNIMPORTANT = (".lock", ".working", "cost.json", ".html", ".png")


@dataclass
class Finished:
    """A finished run with its cohort, store and results."""

    cohort: Path
    run: Path
    store: Path
    results: dict
    numbers: bytes = b""

    def copy(self, folder: Path) -> Finished:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.run, folder / "run")
        shutil.copytree(self.store, folder / "store")
        return Finished(self.cohort, folder / "run", folder / "store", self.results, self.numbers)

    def workspace(self) -> Workspace:
        """As in a process that has read nothing yet."""
        scan_store._COMPARED.clear()
        return Workspace(self.cohort, self.store, progress=False)

    def judged(self) -> dict:
        return results(tasks.evaluate(self.run, workspace=self.workspace(), **JUDGE))

    def vectors(self) -> bytes:
        """What everything that a judgement says is computed from, for everybody."""
        verify_run(self.run)
        experiment = stored_settings.load(self.run / "config.yaml")["experiment"]
        fitted, subjects, split = load_fit(self.run, experiment, self.workspace())
        rows = np.concatenate([split.train, split.validation, split.test])
        return b"".join(side.tobytes() for side in fitted.vectors(subjects, rows))

    def files(self) -> list[Path]:
        found = [p for folder in (self.run, self.store) for p in sorted(folder.rglob("*")) if p.is_file()]
        return [p for p in found if not p.name.endswith(UNIMPORTANT)]


def results(metrics: dict) -> dict:
    return json.loads(json.dumps({name: value for name, value in metrics.items() if name != "cost"}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Finished:
    base = tmp_path_factory.mktemp("finished")
    cohort = simulate_cohort(base / "c", n_subjects=40, seed=5, **SMALL, **MODEL)
    tasks.fit(cohort, run=base / "run", store=base / "store", **FIT)
    found = Finished(cohort, base / "run", base / "store", {})
    found.results, found.numbers = found.judged(), found.vectors()
    return found


def read_or_told(case: Finished, what: str) -> bool:
    """Whether damage was told; otherwise the numbers are right."""
    try:
        found = case.vectors()
    except UserError:
        return True
    assert found == case.numbers, f"{what}: other numbers, and nothing was said"
    return False


def fuzzed(finished: Finished, tmp_path: Path, seed: int, rounds: int) -> int:
    rng, told = np.random.default_rng(seed), 0
    for number in range(rounds):
        case = finished.copy(tmp_path / "case")
        files = case.files()
        # Many files of a store are scans: every kind of file has its turn.
        kinds = sorted({(p.suffix, p.parent.parent.name) for p in files})
        kind = kinds[number % len(kinds)]
        of_kind = [p for p in files if (p.suffix, p.parent.parent.name) == kind]
        path = of_kind[int(rng.integers(len(of_kind)))]
        what = f"{path.relative_to(tmp_path)}: {damage(path, rng)}"
        told += read_or_told(case, what)
    return told


def test_forty_kinds_of_damage(finished, tmp_path):
    assert fuzzed(finished, tmp_path, seed=1, rounds=40) > 20


@pytest.mark.slow
def test_two_thousand_kinds_of_damage(finished, tmp_path):
    assert fuzzed(finished, tmp_path, seed=2, rounds=2000) > 1000


@pytest.mark.parametrize(
    "pattern",
    ["config.yaml", "split.json", "history.csv", "funnel.json", "provenance.json", "settings.json", "contents.json",
     "checksums.json", "checkpoints/model.json", "checkpoints/closed_form.safetensors",
     "checkpoints/brain_features.safetensors"],
)  # fmt: skip
@pytest.mark.parametrize("way", ["cut", "one digit", "gone"])
def test_damaged_files_of_a_run_are_named(finished, tmp_path, pattern, way):
    case = finished.copy(tmp_path / "case")
    path = case.run / pattern
    content = bytearray(path.read_bytes())
    if way == "gone":
        path.unlink()
    elif way == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    if pattern == "checksums.json" and way != "cut":
        read_or_told(case, pattern)  # a lost list is a note, a changed one a false alarm at worst
        return
    if pattern == "provenance.json" and way == "gone":
        with pytest.raises(UserError, match=r"provenance\.json \(missing\)|not finished"):
            case.judged()
        return
    with pytest.raises(UserError, match=path.name.replace(".", r"\.")):
        case.judged()


def test_a_report_of_damaged_metrics_is_refused_and_made_anew(finished, tmp_path):
    case = finished.copy(tmp_path / "case")
    path = case.run / "metrics.json"
    path.write_text(path.read_text().replace("0.", "0.9", 1))
    with pytest.raises(UserError, match=r"metrics\.json \(changed\)"):
        tasks.report(case.run)
    assert case.judged() == finished.results
    assert tasks.report(case.run).is_file()


def test_a_run_knows_what_it_was_fitted_on(finished, tmp_path, capsys):
    shutil.copytree(finished.cohort.parent, tmp_path / "c")
    cohort, run = tmp_path / "c" / "cohort.yaml", tmp_path / "run"
    tasks.fit(cohort, run=run, **FIT)
    tasks.fit(cohort, run=run, alignment=FIT["alignment"], brain=FIT["brain"])
    assert "finished before" in capsys.readouterr().out
    rng = np.random.default_rng(0)
    for path in (tmp_path / "c" / "scans").glob("*.npy"):
        scan = np.load(path)
        np.save(path, rng.standard_normal(scan.shape).astype(scan.dtype))
    for again in (lambda: tasks.fit(cohort, run=run, **FIT), lambda: tasks.evaluate(run, **JUDGE)):
        with pytest.raises(UserError, match=r"the scans of the cohort are not those that .* was fitted on"):
            again()


def test_a_run_without_checksums_is_read_with_one_note(finished, tmp_path, capsys):
    case = finished.copy(tmp_path / "case")
    (case.run / "checksums.json").unlink()
    (case.run / "contents.json").unlink()
    assert case.judged() == finished.results
    assert capsys.readouterr().err.count("has no checksums.json") == 1


def test_nothing_is_written_through_links(finished, tmp_path):
    case = finished.copy(tmp_path / "case")
    victim = tmp_path / "victim"
    victim.mkdir()
    for place in (case.run / "figures", case.run / "checkpoints" / "comparisons"):
        shutil.rmtree(place, ignore_errors=True)
        place.symlink_to(victim)
        with pytest.raises(UserError, match=f"contains links .*{place.name}.*nothing is written through links"):
            case.judged()
        place.unlink()
    (case.store / "scans_of_others").symlink_to(victim)
    with pytest.raises(UserError, match="store contains links"):
        case.judged()
    assert not list(victim.iterdir())


def test_a_moved_run_and_a_moved_cohort_are_found(finished, tmp_path, monkeypatch):
    together = tmp_path / "together"
    shutil.copytree(finished.cohort.parent, together / "c")
    monkeypatch.chdir(together)
    tasks.fit("c/cohort.yaml", run="runs/r", **FIT)
    kept = (together / "runs" / "r" / "config.yaml").read_text()
    assert "cohort: ../../c/cohort.yaml" in kept
    assert str(tmp_path) not in kept
    together.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    run = Path("elsewhere/runs/r")
    tasks.evaluate(run, **JUDGE)
    (tmp_path / "elsewhere" / "c").rename(tmp_path / "d")
    with pytest.raises(UserError, match=r"the cohort of .* is not at .*cohort\.path="):
        tasks.evaluate(run, **JUDGE)
    tasks.evaluate(run, cohort="d/cohort.yaml", **JUDGE)


def test_weights_are_private_and_name_nobody(tmp_path, monkeypatch):
    home = tmp_path / "alice.smith"
    home.mkdir()
    cohort = simulate_cohort(home / "c", n_subjects=60, seed=5, **SMALL, **MODEL)
    run = tasks.fit(
        cohort, run=home / "run", alignment=AlignmentSettings(start="random", train="full", score="cosine"),
        trainer=tasks.alignment.TrainerSettings(max_epochs=2, patience=2), progress=False,
    )  # fmt: skip
    for path in [p for p in run.rglob("*") if p.is_file()]:
        assert b"alice.smith" not in path.read_bytes(), path
        if path.suffix in (".safetensors", ".ckpt"):
            assert path.stat().st_mode & 0o077 == 0, path
    for path in (cohort.parent / "store" / "chunk_index").rglob("*.*"):
        assert path.stat().st_mode & 0o077 == 0, path
