from __future__ import annotations

import pytest
import torch

from genebrain.brain.models.swift.config import SwiFTConfig
from genebrain.brain.models.swift.model import SwiFT, clips
from genebrain.brain.models.swift.weights import load_swift
from genebrain.brain.pretraining.contrast import local_local, nt_xent
from genebrain.common.types import UserError

SIZES = {
    "img_size": [8, 8, 8, 4], "patch_size": [2, 2, 2, 1], "in_chans": 1, "embed_dim": 4, "depths": [2, 2],
    "num_heads": [1, 2], "first_window_size": [2, 2, 2, 2], "window_size": [2, 2, 2, 2], "c_multiplier": 2,
    "last_layer_full_MSA": True,
}  # fmt: skip


@pytest.fixture
def model() -> SwiFT:
    encoder = SwiFT(SwiFTConfig.from_mapping(SIZES)).eval()
    encoder.initialise(seed=1, standard_deviation=0.2)
    return encoder


@pytest.fixture
def scan() -> torch.Tensor:
    return torch.randn(2, 1, 8, 8, 8, 4, generator=torch.Generator().manual_seed(0))


def test_tokens_and_summaries(model, scan):
    with torch.no_grad():
        tokens, mask = model.encode(scan)
        feature_map = model(scan)
        assert torch.equal(tokens, model.encode(scan)[0])
        assert tokens.shape == (2, 2 * 2 * 2 * 4, model.hidden_size)
        assert mask.shape == tokens.shape[:2]
        assert mask.all()
        torch.testing.assert_close(model.embed(scan), feature_map.mean(dim=(2, 3, 4, 5)))
        torch.testing.assert_close(model.embed(scan, summary="frames"), feature_map.mean(dim=(2, 3, 4)).mT)
        alone = torch.cat([model.embed(s[None]) for s in scan])
        torch.testing.assert_close(model.embed(scan), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "shape", [(2, 1, 8, 8, 8, 5), (2, 1, 8, 8, 8, 0), (2, 1, 8, 6, 8, 4), (2, 2, 8, 8, 8, 4), (8, 8)]
)
def test_other_shapes_are_refused(model, shape):
    with pytest.raises(UserError, match="a scan must be"):
        model.encode(torch.zeros(shape))


def test_values_that_are_not_finite_are_refused(model, scan):
    scan[1, 0, 3, 3, 3, 1] = torch.nan
    with pytest.raises(UserError, match="1 of 2 clips"):
        model.encode(scan)


def test_recomputing_gives_the_same_gradient(model, scan):
    gradients = []
    for recompute in (False, True):
        model.recompute = recompute
        assert model.recompute is recompute
        model.zero_grad()
        model(scan).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_resized_tables(model, scan):
    same = model.resized((8, 8, 8, 4))
    with torch.no_grad():
        assert torch.equal(same(scan), model(scan))
        assert torch.equal(model.resized((8, 8, 8, 3))(scan[..., :3]), model(scan[..., :3]))
    other = model.resized((12, 8, 16, 6))
    assert other(torch.zeros(1, 1, 12, 8, 16, 6)).shape == (1, 8, 3, 2, 4, 6)
    with torch.no_grad():
        model.pos_embeds[0].pos_embed.fill_(3.0)
    assert torch.allclose(model.resized((16, 16, 16, 4)).pos_embeds[0].pos_embed, torch.tensor(3.0))
    with pytest.raises(UserError, match="multiples"):
        model.resized((10, 8, 8, 4))


def test_configuration_lists_all_problems():
    with pytest.raises(UserError, match=r"3 heads do not divide.*1 frame long"):
        SwiFTConfig.from_mapping({**SIZES, "num_heads": [3, 2], "patch_size": [2, 2, 2, 2]})
    with pytest.raises(UserError, match="2 fields: embed_dim, depths"):
        SwiFTConfig.from_mapping({k: v for k, v in SIZES.items() if k not in ("embed_dim", "depths")})


def test_checkpoint_round_trip_and_refusals(model, scan, tmp_path):
    file = tmp_path / "swift.ckpt"
    state = {f"model.{k}": v for k, v in model.state_dict().items()}
    unused = {"model.head.weight": torch.zeros(1, 8), "output_head.head.weight": torch.zeros(1, 8)}
    torch.save({"state_dict": {**state, **unused}, "hyper_parameters": {**SIZES, "learning_rate": 1.0}}, file)
    loaded = load_swift(file)
    with torch.no_grad():
        assert torch.equal(loaded(scan), model(scan))
    assert not loaded.norm.weight.requires_grad
    assert loaded.patch_embed.fc.weight.requires_grad
    broken = {**state, "model.extra": torch.zeros(1), "model.norm.bias": torch.zeros(3)}
    del broken["model.patch_embed.fc.bias"]
    torch.save({"state_dict": broken, "hyper_parameters": SIZES}, file)
    with pytest.raises(UserError, match=r"fc\.bias.*model\.extra.*norm\.bias \[3\] \[8\]"):
        load_swift(file)
    torch.save({"state_dict": state}, file)
    with pytest.warns(UserWarning, match="published"), pytest.raises(UserError, match="does not fit"):
        load_swift(file)
    file.write_bytes(b"damaged")
    with pytest.raises(UserError):
        load_swift(file)


def test_clips_say_what_is_left_over():
    run = torch.arange(11.0)[:, None, None, None].expand(-1, 2, 2, 2)
    cut, unused = clips(run, length=4)
    assert cut.shape == (2, 1, 2, 2, 2, 4)
    assert unused == 3
    assert cut[1, 0, 0, 0, 0].tolist() == [4, 5, 6, 7]
    with pytest.raises(UserError, match="at least 12"):
        clips(run, length=12)


def test_clips_of_one_subject_are_no_negatives():
    first, second = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    subjects = torch.tensor([0, 1, 0, 2])
    assert torch.allclose(nt_xent(first, second), nt_xent(first, second, subjects=torch.arange(4)))
    rows = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    owner, expected = [0, 1, 0, 2] * 2, 0.0
    for i in range(8):
        positive = (i + 4) % 8
        kept = [positive, *(j for j in range(8) if owner[j] != owner[i])]
        expected += torch.logsumexp(rows[kept] @ rows[i] / 0.1, dim=0) - rows[positive] @ rows[i] / 0.1
    assert torch.allclose(nt_xent(first, second, subjects=subjects), expected / 8)


def test_local_local_mean():
    views = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0)).unbind()
    total = local_local(views[:2], views[2:])
    assert torch.allclose(local_local(views[:2], views[2:], reduction="mean"), total / 3)
