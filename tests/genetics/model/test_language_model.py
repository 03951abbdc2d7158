"""The language model: logits from the published key names, read strictly, on the weights of the backbone."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.model.language_model import GeneratorLanguageModel, load_language_model
from genebrain.genetics.model.loaded import build_empty

cpu = partial(load_language_model, device="cpu")
TOKENS = torch.tensor([[1, 40, 800, 4127, 32, 1]])
PUBLISHED = {
    "1.2B": {"sizes": (2048, 5632, 26, 64), "parameters": 1_162_061_824},
    "3B": {"sizes": (3072, 8448, 30, 96), "parameters": 2_998_262_784},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = cpu().model
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()))
    save_file({k: v.clone() for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    return tmp_path


def _rewrite(folder: Path, weights: dict[str, torch.Tensor], **config: object) -> None:
    save_file({k: v.clone() for k, v in weights.items()}, folder / "model.safetensors")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))


def _published_config(hidden: int, mlp: int, layers: int) -> LlamaConfig:
    return LlamaConfig.from_dict(
        {
            "vocab_size": 4128,
            "hidden_size": hidden,
            "intermediate_size": mlp,
            "num_hidden_layers": layers,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "max_position_embeddings": 16384,
            "rope_theta": 500000.0,
            "tie_word_embeddings": False,
        }
    )


def test_backbone_weights_are_those_of_the_backbone_loader() -> None:
    for seed in (0, 7):
        language_model, backbone = cpu(seed=seed), load_generator(seed=seed, device="cpu")
        assert language_model.fingerprint == backbone.fingerprint
        hidden = backbone.model(TOKENS).last_hidden_state
        assert torch.equal(language_model.model.model(TOKENS).last_hidden_state, hidden)
        head = language_model.model.lm_head.weight
        torch.testing.assert_close(language_model.model(TOKENS).logits, hidden @ head.T, atol=1e-4, rtol=0)


def test_frozen_unless_asked_and_says_its_sizes() -> None:
    loaded = cpu()
    assert (loaded.hidden_size, loaded.dtype, loaded.device.type, loaded.max_tokens) == (
        64,
        torch.float32,
        "cpu",
        16384,
    )
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    trained = cpu(trainable=True).model
    assert trained.training
    trained(TOKENS, labels=TOKENS).loss.backward()
    assert all(p.grad is not None for p in trained.parameters())


def test_a_folder_with_an_untied_head_loads_strictly(folder: Path) -> None:
    assert torch.equal(cpu("mine", folder).model(TOKENS).logits, cpu().model(TOKENS).logits)


def test_a_tied_head_is_the_embedding_and_stays_it(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    _rewrite(folder, weights, tie_word_embeddings=True)
    model = cpu("mine", folder, trainable=True).model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert len(list(model.parameters())) == len(weights)

    _rewrite(folder, {**weights, "lm_head.weight": weights["model.embed_tokens.weight"]})
    assert torch.equal(cpu("mine", folder).model(TOKENS).logits, model(TOKENS).logits)
    _rewrite(folder, {**weights, "lm_head.weight": weights["model.embed_tokens.weight"] + 1})
    with pytest.raises(UserError, match=r"ties the head.*lm_head\.weight differs from model\.embed_tokens"):
        cpu("mine", folder)


def test_a_missing_head_or_wrong_keys_are_named_as_published(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"], weights["model.norm.weight"]
    weights["norm.weight"] = torch.ones(64)
    _rewrite(folder, weights)
    with pytest.raises(UserError, match=r"2 missing keys: model\.norm\.weight, lm_head\.weight") as caught:
        cpu("mine", folder)
    assert "1 unexpected keys: norm.weight" in str(caught.value)


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_sizes_and_key_names(size: str) -> None:
    hidden, mlp, layers, head_dim = PUBLISHED[size]["sizes"]
    model = build_empty(LlamaForCausalLM, _published_config(hidden, mlp, layers))
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[size]["parameters"]
    block = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (4 * head_dim, hidden),
        "self_attn.v_proj": (4 * head_dim, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (mlp, hidden),
        "mlp.up_proj": (mlp, hidden),
        "mlp.down_proj": (hidden, mlp),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    shapes = {f"model.layers.{i}.{key}.weight": shape for i in range(layers) for key, shape in block.items()}
    shapes |= {
        "model.embed_tokens.weight": (4128, hidden),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (4128, hidden),
    }
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == shapes


def test_padding_id_of_generation_is_set() -> None:
    loaded: GeneratorLanguageModel = cpu()
    ids = loaded.model.generate(TOKENS, max_new_tokens=3, do_sample=False)
    assert ids.shape == (1, 9)
    assert loaded.model.generation_config.pad_token_id == 3
