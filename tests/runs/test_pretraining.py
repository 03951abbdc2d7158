"""Pretraining on a cohort: test people are never looked at, a killed run ends like an undisturbed one, it learns."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from genebrain import config, tasks
from genebrain.brain.images.cleaning import Cleaning
from genebrain.brain.pretraining.data import VALIDATION, LookDataset, LookModule
from genebrain.brain.pretraining.settings import ObjectiveSettings
from genebrain.brain.pretraining.trainer import PretrainerSettings
from genebrain.brain.store.store import ScanStore
from genebrain.brain.windows.random_windows import RandomWindows
from genebrain.cohort.splits.splits import load_split
from genebrain.common.types import UserError
from genebrain.sides.brains.seen_scans import FILE, refuse_seen
from genebrain.sides.connectome import person_scans
from genebrain.sides.scans import EncoderSide
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort

SMALL = {"n_windows": 4, "window_bp": 6000, "n_frames": 60, "n_parcels": 16, "n_genomewide": 1200}
SIDE = EncoderSide("brainlm_vit")
TRAINER = PretrainerSettings(max_epochs=4, passes=2, learning_rate=3e-3, batch_size=16, accelerator="cpu")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("cohort") / "c", n_subjects=80, seed=5, tier="families", **SMALL)


def pretrain(cohort: Path, run: Path, **changes) -> Path:
    settings = {"brain": SIDE, "trainer": TRAINER, "progress": False} | changes
    return tasks.pretrain(cohort, run=run, **settings)


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Path:
    return pretrain(cohort, tmp_path_factory.mktemp("runs") / "a")


def weights(run: Path) -> bytes:
    return (run / "encoder" / "model.safetensors").read_bytes()


def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(cohort, run, tmp_path, monkeypatch):
    from genebrain.brain.pretraining.module import PretrainModule

    step, calls = PretrainModule.training_step, []

    def killed(self, batch, batch_index):
        calls.append(batch_index)
        if self.current_epoch == 2 and batch_index == 3:
            raise SystemExit("killed")
        return step(self, batch, batch_index)

    monkeypatch.setattr(PretrainModule, "training_step", killed)
    with pytest.raises(SystemExit):
        pretrain(cohort, tmp_path / "b")
    left = {path.name for path in (tmp_path / "b" / "encoder").iterdir()}
    assert left == {"seen_scans.txt"}, "weights never lie there without the list of what they have seen"
    monkeypatch.undo()
    pretrain(cohort, tmp_path / "b")
    assert weights(tmp_path / "b") == weights(run)
    for name in ("history.csv", "pretraining.json", "split.json"):
        assert (tmp_path / "b" / name).read_bytes() == (run / name).read_bytes(), name


def test_test_people_are_never_read(cohort, tmp_path, monkeypatch):
    workspace = Workspace(cohort, progress=False)
    workspace.ingest(SIDE)
    read, original = set(), ScanStore.read

    def watched(self, key, t0=None, t1=None):
        read.add(key)
        return original(self, key, t0, t1)

    monkeypatch.setattr(ScanStore, "read", watched)
    short, side = replace(TRAINER, max_epochs=1), replace(SIDE, scaling="cohort")
    folder = pretrain(cohort, tmp_path / "run", trainer=short, brain=side)
    split = load_split(folder / "split.json", workspace.cohort)
    scans = person_scans(workspace.cohort, SIDE.scans(workspace.cohort, workspace.store))
    looked_at = {row for row, keys in enumerate(scans) if read & set(keys)}
    assert looked_at <= set(split.training.tolist())
    assert len(looked_at) > 40


def test_the_split_is_that_of_fit_and_seen_test_people_are_refused(cohort, run, tmp_path):
    workspace = Workspace(cohort, progress=False)
    workspace.ingest(SIDE)
    store = SIDE.scans(workspace.cohort, workspace.store)
    scans = person_scans(workspace.cohort, store)
    split = load_split(run / "split.json", workspace.cohort)
    from genebrain.cohort.splits.settings import SplitSettings

    same = SplitSettings().make(workspace.cohort, 0)
    assert np.array_equal(same.test, split.test)
    table = workspace.cohort.scans
    refuse_seen(run / "encoder", store, table, [key for row in split.test for key in scans[row]], "the test set")
    other = SplitSettings().make(workspace.cohort, 1)
    keys = [key for row in other.test for key in scans[row]]
    with pytest.raises(UserError, match=r"scans of the test set were seen"):
        refuse_seen(run / "encoder" / "model.safetensors", store, table, keys, "the test set")
    refuse_seen(None, store, table, list(store.index.index), "the test set")
    assert (run / "encoder" / FILE).stat().st_mode & 0o077 == 0
    # The same scans behind another cleaning are other numbers, and still the same scans.
    cleaned = replace(SIDE, cleaning=Cleaning(detrend=True))
    cleaned.ingest(workspace.cohort, workspace.store, progress=False)
    again = cleaned.scans(workspace.cohort, workspace.store)
    assert set(again.index["sha256"]).isdisjoint(store.index["sha256"])
    kept = person_scans(workspace.cohort, again)
    with pytest.raises(UserError, match=r"were seen when"):
        refuse_seen(run / "encoder", again, table, [key for row in other.test for key in kept[row]], "the test set")
    refuse_seen(run / "encoder", again, table, [key for row in split.test for key in kept[row]], "the test set")
    names = workspace.cohort.table["participant_id"]
    text = "".join(path.read_text() for path in run.rglob("*.json")) + (run / "encoder" / FILE).read_text()
    assert not any(name in text for name in names if len(name) > 4)


def test_fit_refuses_test_people_whom_the_weights_have_seen(cohort, run, tmp_path):
    node = ["brain=brainlm_vit", "alignment=closed_form", f"cohort.path={cohort}", f"brain.path={run / 'encoder'}"]
    with pytest.raises(UserError, match="were seen when"):
        tasks.fit(**config.build(config.compose("fit", [*node, "seed=1", f"run={tmp_path / 'a'}"])), progress=False)
    folder = tasks.fit(**config.build(config.compose("fit", [*node, f"run={tmp_path / 'b'}"])), progress=False)
    assert "pretrained on scans of" in json.loads((folder / "provenance.json").read_text())["brain"]["weights"]


def test_the_weights_load_again_and_nothing_else_does(cohort, run):
    workspace = Workspace(cohort, progress=False)
    workspace.ingest(SIDE)
    side = replace(SIDE, path=str(run / "encoder"))
    encoder = side.build(workspace.cohort, workspace.store)
    facts = json.loads((run / "pretraining.json").read_text())["encoder"]
    assert encoder.fingerprint() == facts["fingerprint"]
    assert "pretrained on scans of" in encoder.origin
    start = SIDE.build(workspace.cohort, workspace.store)
    assert not torch.equal(encoder.encoder.vit.layernorm.weight, start.encoder.vit.layernorm.weight)
    with pytest.raises(UserError, match="brain=brainlm_vit"):
        EncoderSide("brainlm", path=str(run / "encoder")).build(workspace.cohort, workspace.store)
    damaged = load_file(run / "encoder" / "model.safetensors")
    assert sorted(damaged) == sorted(encoder.encoder.state_dict())


def test_another_experiment_in_the_folder_is_refused_and_a_finished_one_returned(cohort, run):
    before = weights(run)
    assert pretrain(cohort, run) == run
    assert weights(run) == before
    with pytest.raises(UserError, match="mask_ratio"):
        pretrain(cohort, run, objective=ObjectiveSettings(mask_ratio=0.5))


def test_looks_depend_on_pass_and_person_alone(cohort):
    workspace = Workspace(cohort, progress=False)
    workspace.ingest(SIDE)
    encoder = SIDE.build(workspace.cohort, workspace.store)
    windows = RandomWindows(SIDE.bank(encoder, workspace.cohort, workspace.store))
    dataset = LookDataset(
        windows, person_scans(workspace.cohort, SIDE.scans(workspace.cohort, workspace.store)), seed=3
    )
    together, alone = dataset[0, 5, [4, 9, 2]], dataset[0, 5, [9]]
    assert torch.equal(together["clips"][1], alone["clips"][0])
    assert not torch.equal(dataset[0, 6, [9]]["clips"], alone["clips"])
    assert together["subject"].tolist() == [4, 9, 2]
    data = LookModule(dataset, np.arange(50), np.arange(50, 57), batch_size=8, passes=3, validation_passes=2)
    sampler = data.sampler()
    sampler.set_epoch(2)
    looks = list(sampler)
    assert len(looks) == len(sampler)
    for number in (6, 7, 8):
        rows = [row for _, n, listed in looks for row in listed if n == number]
        assert len(set(rows)) == len(rows) == 48, "once per pass, but for those who fill no batch"
    halves = [data.sampler(rank, 2) for rank in (0, 1)]
    assert len(halves[0]) == len(halves[1]) == len(sampler)
    shared = [set(a[2]) & set(b[2]) for a, b in zip(*halves, strict=True)]
    assert not any(shared)
    loader = list(data.validation_loader(4))
    assert [len(batch["clips"]) for batch in loader] == [4, 3, 4, 3]
    assert loader[0]["subject"].tolist() == [50, 51, 52, 53]
    assert VALIDATION == 1


def test_scans_without_room_are_counted(cohort, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(cohort.parent, copy, ignore=shutil.ignore_patterns("store"))
    workspace = Workspace(copy, progress=False)
    files = workspace.cohort.scans["path"]
    for path in files[workspace.cohort.scans["person"] < 5]:
        np.save(path, np.load(path)[:30])
    folder = pretrain(copy, tmp_path / "run", trainer=replace(TRAINER, max_epochs=1))
    report = json.loads((folder / "funnel.json").read_text())
    assert report["ingest"]["people_without_usable_scan"] == 5


def test_it_learns_what_predictors_without_a_model_cannot(tmp_path):
    """Waves that parcels carry with either sign: no mean and no neighbour tells them, a model can."""
    cohort = simulate_cohort(tmp_path / "c", seed=1, **{**SMALL, "n_subjects": 60, "n_frames": 80})
    rng = np.random.default_rng(0)
    sign = np.where(np.arange(16) % 2, 1, -1)
    for path in Workspace(cohort, progress=False).cohort.scans["path"]:
        wave = np.sin(2 * np.pi * (np.arange(80) / 8 + rng.random()))
        np.save(path, (wave[:, None] * sign + 0.1 * rng.normal(size=(80, 16))).astype(np.float32))
    trainer = replace(TRAINER, max_epochs=10, passes=4, learning_rate=1e-2)
    folder = pretrain(cohort, tmp_path / "run", trainer=trainer, objective=ObjectiveSettings(mask_ratio=0.5))
    report = json.loads((folder / "pretraining.json").read_text())
    assert report["loss"] < 0.5 * report["loss_at_start"]
    assert report["gain_over_start"]["ci"][0] > 0
    assert set(report["trivial"]) == {"zero", "parcel mean", "neighbouring frames", "other parcels"}
    assert report["gain_over_best_trivial"]["ci"][0] > 0
    assert "the reconstruction is better by" in report["verdict"]


def test_any_table_of_scans_will_do(cohort, tmp_path):
    listed = {"input": cohort.parent / "scans.tsv", "parcel_coordinates": cohort.parent / "parcel_coordinates.tsv"}
    short = replace(TRAINER, max_epochs=1)
    folder = tasks.pretrain(run=tmp_path / "a", brain=SIDE, trainer=short, progress=False, **listed)
    report = json.loads((folder / "pretraining.json").read_text())
    assert report["people"] == {"train": 72, "validation": 8, "without_room_for_a_window": 0}
    assert (folder / "encoder" / "model.safetensors").is_file()
    workspace = Workspace(cohort, progress=False)
    with pytest.raises(UserError, match="were seen when"):
        tasks.probe(cohort, "site", brain=replace(SIDE, path=str(folder / "encoder")), workspace=workspace)
    with pytest.raises(UserError, match="participants table"):
        tasks.pretrain(run=tmp_path / "b", brain=SIDE, probe=["age"], progress=False, **listed)


def test_the_verb_composes_and_refuses_what_has_no_weights(cohort, tmp_path):
    built = config.build(config.compose("pretrain", ["brain=brainlm_tiny", "trainer.max_epochs=3", "objective.span=4"]))
    assert built["trainer"].max_epochs == 3
    assert built["objective"].augmentation.rotation == 0.175
    from genebrain.sides.connectome import ConnectomeSide

    with pytest.raises(UserError, match="only a scan encoder"):
        tasks.pretrain(cohort, run=tmp_path, brain=ConnectomeSide())  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"max_epochs=0.*accumulate=0"):
        PretrainerSettings(max_epochs=0, accumulate=0)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="accelerator=gpu: this machine shows no CUDA GPU"):
            tasks.pretrain(cohort, run=tmp_path / "run", trainer=PretrainerSettings(accelerator="gpu"), progress=False)
        assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"mask_ratio=1.5.*temperature=0"):
        ObjectiveSettings(mask_ratio=1.5, temperature=0)
