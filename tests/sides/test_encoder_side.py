"""Scan encoders as the brain side of a cohort: once per scan, fitted on training people, whole path of a run."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from genebrain import config, tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.brain.encoders import build as encoders
from genebrain.brain.encoders import cache as encoder_shelf
from genebrain.brain.encoders import embed as frozen_embeddings
from genebrain.brain.encoders import files as encoder_files
from genebrain.brain.encoders import preflight as before_reading
from genebrain.brain.encoders import reading as encoder_scans
from genebrain.brain.encoders.embed import embed_windows, embeddings_folder
from genebrain.brain.windows.policy import WindowPolicy
from genebrain.common.types import UserError
from genebrain.sides import person_vectors
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.embedding_feature import EmbeddingFeature
from genebrain.sides.scans import EncoderSide
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort

SMALL = {"n_windows": 4, "window_bp": 6000, "n_frames": 60, "n_parcels": 80, "n_genomewide": 200}
SIDE = EncoderSide("brainlm_vit", components=(4, "all"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("cohort") / "c", n_subjects=60, seed=5, tier="two_session", **SMALL)


@pytest.fixture(scope="module")
def workspace(cohort) -> Workspace:
    return Workspace(cohort, progress=False)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    settings = {**SMALL, "n_parcels": 40, "n_frames": 40, "scans": "nifti"}
    return simulate_cohort(tmp_path_factory.mktemp("images") / "c", n_subjects=20, seed=6, **settings)


def test_a_person_is_the_mean_over_windows_then_over_scans(workspace):
    (people,) = workspace.brain_inputs(SIDE, np.arange(3))
    encoder = SIDE.build(workspace.cohort, workspace.store)
    bank = SIDE.bank(encoder, workspace.cohort, workspace.store)
    scans = SIDE.scans(workspace.cohort, workspace.store).keys(workspace.cohort.scans)
    own = [key for person, key in zip(workspace.cohort.scans["person"], scans, strict=True) if person == 7]
    assert len(own) == 2
    with torch.no_grad():
        vectors = [encoder(torch.from_numpy(bank.stack(key, bank.windows(key)))).mean(dim=0) for key in own]
    np.testing.assert_allclose(people[7], torch.stack(vectors).mean(dim=0).numpy(), rtol=1e-4, atol=1e-6)


def test_an_encoder_never_runs_twice_on_the_same_scan(workspace, tmp_path, monkeypatch):
    workspace.brain_inputs(SIDE, np.arange(3))
    encoder = SIDE.build(workspace.cohort, workspace.store)
    bank = SIDE.bank(encoder, workspace.cohort, workspace.store)
    keys = [key for key in SIDE.scans(workspace.cohort, workspace.store).keys(workspace.cohort.scans) if key]
    planned = bank.plan(keys)
    folder = embeddings_folder(workspace.store / "scan_embeddings", encoder, bank)
    first = embed_windows(encoder, bank, planned, folder, progress=False)
    before = {p: p.read_bytes() for p in folder.rglob("*.npy")}
    assert len(before) == len(keys)
    lost = sorted(before)[:5]
    for path in lost:
        path.unlink()
    calls = []
    forward = type(encoder).forward
    monkeypatch.setattr(type(encoder), "forward", lambda self, x: calls.append(len(x)) or forward(self, x))
    again = embed_windows(encoder, bank, planned, folder, progress=False)
    assert len(calls) == 5, "only what is missing is computed"
    assert {p: p.read_bytes() for p in folder.rglob("*.npy")} == before
    assert all(np.array_equal(first[key], again[key]) for key in keys)
    assert all(p.stat().st_mode & 0o077 == 0 for p in before)


def test_statistics_come_from_the_named_people_only(workspace):
    rows = np.arange(30)
    fitted, values = workspace.brain_features(SIDE, rows)
    (embeddings,) = workspace.brain_inputs(SIDE, rows)
    assert set(fitted) == {"embedding", "embedding-4"}
    np.testing.assert_allclose(values["embedding"][rows].mean(axis=0), 0, atol=1e-5)
    assert values["embedding-4"].shape == (60, 4)
    np.testing.assert_allclose(np.cov(values["embedding-4"][rows].T, bias=True), np.eye(4), atol=1e-4)
    changed = embeddings.copy()
    changed[30:] *= 100
    for name, feature in SIDE.fit((changed,), rows).items():
        np.testing.assert_array_equal(feature.transform(embeddings), values[name])
        restored = SIDE.restore(name, feature.state())
        np.testing.assert_array_equal(restored.transform(embeddings), values[name])


def test_connectivity_of_tokens_is_mapped_at_the_mean_of_the_named_people_only(workspace):
    side, rows = EncoderSide("brainlm", size="tiny", summary="connectivity", components=(4, "all")), np.arange(30)
    _, values = workspace.brain_features(side, rows)
    (vectors,) = workspace.brain_inputs(side, rows)
    assert vectors.shape == (60, 80 * 81 // 2)
    assert {name: value.shape[1] for name, value in values.items()} == {"connectivity-4": 10, "connectivity-80": 3240}
    changed = np.asarray(vectors)
    changed[30:] *= 100
    for name, feature in side.fit((changed,), rows).items():
        np.testing.assert_array_equal(feature.transform(vectors), values[name])
        np.testing.assert_array_equal(side.restore(name, feature.state()).transform(vectors), values[name])
    with pytest.raises(UserError, match=r"summary=connectivity with brain.tuning=full.*tuning=frozen"):
        EncoderSide("brainlm", summary="connectivity", tuning="full")


def test_scaling_by_the_cohort_looks_at_training_scans_only(workspace):
    side = EncoderSide("brainlm_vit", scaling="cohort")
    (a,), (b,) = (workspace.brain_inputs(side, rows) for rows in (np.arange(20), np.arange(20, 40)))
    (plain,) = workspace.brain_inputs(SIDE, np.arange(20))
    assert np.abs(a - b).max() > 1e-6
    assert np.abs(a - plain).max() > 1e-6
    assert "waits_for" in workspace.embed_scans(side)


def test_constant_columns_vanish_and_equal_embeddings_are_refused():
    rows = np.random.default_rng(0).normal(size=(20, 3)) * [1, 1e-9, 1] + [0, 5, 2]
    assert EmbeddingFeature().fit(rows).transform(rows)[:, 1].tolist() == [0.0] * 20
    with pytest.raises(UserError, match="tells nobody apart"):
        EmbeddingFeature().fit(np.ones((5, 3)))


def test_fit_and_judge_with_an_encoder_leave_the_truth_about_its_weights(cohort, tmp_path, capsys):
    node = ["brain=brainlm_vit", "alignment=closed_form", f"cohort.path={cohort}", f"run={tmp_path / 'run'}"]
    tasks.fit(**config.build(config.compose("fit", node)), progress=False)
    assert "random weights (seed 0): a control, not a published model" in capsys.readouterr().out
    brain = json.loads((tmp_path / "run" / "provenance.json").read_text())["brain"]
    assert brain["weights"] == "random weights (seed 0): a control, not a published model"
    assert brain["tuning"] == "frozen"
    metrics = tasks.evaluate(
        tmp_path / "run", gallery_size=8, n_bootstrap=20, n_permutations=20, comparisons=["ridge_cca"], progress=False
    )
    assert 0 <= metrics["retrieval"]["mean"]["recall@1"]["value"] <= 1


def test_people_without_a_window_are_left_out_and_counted(cohort, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(cohort.parent, copy, ignore=shutil.ignore_patterns("store"))
    workspace = Workspace(copy, progress=False)
    with pytest.raises(
        UserError, match=r"windows of 395 frames; .* takes 1 to 40 .*: choose brain\.windows\.seconds=29\.4"
    ):
        workspace.ingest(EncoderSide("brainlm_vit", windows=WindowPolicy(seconds=290)))
    scans = workspace.cohort.scans
    for path in scans["path"][scans["person"].isin([3, 4])]:
        np.save(path, np.load(path)[:30])
    report = workspace.ingest(SIDE)
    assert report["people_without_usable_scan"] == 2
    assert report["windows"]["scans_without_a_window"] == 4
    assert len(workspace.cohort) == 58
    assert len(workspace.brain_inputs(SIDE, np.arange(3))[0]) == 58
    told = "".join(capsys.readouterr())
    assert "left out: 2 people" in told
    assert "4 scans: no whole window: it has 40 frames (29.4 s), the longest stretch 30 frames (22.05 s)" in told


def test_scans_without_a_time_step_are_read_in_frames_and_it_is_said(cohort, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(cohort.parent, copy, ignore=shutil.ignore_patterns("store"))
    table = pd.read_csv(copy / "scans.tsv", sep="\t").assign(tr="n/a")
    table.to_csv(copy / "scans.tsv", sep="\t", index=False)
    tasks.check(copy, brain=SIDE, most_scans=2)
    assert "120 of 120 scans have no known time step" in capsys.readouterr().out
    tasks.fit(copy, run=tmp_path / "run", brain=SIDE, alignment=AlignmentSettings(train="none"), progress=False)
    words = "no scan states its time step: windows are 40 frames each, however long that is"
    assert words in capsys.readouterr().out
    plain, stated = (
        tasks.embed_scans(
            folder / "scans.tsv", tmp_path / folder.name, SIDE, progress=False,
            parcel_coordinates=folder / "parcel_coordinates.tsv",
        )
        for folder in (copy, cohort.parent)
    )  # fmt: skip
    assert words in capsys.readouterr().out
    assert plain["embedded"] == stated["embedded"]
    np.testing.assert_array_equal(
        np.load(tmp_path / copy.name / "scans.npy"), np.load(tmp_path / cohort.parent.name / "scans.npy")
    )
    with pytest.raises(UserError, match="1 problem must be mended"):
        tasks.check(copy, brain=EncoderSide("brainlm_vit", size="published"), most_scans=2)


def test_connectomes_and_encoders_meet_in_one_ablation(cohort, tmp_path):
    arms = {
        "connectome": {"brain": ConnectomeSide(kind="lag0", components=(4,))},
        "encoder": {"brain": SIDE},
        "other windows": {"brain": {"windows": WindowPolicy(most=1)}},
    }
    csv = tasks.ablate(
        cohort, {"arms": arms}, run=tmp_path, seeds=[0], gallery_size=8, brain=SIDE, jobs=1,
        alignment=AlignmentSettings(train="none"),
    )  # fmt: skip
    text = csv.read_text()
    assert all(arm in text for arm in arms)
    assert "Error" not in text


def test_wrong_settings_are_listed_together():
    with pytest.raises(UserError) as caught:
        EncoderSide("swift", scaling="cohort", components=[1], aggregate="sum", tuning="all", batch=0)
    for part in ("encoders of parcels", "components=[1]", "aggregate=sum", "tuning=all", "batch=0"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="encoder bert"):
        EncoderSide("bert")
    assert json.dumps(asdict(SIDE))


def test_weights_by_motion_need_the_column(workspace, monkeypatch, capsys):
    side = EncoderSide("brainlm_vit", aggregate="motion")
    frame = workspace.cohort.scans
    with monkeypatch.context() as nothing:
        nothing.setattr(person_vectors, "fill_store", lambda *_, **__: pytest.fail("read scans first"))
        with pytest.raises(UserError, match="needs a column mean_fd"):
            workspace.brain_inputs(side, np.arange(3))
        for motion, words in ((np.nan, "is not known for any of 120 scans"), (-0.1, "is below zero for 120 of 120")):
            frame["mean_fd"] = motion
            with pytest.raises(UserError, match=words):
                workspace.brain_inputs(side, np.arange(3))
    frame["mean_fd"] = np.where(np.arange(len(frame)) % 2, 0.1, 0.3)
    frame.loc[:1, "mean_fd"] = np.nan
    (weighted,) = workspace.brain_inputs(side, np.arange(3))
    assert "2 of 120 scans have no mean_fd" in capsys.readouterr().err
    assert workspace.ingest(side)["scans_without_mean_fd"] == 2
    (plain,) = workspace.brain_inputs(SIDE, np.arange(3))
    assert np.abs(weighted - plain).max() > 1e-6
    del frame["mean_fd"]


def test_shares_embed_every_scan_once_and_say_what_they_wait_for(cohort, tmp_path, monkeypatch):
    encoded, real = [], frozen_embeddings._stored
    monkeypatch.setattr(frozen_embeddings, "_stored", lambda *given: encoded.append(given[2]) or real(*given))
    first = tasks.embed(cohort, brain=SIDE, store=tmp_path, shard="1/2")
    assert "chunks" in first
    assert first["waits_for"].startswith("brainlm_vit: this job's shares are stored; 7 of 15 shares")
    assert len(encoded) == 64
    assert "scan_embeddings" in tasks.embed(cohort, brain=SIDE, store=tmp_path, shard="2/2")
    assert len(encoded) == len(set(encoded)) == 120


def test_wrong_options_of_both_sides_are_told_together_before_anything_is_read():
    with pytest.raises(UserError, match=r"device=gpu is none.*batch=0 and brain.min_frames=1.5 must be at least 1"):
        EncoderSide(device="gpu", batch=0, min_frames=1.5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"components=\[1\].*min_frames=1 must be at least 2.*shrinkage=2 must"):
        ConnectomeSide(components=(1,), min_frames=1, shrinkage=2)
    one, every = EncoderSide(components=64), ConnectomeSide(components="all")  # type: ignore[arg-type]
    assert (one.components, every.components) == ((64,), ("all",))


def test_a_gpu_that_is_not_there_is_said_with_what_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert frozen_embeddings._device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(UserError, match=r"device=cuda:1: this machine shows 1 CUDA GPU; use device=auto"):
        frozen_embeddings._device("cuda:1")


@pytest.mark.parametrize("name", ["swift", "brainmt"])
def test_volumes_of_a_cohort_go_through_an_encoder_of_volumes(images, name):
    side = EncoderSide(name, windows=WindowPolicy(most=1))
    workspace = Workspace(images, progress=False)
    report = workspace.ingest(side)
    assert report["windows"]["windows"] == 20
    (people,) = workspace.brain_inputs(side, np.arange(3))
    assert people.shape == (20, side.build(workspace.cohort, workspace.store).hidden_size)
    assert len(np.unique(people.round(6), axis=0)) == 20


def test_an_encoder_of_volumes_asks_for_images_and_one_of_parcels_takes_them_by_the_atlas(cohort, images):
    with pytest.raises(UserError, match="none of 120 scans is a 4D image"):
        Workspace(cohort, progress=False).ingest(EncoderSide("swift"))
    workspace = Workspace(images, progress=False)
    (people,) = workspace.brain_inputs(EncoderSide("brainlm"), np.arange(3))
    assert people.shape == (20, 32)


@pytest.mark.parametrize("weights", ["random", "file"])
def test_a_run_reads_and_builds_a_frozen_encoder_once(cohort, tmp_path, monkeypatch, weights):
    built, read = [], []
    around, load = encoders._around, encoder_files._load
    monkeypatch.setattr(encoder_shelf, "SHELF", encoder_shelf.EncoderShelf())
    for user in (before_reading, encoder_scans):
        monkeypatch.setattr(user, "SHELF", encoder_shelf.SHELF)
    monkeypatch.setattr(encoders, "_around", lambda *a: built.append(1) or around(*a))
    monkeypatch.setattr(encoder_files, "_load", lambda *a: read.append(1) or load(*a))
    side = EncoderSide("brainlm_vit", components=("all",), weights_seed=4)
    if weights == "file":
        workspace = Workspace(cohort, progress=False)
        workspace.ingest(side)
        encoder_files.save_encoder(side.build(workspace.cohort, workspace.store), tmp_path / "weights")
        side = EncoderSide("brainlm_vit", str(tmp_path / "weights"), components=("all",))
        built.clear()
    run = tasks.fit(cohort, run=tmp_path / "run", brain=side, alignment=AlignmentSettings(train="none"), progress=False)
    assert (len(built), len(read)) == (1, int(weights == "file"))
    assert len(json.loads((run / "provenance.json").read_text())["brain"]["fingerprint"]) == 32
