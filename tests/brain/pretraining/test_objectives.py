"""Objectives behind their one face: randomness from the generator alone, subjects, masks and trivial predictors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from genebrain.brain.models.brainlm.config import BrainLMConfig, ViTMAEConfig
from genebrain.brain.models.brainlm.image import ViTMAE
from genebrain.brain.models.brainlm.region_time import BrainLM
from genebrain.brain.models.brainmt.config import BrainMTConfig
from genebrain.brain.models.brainmt.model import BrainMT
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.brain.models.swift.config import SwiFTConfig
from genebrain.brain.models.swift.model import SwiFT
from genebrain.brain.pretraining.masked import MaskedFrames, fluctuation
from genebrain.brain.pretraining.module import PretrainModule
from genebrain.brain.pretraining.objectives import ClipContrast, MaskedPicture, MaskedSeries, Objective
from genebrain.brain.pretraining.settings import VolumeAugmentation
from genebrain.brain.pretraining.trainer import OptimiserSettings
from genebrain.common.types import UserError

PARCELS, FRAMES = 6, 40
SMALL = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}  # fmt: skip


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def contract() -> ParcelInput:
    where = np.random.default_rng(0).normal(size=(PARCELS, 3)).astype(np.float32)
    return ParcelInput("done", coordinates=where, frames=None)


def brainlm() -> BrainLM:
    model = BrainLM(BrainLMConfig(**SMALL, timepoint_patching_size=10, conv_kernel_size=3, patch_size=2), contract())
    model.initialise(0)
    return model


def vit() -> ViTMAE:
    model = ViTMAE(ViTMAEConfig(**SMALL, patch_size=4, image_size=(8, 40)), contract())
    model.initialise(0)
    return model


def swift() -> SwiFT:
    config = SwiFTConfig(img_size=(8, 8, 8, 4), patch_size=(2, 2, 2, 1), embed_dim=6, depths=(1, 1), num_heads=(1, 2))
    model = SwiFT(config)
    model.initialise(0)
    return model


def brainmt() -> BrainMT:
    config = BrainMTConfig.improved(
        img_size=(20, 16, 12), num_frames=10, stem_dim=2, width=2, depth=(1, 2), num_heads=2, drop_path=0.0
    )
    torch.manual_seed(0)
    return BrainMT(config)


def clips(kind: str, batch: int = 4) -> dict[str, torch.Tensor]:
    shape = {
        "series": (1, FRAMES, PARCELS),
        "picture": (1, FRAMES, PARCELS),
        "contrast": (2, 1, 8, 8, 8, 4),
        "frames": (1, 10, 1, 20, 16, 12),
    }[kind]
    return {"clips": torch.randn(batch, *shape, generator=draw(3)), "subject": torch.arange(batch)}


OBJECTIVES = {
    "series": lambda: MaskedSeries(brainlm(), mask_ratio=0.5),
    "picture": lambda: MaskedPicture(vit(), mask_ratio=0.5),
    "contrast": lambda: ClipContrast(swift(), "both", VolumeAugmentation()),
    "frames": lambda: MaskedFrames(brainmt()),
}


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_equal_generators_give_equal_losses_and_the_global_state_stays(kind):
    objective, batch = OBJECTIVES[kind]().eval(), clips(kind)
    state, before = torch.get_rng_state(), batch["clips"].clone()
    first, again, other = (objective(batch, draw(seed)).loss for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(before, batch["clips"])


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_trainable_weight_gets_a_gradient(kind):
    """What gets none would make distributed training wait for it."""
    objective = OBJECTIVES[kind]()
    objective(clips(kind), draw()).loss.backward()
    without = [n for n, p in objective.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_few_steps_lower_the_loss(kind):
    """On one batch with the same draws: the gradient points downhill through every part."""
    objective: Objective = OBJECTIVES[kind]()
    steps = 8
    module = PretrainModule(
        objective, lambda x: x, OptimiserSettings(learning_rate=1e-2, warmup=0), steps=steps, seed=0
    )
    settings = module.configure_optimizers()
    optimiser, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]
    batch, losses = clips(kind, batch=2), []
    for _ in range(steps):
        loss = module.outcome(batch, [0]).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02
    assert schedule.get_last_lr()[0] < 1e-3


@pytest.mark.parametrize("kind", ["series", "picture", "frames"])
def test_trivial_predictors_are_scored_on_the_hidden_values(kind):
    """On white noise no predictor does better than the variance."""
    objective, batch = OBJECTIVES[kind]().eval(), clips(kind, batch=8)
    if kind == "frames":
        objective = MaskedFrames(brainmt(), blocks=16, span=1).eval()
    outcome = objective(batch, draw(), compare=True)
    assert "parcel mean" in outcome.trivial
    assert "neighbouring frames" in outcome.trivial
    assert float(outcome.trivial["parcel mean"]) == pytest.approx(1.1, abs=0.25)
    assert float(outcome.trivial["neighbouring frames"]) > float(outcome.trivial["parcel mean"])


def test_clips_of_the_same_subject_are_no_negatives():
    objective = ClipContrast(swift(), "instance").eval()
    batch = clips("contrast")
    alone = {"clips": batch["clips"][:2], "subject": torch.tensor([0, 1])}
    batch["clips"][2:] = batch["clips"][:1]  # two further clips of subject 0
    batch["subject"] = torch.tensor([0, 1, 0, 0])
    with_ids, without = objective(batch, draw(), compare=True), objective({"clips": batch["clips"]}, draw())
    # The clips of subject 0 meet only those of subject 1; the true loss over the first two pairs shows it.
    assert float(with_ids.trivial["all clips alike"]) == pytest.approx((6 * math.log(3) + 2 * math.log(7)) / 8)
    assert with_ids.loss.item() < without.loss.item()
    first = objective(alone, draw(), compare=True)
    assert float(first.trivial["all clips alike"]) == pytest.approx(math.log(3))


def test_the_sum_of_both_losses_is_both():
    batch = clips("contrast")
    losses = {}
    for kind in ("instance", "local", "both"):
        objective = ClipContrast(swift(), kind, VolumeAugmentation(noise=0, smoothing=0), features=8).eval()
        torch.manual_seed(0)
        objective.head.fc1.reset_parameters()
        losses[kind] = objective(batch, draw()).loss.item()
    assert losses["both"] == pytest.approx(losses["instance"] + losses["local"], rel=1e-5)


def test_targets_of_frames_are_block_means():
    objective = MaskedFrames(brainmt(), blocks=4)
    scan = torch.randn(2, 10, 1, 20, 16, 12, generator=draw(4))
    targets = objective.targets(scan)
    assert targets.shape == (2, 2 * 64, 10)
    # Patch 0, block (1, 2, 0): voxels 4..8, 8..12, 0..4.
    expected = scan[1, 7, 0, 4:8, 8:12, 0:4].mean()
    torch.testing.assert_close(targets[1, 1 * 16 + 2 * 4, 7], expected)


def test_the_loss_is_about_fluctuation_not_about_anatomy():
    objective, batch = MaskedFrames(brainmt(), span=1).eval(), clips("frames")
    anatomy = torch.randn(4, 1, 1, 1, 20, 16, 12, generator=draw(8))
    moved = {**batch, "clips": 3 * batch["clips"] + 5 * anatomy}
    plain, shifted = (objective(b, draw(), compare=True).trivial["parcel mean"] for b in (batch, moved))
    torch.testing.assert_close(plain, shifted, rtol=1e-4, atol=1e-4)
    hidden = torch.zeros(4, 10, dtype=torch.bool)
    hidden[:, 3:6] = True
    values = objective.targets(batch["clips"][:, 0])
    changed = values + 7 * hidden[:, None]
    seen, same = (fluctuation(v, ~hidden)[:, :, :3] for v in (values, changed))
    assert torch.equal(seen, same), "hidden frames give no statistics"


def test_frames_are_hidden_in_stretches():
    objective = MaskedFrames(brainmt(), mask_ratio=0.5, span=5)
    hidden = objective.hidden_frames(torch.zeros(50, 10, 1, 20, 16, 12), draw())
    assert {tuple(row.tolist()) for row in hidden} == {(True,) * 5 + (False,) * 5, (False,) * 5 + (True,) * 5}


def test_hidden_frames_do_not_leak_into_the_prediction():
    objective, batch = MaskedFrames(brainmt(), span=5).eval(), clips("frames", batch=1)
    hidden = objective.hidden_frames(batch["clips"][:, 0], draw())
    changed = batch["clips"].clone()
    changed[:, 0][hidden] += 5.0
    seen = []
    objective.norm.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    for values in (batch["clips"], changed):
        objective({**batch, "clips": values}, draw())
    assert torch.equal(seen[0], seen[1])


def test_the_schedule_warms_up_within_its_share():
    module = PretrainModule(
        MaskedSeries(brainlm()), lambda x: x, OptimiserSettings(1e-2, warmup=0.1), steps=100, seed=0
    )
    settings = module.configure_optimizers()
    rates = []
    for _ in range(100):
        rates.append(settings["optimizer"].param_groups[0]["lr"])
        settings["optimizer"].step()
        settings["lr_scheduler"]["scheduler"].step()
    assert int(np.argmax(rates)) == 10
    assert max(rates) == pytest.approx(1e-2)
    assert rates[-1] < 2e-4
    assert settings["lr_scheduler"]["interval"] == "step"


def test_only_weights_of_linear_maps_and_convolutions_decay():
    for make in OBJECTIVES.values():
        module = PretrainModule(make(), lambda x: x, OptimiserSettings(), steps=10, seed=0)
        decayed, rest = module.configure_optimizers()["optimizer"].param_groups
        names = {id(p): name for name, p in module.named_parameters()}
        spared = ("bias", "norm", "cls_token", "mask_token", "pos_embed", "position", "A_log", "_b_log", "time_embed")
        for parameter in decayed["params"]:
            assert not any(word in names[id(parameter)].rsplit(".", 2)[-1] for word in spared), names[id(parameter)]
            assert parameter.ndim > 1
        kept = {names[id(p)].rsplit(".", 1)[-1] for p in rest["params"]}
        assert "bias" in kept


def test_wrong_settings_are_refused():
    with pytest.raises(UserError, match="learning_rate"):
        OptimiserSettings(learning_rate=0)
    with pytest.raises(ValueError, match="without augmentation"):
        ClipContrast(swift(), "local")
    with pytest.raises(ValueError, match="mask ratio above 0"):
        MaskedSeries(brainlm(), mask_ratio=0.0)(clips("series"), draw())
