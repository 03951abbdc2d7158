"""Adapters: exact start, seeded, saved alone, refused on another base, merged without a difference."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import load_generator
from genebrain.training.adapters import (
    adapter_state,
    add_adapters,
    count_parameters,
    is_adapted,
    load_adapters,
    merge_adapters,
    save_adapters,
)
from genebrain.training.settings import LoraSettings

IDS = torch.tensor([[1, 40, 500, 4000, 77, 3000]])


def hidden(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).last_hidden_state


def disturb(model: nn.Module, seed: int = 0) -> None:
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Sequential(nn.Linear(8, 4, bias=False)))


def test_start_is_exactly_the_base_and_only_adapters_train() -> None:
    model = load_generator().model
    base = hidden(model)
    report = add_adapters(model, LoraSettings(rank=4, dropout=0.5), seed=1)
    assert torch.equal(hidden(model), base)
    assert not model.training
    assert not any(part.training for part in model.modules())
    # 2 layers of q, o: 64 -> 64; k, v: 64 -> 32; each with rank * (in + out)
    assert report.trainable == 2 * (2 * 4 * 128 + 2 * 4 * 96)
    assert report == count_parameters(model)
    assert f"{report.trainable:,} of {report.total:,}" in str(report)
    assert all(("lora_" in name) == p.requires_grad for name, p in model.named_parameters())


def test_seed_alone_decides_the_draws() -> None:
    states = []
    for seed, noise in ((1, 0), (1, 99), (2, 0)):
        torch.manual_seed(noise)
        model = load_generator().model
        add_adapters(model, LoraSettings(), seed)
        states.append(adapter_state(model))
    key = next(k for k in states[0] if "lora_A" in k)
    assert torch.equal(states[0][key], states[1][key])
    assert not torch.equal(states[0][key], states[2][key])


def test_saved_alone_and_loaded_again(tmp_path) -> None:
    backbone = load_generator()
    settings = LoraSettings(rank=2, targets=("q_proj", "down_proj"))
    add_adapters(backbone.model, settings, seed=0)
    disturb(backbone.model)
    save_adapters(backbone.model, tmp_path, settings, backbone.fingerprint)
    assert (tmp_path / "adapters.safetensors").stat().st_size < 20_000
    again = load_generator()
    assert load_adapters(again.model, tmp_path, again.fingerprint) == settings
    assert torch.equal(hidden(again.model), hidden(backbone.model))


def test_another_base_is_refused_with_both_fingerprints(tmp_path) -> None:
    backbone, other = load_generator(), load_generator(seed=5)
    add_adapters(backbone.model, LoraSettings(), seed=0)
    save_adapters(backbone.model, tmp_path, LoraSettings(), backbone.fingerprint)
    with pytest.raises(UserError, match=f"{backbone.fingerprint}.*{other.fingerprint}"):
        load_adapters(other.model, tmp_path, other.fingerprint)
    assert not is_adapted(other.model)


def test_merged_equals_adapted_and_is_plain_again() -> None:
    model = load_generator().model
    keys = list(model.state_dict())
    add_adapters(model, LoraSettings(targets=("all-linear",)), seed=0)
    disturb(model)
    adapted = hidden(model)
    assert (adapted - hidden(load_generator().model)).abs().max() > 0.1
    merge_adapters(model)
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(hidden(model), adapted, atol=1e-5, rtol=1e-5)
    add_adapters(model, LoraSettings(), seed=0)  # a merged model is a base again


def test_any_module_takes_adapters_by_name() -> None:
    model = small()
    x = torch.ones(2, 6)
    base = model(x)
    add_adapters(model, LoraSettings(rank=2, targets=("2.0",)), seed=0)
    assert torch.equal(model(x), base)
    assert list(adapter_state(model)) == ["2.0.lora_A.weight", "2.0.lora_B.weight"]


def test_half_precision_base_gets_float32_adapters_that_learn() -> None:
    model = load_generator(dtype=torch.bfloat16).model
    add_adapters(model, LoraSettings(), seed=0)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    model(input_ids=IDS).last_hidden_state.float().square().sum().backward()
    gradients = [p.grad for n, p in model.named_parameters() if "lora_B" in n]
    assert all(g is not None and g.abs().sum() > 0 for g in gradients)


def test_unknown_targets_are_named_together_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'q_porj' \(nearest: q_proj.*'gate'.*all-linear"):
        add_adapters(load_generator().model, LoraSettings(targets=("q_porj", "gate", "v_proj")), seed=0)


def test_wrong_settings_are_all_named() -> None:
    with pytest.raises(UserError, match=r"rank=0.*alpha=-1.*dropout=1.0.*targets"):
        LoraSettings(rank=0, alpha=-1, dropout=1.0, targets=())


def test_no_second_adapters_and_nothing_to_merge() -> None:
    model = small()
    with pytest.raises(UserError, match="no adapters"):
        merge_adapters(model)
    add_adapters(model, LoraSettings(targets="all-linear"), seed=0)
    with pytest.raises(UserError, match="already"):
        add_adapters(model, LoraSettings(targets="all-linear"), seed=0)


def test_torn_or_foreign_files_are_refused(tmp_path) -> None:
    model = small()
    settings = LoraSettings(targets=("all-linear",))
    add_adapters(model, settings, seed=0)
    save_adapters(model, tmp_path, settings, "base")
    weights = tmp_path / "adapters.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(UserError, match="replaced"):
        load_adapters(small(), tmp_path, "base")
    (tmp_path / "adapters.json").write_text(json.dumps({"settings": {}}))
    with pytest.raises(UserError, match="base_fingerprint"):
        load_adapters(small(), tmp_path, "base")
    weights.unlink()
    with pytest.raises(UserError, match=r"adapters.safetensors missing"):
        load_adapters(small(), tmp_path, "base")
