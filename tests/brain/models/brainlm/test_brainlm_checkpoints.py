"""Weights from files: every container, and every way they may fail to fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from genebrain.brain.models.brainlm.config import BrainLMConfig, ViTMAEConfig
from genebrain.brain.models.brainlm.image import ViTMAE
from genebrain.brain.models.brainlm.region_time import BrainLM
from genebrain.brain.models.brainlm.weights import detect_family, load_brainlm
from genebrain.common.types import UserError

SHARED = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 12,
    "patch_size": 4,
}
CONFIGS = {
    "brainlm_mae": {**SHARED, "model_type": "brainlm_mae", "timepoint_patching_size": 5, "conv_kernel_size": 3},
    "vit_mae": {**SHARED, "model_type": "vit_mae", "image_size": [12, 12]},
}


def build(kind: str) -> BrainLM | ViTMAE:
    config = CONFIGS[kind]
    model: BrainLM | ViTMAE
    model = (
        BrainLM(BrainLMConfig.from_json(config)) if kind == "brainlm_mae" else ViTMAE(ViTMAEConfig.from_json(config))
    )
    model.initialise(seed=1)
    return model


def folder(path: Path, kind: str) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIGS[kind]))
    return path


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("container", ["model.safetensors", "pytorch_model.bin", "last.ckpt"])
def test_weights_come_back_from_every_container(tmp_path, kind, container):
    state = build(kind).state_dict()
    file = folder(tmp_path, kind) / container
    if container.endswith(".safetensors"):
        save_file(state, file)
    elif container.endswith(".bin"):
        torch.save(state, file)
    else:
        torch.save({"epoch": 3, "state_dict": {f"model.{k}": v for k, v in state.items()}}, file)
    model = load_brainlm(file if container.endswith(".ckpt") else tmp_path)
    assert not model.training
    assert model.state_dict().keys() == state.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key
    expected = {name: parameter.requires_grad for name, parameter in build(kind).named_parameters()}
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == expected


@pytest.mark.parametrize("kind", CONFIGS)
def test_only_computed_tables_may_be_absent(tmp_path, kind):
    model = build(kind)
    state = {k: v for k, v in model.state_dict().items() if k not in model.fixed_tables()}
    save_file(state, folder(tmp_path, kind) / "model.safetensors")
    for key, value in load_brainlm(tmp_path).state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
    save_file(load_brainlm(tmp_path).state_dict(), tmp_path / "again.safetensors")  # refuses shared memory


def test_half_precision_weights_become_float32(tmp_path):
    state = {k: v.half() for k, v in build("vit_mae").state_dict().items()}
    save_file(state, folder(tmp_path, "vit_mae") / "model.safetensors")
    assert {v.dtype for v in load_brainlm(tmp_path).state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("kind", CONFIGS)
def test_all_that_does_not_fit_is_listed(tmp_path, kind):
    state = build(kind).state_dict()
    del state["vit.layernorm.weight"], state["decoder.decoder_norm.bias"]
    state["vit.pooler.weight"] = torch.zeros(2)
    state["vit.layernorm.bias"] = torch.zeros(9)
    save_file(state, folder(tmp_path, kind) / "model.safetensors")
    with pytest.raises(UserError) as error:
        load_brainlm(tmp_path)
    for part in (
        "2 missing keys: ",
        "vit.layernorm.weight",
        "decoder.decoder_norm.bias",
        "1 unexpected keys: vit.pooler.weight",
        "vit.layernorm.bias [9] [8]",
    ):
        assert part in str(error.value)


def test_long_lists_are_cut_with_a_count(tmp_path):
    state = build("vit_mae").state_dict()
    keep = {k: v for k, v in state.items() if "attention.attention" in k}
    save_file(keep, folder(tmp_path, "vit_mae") / "model.safetensors")
    missing = len(state) - len(keep) - 2
    with pytest.raises(UserError, match=f"{missing} missing keys: .* and {missing - 20} more"):
        load_brainlm(tmp_path)


def test_the_family_comes_from_the_keys(tmp_path):
    assert detect_family(build("brainlm_mae").state_dict()) == "region x time"
    assert detect_family(build("vit_mae").state_dict()) == "image"
    with pytest.raises(UserError, match="no BrainLM weights: 1 keys"):
        detect_family({"encoder.weight": 0})
    save_file(build("vit_mae").state_dict(), folder(tmp_path, "brainlm_mae") / "model.safetensors")
    with pytest.raises(UserError, match="image family, but its configuration is of 'brainlm_mae'"):
        load_brainlm(tmp_path)


class _Trap:
    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def test_pickled_objects_are_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**build("vit_mae").state_dict(), "trap": _Trap()}, folder(tmp_path, "vit_mae") / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickled objects"):
        load_brainlm(tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("content", [b"", b"not weights at all, only a few words of text", bytes(range(128, 188))])
def test_damaged_files(tmp_path, name, content):
    (folder(tmp_path, "vit_mae") / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        load_brainlm(tmp_path)


def test_a_truncated_download(tmp_path):
    file = folder(tmp_path, "vit_mae") / "pytorch_model.bin"
    torch.save(build("vit_mae").state_dict(), file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(UserError, match="download complete"):
        load_brainlm(tmp_path)


def test_files_that_hold_no_table(tmp_path):
    torch.save([1, 2], folder(tmp_path, "vit_mae") / "pytorch_model.bin")
    with pytest.raises(UserError, match="not a table of tensors"):
        load_brainlm(tmp_path)


def test_missing_files_and_the_right_subfolder(tmp_path):
    with pytest.raises(UserError, match=r"neither model.safetensors nor pytorch_model.bin$"):
        load_brainlm(tmp_path)
    torch.save(build("vit_mae").state_dict(), folder(tmp_path / "vitmae_111M", "vit_mae") / "pytorch_model.bin")
    with pytest.raises(UserError, match="subfolders vitmae_111M"):
        load_brainlm(tmp_path)
    (tmp_path / "vitmae_111M" / "config.json").unlink()
    with pytest.raises(UserError, match=r"config.json"):
        load_brainlm(tmp_path / "vitmae_111M")
    assert isinstance(load_brainlm(tmp_path / "vitmae_111M", config=CONFIGS["vit_mae"]), ViTMAE)
    (tmp_path / "vitmae_111M" / "config.json").write_text("[]")
    with pytest.raises(UserError, match="a JSON object is wanted"):
        load_brainlm(tmp_path / "vitmae_111M")
