"""Loading a backbone: the same bits everywhere, and every wrong folder explained."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaModel

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import GeneratorBackbone, load_generator
from genebrain.genetics.model.checkpoints import CHECKPOINTS

cpu = partial(load_generator, device="cpu")
TOKENS = torch.tensor([[1, 40, 800, 4127, 32, 1]])


@pytest.fixture
def tiny() -> GeneratorBackbone:
    return cpu()


@pytest.fixture
def folder(tiny: GeneratorBackbone, tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(tiny.model.config.to_dict()))
    weights = {f"model.{k}": v.clone() for k, v in tiny.model.state_dict().items()}
    save_file({**weights, "lm_head.weight": torch.zeros(4128, 64)}, tmp_path / "model.safetensors")
    return tmp_path


def _change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_tiny_has_the_same_weights_on_every_machine(tiny: GeneratorBackbone) -> None:
    assert tiny.fingerprint == "a033073ee1ae0243c4ca7adcbeafa054"
    assert tiny.fingerprint != cpu(seed=1).fingerprint


def test_loading_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    cpu(seed=3)
    assert torch.equal(state, torch.get_rng_state())


def test_backbone_is_frozen_and_says_its_sizes(tiny: GeneratorBackbone) -> None:
    assert not tiny.model.training
    assert not any(p.requires_grad for p in tiny.model.parameters())
    assert (tiny.hidden_size, tiny.dtype, tiny.device.type, tiny.max_tokens) == (
        64,
        torch.float32,
        "cpu",
        16384,
    )


def test_folder_equals_the_library_and_the_original(folder: Path, tiny: GeneratorBackbone) -> None:
    loaded = cpu("mine", folder).model(TOKENS).last_hidden_state
    (folder / "config.json").write_text(json.dumps({**tiny.model.config.to_dict(), "dtype": "float32"}))
    library = LlamaModel.from_pretrained(folder).eval()(TOKENS).last_hidden_state
    torch.testing.assert_close(loaded, tiny.model(TOKENS).last_hidden_state, atol=0, rtol=0)
    torch.testing.assert_close(loaded, library, atol=1e-6, rtol=0)


def test_rope_base_is_read_from_the_old_form_of_the_configuration(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["rope_parameters"]
    (folder / "config.json").write_text(json.dumps({**config, "rope_theta": 1234.0, "rope_scaling": None}))
    inverse = cpu("mine", folder).model.rotary_emb.inv_freq
    assert inverse[1].item() == pytest.approx(1234.0 ** (-2 / 16))


def test_shards_load_like_one_file(folder: Path) -> None:
    whole = cpu("mine", folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {
        "model-00001-of-00002.safetensors": names[::2],
        "model-00002-of-00002.safetensors": names[1::2],
    }
    for file, keys in parts.items():
        save_file({k: weights[k] for k in keys}, folder / file)
    index = {"weight_map": {k: file for file, keys in parts.items() for k in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    sharded = cpu("mine", folder)
    assert torch.equal(whole.model(TOKENS).last_hidden_state, sharded.model(TOKENS).last_hidden_state)

    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"1 of 2 weight files missing.*model-00002-of-00002"):
        cpu("mine", folder)


def test_fingerprint_follows_weights_and_configuration(folder: Path) -> None:
    prints = [cpu("mine", folder).fingerprint, cpu("other name", folder).fingerprint]
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][5] += 1e-3
    save_file(weights, folder / "model.safetensors")
    prints.append(cpu("mine", folder).fingerprint)
    _change_config(folder, rms_norm_eps=1e-6)
    prints.append(cpu("mine", folder).fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_all_keys_that_do_not_fit_are_reported_together(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    weights["model.extra.weight"] = torch.zeros(1)
    weights["model.embed_tokens.weight"] = torch.zeros(4128, 32)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError) as caught:
        cpu("mine", folder)
    for part in (
        "1 missing keys: norm.weight",
        "1 unexpected keys: extra.weight",
        "embed_tokens.weight (4128, 32) (4128, 64)",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("model_type", "gpt2"), ("vocab_size", 32000)])
def test_another_model_is_refused(folder: Path, key: str, value: object) -> None:
    _change_config(folder, **{key: value})
    with pytest.raises(UserError, match=rf"{value}.*not a GENERator checkpoint"):
        cpu("mine", folder)


def test_missing_or_unreadable_files_are_named(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x10\0\0\0")
    with pytest.raises(UserError, match=r"model\.safetensors is not a readable safetensors"):
        cpu("mine", folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"1 of 1 weight files missing.*pytorch_model\.bin is a pickle"):
        cpu("mine", folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="not a JSON object"):
        cpu("mine", folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config\.json.*model\.safetensors"):
        cpu("mine", folder)


def test_names_and_sizes_are_checked(folder: Path) -> None:
    with pytest.raises(UserError, match=r"'generator_v9'.*generator_tiny, generator_v1_1\.2b"):
        cpu("generator_v9")
    with pytest.raises(UserError, match=r"hidden size 3072 and 30 layers.*64 and 2"):
        cpu("generator_v2_3b", folder)


@pytest.mark.parametrize("allow_download", [False, True])
def test_weights_that_are_not_cached_are_explained_without_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allow_download: bool
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    offline = partial(huggingface_hub.snapshot_download, cache_dir=tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    checkpoint = CHECKPOINTS["generator_v2_1.2b"]
    with pytest.raises(UserError, match=rf"{checkpoint.hub_id} at revision {checkpoint.revision} is not in"):
        cpu("generator_v2_1.2b", allow_download=allow_download)


def test_network_is_not_asked_unless_allowed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    asked = []

    def record(hub_id: str, **options: object) -> str:
        asked.append((hub_id, options["revision"], options["local_files_only"]))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", record)
    for allowed in (False, True):
        with pytest.raises(UserError, match="choose the name that fits"):
            cpu("generator_v1_3b", revision="abc", allow_download=allowed)
    hub_id = "GenerTeam/GENERator-eukaryote-3b-base"
    assert asked == [(hub_id, "abc", True), (hub_id, "abc", False)]
