"""Scan encoders trained inside the alignment: exact start, gradients of one by one, drawn windows, whole runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings, TrainerSettings
from genebrain.brain.windows.policy import WindowPolicy
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.types import UserError
from genebrain.runs.fit import Experiment, gather_subjects, load_fit
from genebrain.runs.recipe import fit_alignment
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.sides.scans import EVERY_LAYER, EncoderSide
from genebrain.sides.tuned import scans as tuned_scans
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from genebrain.training.settings import LoraSettings

SMALL = {"n_windows": 4, "window_bp": 6000, "n_frames": 60, "n_genomewide": 200}
TEXTBOOK = AlignmentSettings(start="random", train="full", score="cosine", projector=ProjectorSettings(hidden=32))
CLOSED = AlignmentSettings(train="residual", projector=ProjectorSettings(hidden=16, width=8, dropout=0.0))
NAMES = ("brainlm", "brainlm_vit", "swift", "brainmt")


@pytest.fixture(scope="module")
def parcels(tmp_path_factory) -> Workspace:
    folder = tmp_path_factory.mktemp("parcels") / "c"
    return Workspace(
        simulate_cohort(folder, n_subjects=40, seed=5, tier="two_session", n_parcels=424, **SMALL), progress=False
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Workspace:
    folder = tmp_path_factory.mktemp("images") / "c"
    return Workspace(
        simulate_cohort(folder, n_subjects=40, seed=6, scans="nifti", n_parcels=40, **{**SMALL, "n_frames": 40}),
        progress=False,
    )


def experiment(name: str, tuning: str, **changes) -> Experiment:
    side = EncoderSide(
        name, components=(4,), tuning=tuning, lora=LoraSettings(rank=2, targets=("all-linear",)), batch=7,
        train_windows=1, **changes,
    )  # fmt: skip
    return Experiment(GeneSide(), side, GenePooling(), CLOSED, TrainerSettings(), SplitSettings())


def tuned(workspace: Workspace, name: str, tuning: str, **changes):
    """Subjects, closed form and towers of a cohort at their start."""
    made = experiment(name, tuning, **changes)
    workspace.ingest(made.brain)
    rows = np.arange(30)
    workspace.embed(made.genetics, training=rows)
    subjects = gather_subjects(made, workspace, rows)
    none = AlignmentSettings(train="none")
    closed = fit_alignment(subjects.frozen(), rows[:20], rows[20:], none, made.trainer, Path()).closed_form
    torch.manual_seed(0)
    return subjects, closed, subjects.start_towers(CLOSED, closed, rows)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_every_encoder_starts_at_the_closed_form_and_all_that_is_counted_as_trained_moves(
    parcels, images, name, tuning
):
    subjects, closed, towers = tuned(images if name in ("swift", "brainmt") else parcels, name, tuning)
    rows = subjects.brain_input(closed)[:10]
    _, brain = towers.vectors(subjects.gene_features(closed)[:10], rows)
    frozen = closed.brain_vectors(subjects.brain[closed.chosen["brain"]][:10])
    np.testing.assert_allclose(brain, frozen, rtol=2e-3, atol=2e-3)
    # Away from the start, where the correction and B are zero and half of the gradients with them.
    for parameter in towers.brain_tower.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02 * torch.randn_like(parameter)
    weight = torch.randn(brain.shape)
    (towers.brain_tower.eval()(rows) * weight).sum().backward()
    encoder = towers.brain_tower.encoder
    assert encoder.encoded == sum(len(encoder._people[row]) for row in rows.tolist())
    trained = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    assert trained
    assert all(p.grad is not None for p in trained.values())
    assert all(("lora_" in n) == (tuning == "lora") for n in trained)
    assert sum(bool(p.grad.abs().max() > 0) for p in trained.values()) > 0.8 * len(trained)
    state = encoder.state_dict()
    assert not any("base_layer" in key for key in state)


def test_micro_batches_give_the_gradients_of_windows_one_by_one(parcels, monkeypatch):
    """In float64, where the order of sums does not show."""
    subjects, closed, towers = tuned(parcels, "brainlm", "lora", windows=WindowPolicy(stride_seconds=12.0))
    encoder = towers.double().brain_tower.encoder.eval()
    read = encoder._bank.read
    monkeypatch.setattr(encoder, "_bank", SimpleNamespace(read=lambda *which: read(*which).astype(np.float64)))
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    for parameter in towers.brain_tower.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02 * torch.randn_like(parameter)
    rows = subjects.brain_input(closed)[:6]
    weight = torch.randn(6, towers.brain_tower(rows).shape[1], dtype=torch.float64)

    def gradients(vectors: torch.Tensor) -> list[torch.Tensor]:
        towers.brain_tower.zero_grad()
        (vectors * weight).sum().backward()
        return [p.grad.clone() for p in towers.brain_tower.parameters() if p.requires_grad]

    fast = gradients(towers.brain_tower(rows))
    assert encoder.encoded == sum(len(encoder._people[r]) for r in rows.tolist()) > 12
    people = []
    for row in rows.tolist():
        scans: dict[str, list[torch.Tensor]] = {}
        for one in encoder._people[row]:
            window = torch.from_numpy(encoder._bank.read(one.key, one.window))
            scans.setdefault(one.key, []).append(encoder.encoder.model(window[None])[0].double())
        assert len(scans) == 2
        people.append(torch.stack([torch.stack(vectors).mean(dim=0) for vectors in scans.values()]).mean(dim=0))
    features = ((torch.stack(people) - encoder.mean) * encoder.factor @ encoder.axes).float()
    for a, b in zip(fast, gradients(towers.brain_tower.tower(features)), strict=True):
        assert a.dtype == b.dtype == torch.float64
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_training_draws_windows_from_the_seed_of_the_step_and_recomputes_what_it_drew(parcels, monkeypatch):
    subjects, closed, towers = tuned(parcels, "brainlm", "lora", windows=WindowPolicy(stride_seconds=12.0))
    encoder, rows = towers.brain_tower.encoder, subjects.brain_input(closed)[:12]
    for parameter in towers.brain_tower.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02 * torch.randn_like(parameter)

    def step(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        towers.brain_tower.zero_grad()
        towers.brain_tower(rows).square().sum().backward()
        assert encoder.encoded == len(rows)
        return [p.grad.clone() for p in towers.brain_tower.parameters() if p.requires_grad]

    first, again, other = step(1), step(1), step(2)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    monkeypatch.setattr(tuned_scans, "recomputed", lambda encode, *inputs: encode(*inputs))
    assert all(map(torch.equal, first, step(1)))


@pytest.mark.parametrize("tuning", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_a_run_with_both_encoders_in_training_is_judged_from_its_folder(parcels, tmp_path, tuning):
    side = EncoderSide("brainlm", components=(4,), tuning=tuning, lora=EVERY_LAYER)
    run = tasks.fit(
        parcels.cohort.folder / "cohort.yaml", run=tmp_path / "run", brain=side, genetics=GeneSide(tuning="lora"),
        alignment=TEXTBOOK, trainer=TrainerSettings(max_epochs=1, patience=1), progress=False,
    )  # fmt: skip
    judge = {"gallery_size": 8, "n_bootstrap": 20, "n_permutations": 20, "comparisons": (), "progress": False}
    found, again = tasks.evaluate(run, **judge), tasks.evaluate(run, **judge)
    assert found["model"]["kept"] == "trained"
    assert found["retrieval"] == again["retrieval"]
    encoder = run / "encoder"
    assert {p.name for p in encoder.iterdir()} == {
        "model.safetensors", "config.json", "contract.safetensors", "seen_scans.txt", "checksums.json",
    }  # fmt: skip
    assert all(p.stat().st_mode & 0o077 == 0 for p in encoder.iterdir())
    # Frozen, the written weights give what the run's own encoder gives.
    subjects = load_fit(
        run,
        Experiment(GeneSide(tuning="lora"), side, GenePooling(), TEXTBOOK, TrainerSettings(), SplitSettings()),
        parcels,
    )
    tuned = subjects[0].towers.brain_tower.encoder.encoder.model.eval()
    again = replace(side, path=str(encoder), tuning="frozen").build(parcels.cohort, parcels.store)
    assert f"trained inside an alignment ({tuning})" in again.origin
    windows = torch.randn(2, 40, 424)
    with torch.no_grad():
        torch.testing.assert_close(again(windows), tuned(windows), atol=1e-5, rtol=1e-4)
    start = side.build(parcels.cohort, parcels.store)
    assert again.fingerprint() != start.fingerprint()
    base = {"brain": replace(side, path=str(encoder), tuning="frozen"), "alignment": AlignmentSettings(train="none")}
    tasks.fit(parcels.cohort.folder / "cohort.yaml", run=tmp_path / "next", progress=False, **base)
    with pytest.raises(UserError, match="were seen when"):
        tasks.fit(parcels.cohort.folder / "cohort.yaml", run=tmp_path / "other", seed=1, progress=False, **base)
    counted = json.loads((run / "provenance.json").read_text())["parameters"]
    assert set(counted) == {"gene tower", "brain tower", "gene encoder", "brain encoder"}
    assert {p.name for p in (run / "checkpoints").glob("*_encoder")} == {"gene_encoder", "brain_encoder"}


def test_wrong_tunings_are_named():
    with pytest.raises(UserError, match=r"brain\.tuning=adapters is none of frozen, lora, full.*train_windows=0"):
        EncoderSide(tuning="adapters", train_windows=0)
