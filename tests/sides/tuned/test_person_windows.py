"""Attention over a person's windows: starts at the mean, learns which windows matter, whole runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings, TrainerSettings
from genebrain.brain.windows.policy import Window
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.types import UserError
from genebrain.runs.fit import Experiment, gather_subjects, load_fit, run_fit
from genebrain.runs.recipe import fit_alignment
from genebrain.sides.embedding_feature import EmbeddingFeature
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.sides.scans import EncoderSide
from genebrain.sides.tuned.person_windows import StoredScans, WeightedWindow, WindowAttention
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort

TEXTBOOK = AlignmentSettings(start="random", train="full", score="cosine", projector=ProjectorSettings(hidden=32))
SIDE = EncoderSide("brainlm", size="tiny", aggregate="attention", components=(4,))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    folder = tmp_path_factory.mktemp("cohort") / "c"
    small = {"n_windows": 4, "window_bp": 6000, "n_frames": 80, "n_genomewide": 200}
    return Workspace(simulate_cohort(folder, n_subjects=40, seed=5, tier="two_session", **small), progress=False)


def experiment(alignment: AlignmentSettings, side: EncoderSide = SIDE) -> Experiment:
    trainer = TrainerSettings(max_epochs=3, patience=3, learning_rate=1e-2, accelerator="cpu", loggers=())
    return Experiment(GeneSide(), side, GenePooling(), alignment, trainer, SplitSettings())


def test_weights_start_at_the_prior_and_sum_to_one_per_person():
    torch.manual_seed(0)
    attention, x = WindowAttention(6), torch.randn(9, 6)
    owners = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 0])
    prior = torch.tensor([0.2, 0.2, 0.2, 1.0, 0.1, 0.2, 0.3, 0.4, 0.4], dtype=torch.float64)
    torch.testing.assert_close(attention(x, owners, prior, 3), prior)
    attention.score.weight.data.normal_(std=30.0)
    moved = attention(x, owners, prior, 3)
    torch.testing.assert_close(torch.zeros(3).double().index_add(0, owners, moved), torch.ones(3).double())
    score = attention.score(torch.tanh(attention.features(x)) * torch.sigmoid(attention.gate(x)))[:, 0].double()
    for person in range(3):
        own = owners == person
        torch.testing.assert_close(moved[own], torch.softmax(score[own] + prior[own].log(), dim=0))
    huge = attention(1e4 * x, owners, prior, 3)
    assert huge.isfinite().all()


def test_it_learns_that_one_kind_of_window_says_nothing():
    """Every person has windows that tell who it is and windows of noise with a mark; the mean mixes them."""
    rng = np.random.default_rng(0)
    n, people, embeddings = 60, [], {}
    truth = rng.normal(size=(n, 3))
    for person in range(n):
        good = np.concatenate([truth[person] + 0.1 * rng.normal(size=(2, 3)), np.zeros((2, 1))], axis=1)
        bad = np.concatenate([3 * rng.normal(size=(4, 3)), np.ones((4, 1))], axis=1)
        embeddings[str(person)] = np.concatenate([good, bad]).astype(np.float32)
        window = Window(0, 1, 0, 1, 0)
        people.append([WeightedWindow(str(person), window, 1 / 6, number) for number in range(6)])
    means = np.stack([embeddings[str(person)].mean(axis=0) for person in range(n)])
    torch.manual_seed(0)
    scans = StoredScans(embeddings, people, EmbeddingFeature().fit(means + 1e-3 * rng.normal(size=means.shape)))
    rows, target = torch.arange(n), torch.from_numpy(truth).float()
    with torch.no_grad():
        plain = scans(rows)[:, :3]
    optimiser = torch.optim.Adam(scans.parameters(), 0.03)
    for _ in range(150):
        optimiser.zero_grad()
        out = scans(rows[:40])[:, :3]
        (-torch.nn.functional.cosine_similarity(out, target[:40]).mean()).backward()
        optimiser.step()
    with torch.no_grad():
        after = scans(rows)[:, :3]
    new = slice(40, n)
    similar = [torch.nn.functional.cosine_similarity(out[new], target[new]).mean() for out in (plain, after)]
    assert similar[1] > 0.9 > similar[0] + 0.2


def test_it_starts_exactly_at_the_closed_form_and_saves_no_scan(workspace):
    made = experiment(AlignmentSettings(train="residual"))
    workspace.ingest(made.brain)
    rows = np.arange(30)
    workspace.embed(made.genetics, training=rows)
    subjects = gather_subjects(made, workspace, rows)
    closed = fit_alignment(
        subjects.frozen(), rows[:20], rows[20:], AlignmentSettings(train="none"), made.trainer, workspace.store
    ).closed_form
    towers = subjects.start_towers(made.alignment, closed, rows)
    _, brain = towers.vectors(subjects.gene_features(closed)[:10], subjects.brain_input(closed)[:10])
    frozen = closed.brain_vectors(subjects.brain[closed.chosen["brain"]][:10])
    np.testing.assert_allclose(brain, frozen, rtol=1e-3, atol=1e-4)
    assert not any("table" in name for name in towers.state_dict())
    assert any("attention.score" in name for name in towers.state_dict())


def test_a_run_trains_it_and_comes_back_from_its_folder(workspace, tmp_path):
    made = experiment(TEXTBOOK)
    run = run_fit(made, workspace, tmp_path / "run", progress=False)
    fitted, subjects, split = load_fit(run, made, workspace)
    tower = fitted.towers.brain_tower
    assert tower.encoder.attention.score.weight.abs().max() > 0, "trained"
    before = fitted.vectors(subjects, split.test)[1]
    tower.encoder.attention.score.weight.data.zero_()
    assert np.abs(before - fitted.vectors(subjects, split.test)[1]).max() > 0, "and it decides the vectors"
    assert not (run / "encoder").exists(), "no encoder was trained"


def test_what_does_not_go_together_is_refused():
    with pytest.raises(UserError, match=r"brain.aggregate=attention with alignment.train=none trains nothing"):
        experiment(AlignmentSettings(train="none")).check()
    with pytest.raises(UserError, match=r"summary=connectivity with .*aggregate=attention"):
        EncoderSide("brainlm", summary="connectivity", aggregate="attention")
