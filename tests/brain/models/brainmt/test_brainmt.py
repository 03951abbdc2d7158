"""BrainMT beyond the published numbers: the improved preset, the input contract, checkpoints, decay groups."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from genebrain.brain.models.brainmt.config import BrainMTConfig
from genebrain.brain.models.brainmt.model import BrainMT
from genebrain.brain.models.brainmt.weights import load_brainmt
from genebrain.brain.pretraining.schedule import learning_rate, parameter_groups
from genebrain.common.types import UserError
from tests.oracles.volume_scaling import scale_volumes

SMALL = {"img_size": (17, 18, 16), "num_frames": 5, "stem_dim": 2, "width": 4, "depth": (2, 2), "d_state": 4}
PRESETS = [
    BrainMTConfig.parity(**SMALL, directions="one"),
    BrainMTConfig.parity(**SMALL),
    BrainMTConfig.improved(**SMALL),
    BrainMTConfig.improved(**SMALL, pooling="attention"),
]


def build(config: BrainMTConfig) -> BrainMT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BrainMT(config).eval()


def scans(batch: int = 2) -> Tensor:
    return torch.randn(batch, 5, 1, 17, 18, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", PRESETS)
def test_tokens_are_deterministic_and_independent_of_the_stem_chunks(config):
    model = build(config)
    with torch.no_grad():
        tokens, mask = model.encode(scans())
        assert tokens.shape == (2, config.num_patches * 5 + (config.pooling == "cls"), 16)
        assert mask.dtype == torch.bool
        assert mask.shape == tokens.shape[:2]
        assert torch.equal(tokens, model.encode(scans())[0])
        model.stem_frames = 3
        torch.testing.assert_close(tokens, model.encode(scans())[0])
        assert model(scans()).shape == (2, 1)


def test_improved_starts_with_long_memory_and_published_does_not():
    for preset, low, high in ((BrainMTConfig.improved, 0.0009, 0.11), (BrainMTConfig.parity, 0.69, 0.70)):
        step = functional.softplus(build(preset(**SMALL)).layers[0].mixer.dt_proj.bias.detach())
        assert low < float(step.min()) <= float(step.max()) < high


def test_per_patch_scans_leak_nothing_to_the_neighbour():
    for sequence, leaks in (("per_patch", False), ("whole", True)):
        model = build(BrainMTConfig.improved(**SMALL, sequence=sequence))
        tokens = torch.randn(1, model.config.num_patches * 5, 16, generator=torch.Generator().manual_seed(2))
        changed = tokens.clone()
        changed[:, :5] += 1
        with torch.no_grad():
            before, after = model.mamba(tokens), model.mamba(changed)
        assert torch.equal(before[:, 5:], after[:, 5:]) != leaks


def test_factorised_attention_takes_turns():
    config = BrainMTConfig.improved(**SMALL)
    model = build(config)
    tokens = torch.randn(1, config.num_patches * 5, 16, generator=torch.Generator().manual_seed(2))
    changed = tokens.clone()
    changed[:, 0] += torch.arange(16)  # patch 0, frame 0
    with torch.no_grad():
        for number, moved in ((0, (slice(None), 0)), (1, (0, slice(None)))):
            block = model.blocks[number]
            difference = model._block(block, number, changed) - model._block(block, number, tokens)
            touched = difference[0].unflatten(0, (config.num_patches, 5)).abs().amax(-1) > 0
            expected = torch.zeros_like(touched)
            expected[moved] = True
            assert torch.equal(touched, expected)


@pytest.mark.parametrize("config", PRESETS[1:])
def test_training_reaches_every_parameter_and_recomputing_changes_no_gradient(config):
    gradients = []
    for recompute in (False, True):
        model = build(config).train()
        model.recompute = recompute
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model(scans(4)).square().sum().backward()
        assert all(p.grad is not None for p in model.parameters())
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_wrong_scans_are_refused():
    model = build(PRESETS[2])
    bad = [
        (scans()[:, :4, :, :, :-1], "4 frames where the encoder has 5; 17 height where the encoder has 18"),
        (scans() * float("nan"), "not finite"),
        (scans() * 0, "2 of 2 scans are constant"),
        (scans() * 10_000, "look unscaled"),
        (scans()[0], "at least one scan"),
        (scans().long(), "int64"),
    ]
    for scan, message in bad:
        with pytest.raises(UserError, match=message):
            model.encode(scan)


def test_wrong_configurations_are_refused_with_all_problems():
    with pytest.raises(UserError, match=r"pooling must be one of.*num_frames must be at least 1.*3 heads"):
        BrainMTConfig(pooling="max", num_frames=0, num_heads=3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="class token needs"):
        BrainMTConfig.improved(pooling="cls")


def test_checkpoints(tmp_path):
    model = build(PRESETS[1])
    state = model.state_dict()
    torch.save({"model_state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        with torch.no_grad():
            loaded = load_brainmt(tmp_path / name, PRESETS[1])
            assert torch.equal(loaded(scans()), model(scans()))
    with pytest.raises(UserError, match=r"unexpected keys: layers.0.mixer.A_b_log"):
        load_brainmt(tmp_path / "a.pth", PRESETS[0])
    state["extra"] = state.pop("head.bias")
    state["cls_token"] = torch.zeros(3)
    save_file(state, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match=r"1 missing keys: head.bias; 1 unexpected keys: extra; .*cls_token \[3\]"):
        load_brainmt(tmp_path / "b.safetensors", PRESETS[1])
    (tmp_path / "c.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match="not a readable file of weights"):
        load_brainmt(tmp_path / "c.pth", PRESETS[1])


def test_decay_goes_by_kind_of_parameter():
    model = build(PRESETS[2])
    decayed, rest = parameter_groups(model, 0.05)
    names = {id(p): n for n, p in model.named_parameters()}
    assert {names[id(p)] for p in rest["params"]} >= {"pos_embed", "layers.0.mixer.A_log", "layers.0.norm.weight"}
    assert all(names[id(p)].endswith("weight") for p in decayed["params"])
    assert len(decayed["params"]) + len(rest["params"]) == len(names)
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.05, 0.0)
    with pytest.raises(ValueError, match="warm-up 9 < cycle 8"):
        learning_rate(0, 8, 1.0, 0.0, 9)


def test_voxelwise_scaling_leaves_fluctuation_only():
    volumes = 100 + torch.randn(3, 3, 2, 30, generator=torch.Generator().manual_seed(0))
    volumes[0, 0, 0] = 0
    volumes[1, 1, 1] = 5
    scaled = scale_volumes(volumes, "voxel", zero_background=True)
    assert not scaled[0, 0, 0].any()
    assert not scaled[1, 1, 1].any()
    torch.testing.assert_close(scaled[2].std(-1), torch.ones(3, 2))
    for wrong in (torch.zeros(2, 2, 2, 4), torch.zeros(2, 2, 2), torch.full((2, 2, 2, 4), torch.nan)):
        with pytest.raises(UserError):
            scale_volumes(wrong)
