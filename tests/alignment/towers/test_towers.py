"""Towers: the residual starts exactly at the closed form, saved models read back, pooled chunks respect masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genebrain.alignment.closed_form.fit import ClosedFormSettings, fit_closed_form
from genebrain.alignment.model import AlignmentModel, build_towers
from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings
from genebrain.alignment.towers.standardiser import Standardiser
from genebrain.alignment.towers.towers import PooledChunks
from genebrain.common.tensor_files import read_tensors
from genebrain.common.types import UserError

SMALL = ProjectorSettings(hidden=16, width=8)


@pytest.fixture(scope="module", params=["llr", "cosine"])
def fitted(request):
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((200, 4))
    mixed = [latent[:, i : i + 2] @ rng.standard_normal((2, 6)) for i in (0, 2)]
    blocks = [(m + 0.3 * rng.standard_normal(m.shape)).astype(np.float32) for m in mixed]
    brain = (latent @ rng.standard_normal((4, 15)) + 0.3 * rng.standard_normal((200, 15))).astype(np.float32)
    closed = fit_closed_form(
        blocks, {"b": brain}, np.arange(200), settings=ClosedFormSettings(dimensions=(4,), score=request.param)
    )
    return closed, torch.from_numpy(closed.gene_columns(blocks)), torch.from_numpy(brain)


@pytest.mark.parametrize("train", ["residual", "full"])
def test_untrained_residual_towers_are_the_closed_form(fitted, train):
    closed, gene, brain = fitted
    settings = AlignmentSettings(train=train, score=closed.score, projector=SMALL)
    towers = build_towers(settings, closed, gene, brain)
    for ours, theirs in zip(
        towers.vectors(gene, brain),
        (closed.gene_vectors(gene.numpy()), closed.brain_vectors(brain.numpy())),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_residual_training_moves_the_correction_only_and_full_moves_the_start(fitted):
    closed, gene, brain = fitted
    for train, moved in (("residual", False), ("full", True)):
        towers = build_towers(AlignmentSettings(train=train, score=closed.score, projector=SMALL), closed, gene, brain)
        ((towers.gene_tower(gene) * towers.brain_tower(brain)).sum()).backward()
        assert (towers.gene_tower.start.weight.grad is not None) is moved
        assert towers.gene_tower.correction.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("train", ["none", "residual"])
def test_a_model_reads_back_as_it_was_saved(fitted, tmp_path, train):
    closed, gene, brain = fitted
    settings = AlignmentSettings(train=train, score=closed.score, projector=SMALL)
    towers = None if train == "none" else build_towers(settings, closed, gene, brain)
    if towers is not None:
        torch.nn.init.normal_(towers.gene_tower.correction.weight)
    AlignmentModel(settings, closed, towers, "closed_form", {"a": 1}).save(tmp_path)
    again = AlignmentModel.load(tmp_path)
    assert again.settings == settings
    assert again.approval == {"a": 1}
    np.testing.assert_array_equal(again.closed_form.gene_vectors(gene.numpy()), closed.gene_vectors(gene.numpy()))
    if towers is not None:
        for a, b in zip(again.towers.vectors(gene, brain), towers.vectors(gene, brain), strict=True):
            np.testing.assert_array_equal(a, b)
        stored = read_tensors(tmp_path / "towers.safetensors")
        assert {name.split(".")[0] for name in stored} == {"gene", "brain", "logit_scale"}, "runs of all versions"
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(UserError, match="genebrain fit"):
        AlignmentModel.load(tmp_path)


def test_standardiser_centres_scales_and_silences_constants():
    x = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    out = Standardiser(2).fit_(x)(torch.tensor([[2.0, 9.0], [3.0, 5.0]]))
    torch.testing.assert_close(out, torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    with pytest.raises(UserError, match="1 of them not finite"):
        Standardiser(2).fit_(torch.tensor([[1.0, float("nan")], [1.0, 2.0]]))


def test_pooled_chunks_ignore_what_does_not_exist_and_train_through_the_rest():
    torch.manual_seed(0)
    table = torch.randn(10, 6)
    pooled = PooledChunks(table, {"chunk": "gated_attention", "diploid": "mean_absdiff", "window": "attention"}, 3, 2)
    index = torch.randint(0, 10, (4, 2, 2, 3))
    index[0, 1] = -1  # haploid
    index[1, :, 1] = -1  # no second window
    out = pooled(index)
    assert out.shape == (4, pooled.out_features)
    assert torch.isfinite(out).all()
    swapped = pooled(index.flip(1))
    torch.testing.assert_close(out, swapped)
    out.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in pooled.parameters())
    assert "table" not in pooled.state_dict(), "individual-level data must not enter a checkpoint"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": "random"}, "train=residual"),
        ({"start": "random", "train": "full"}, "score=llr"),
        ({"loss": "triplet"}, "alignment.loss=triplet"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        AlignmentSettings(**wrong)
