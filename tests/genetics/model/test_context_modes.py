"""Context modes: set through the library's own configuration, one model at a time, refused where they make no sense."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.model.encode import encode_batch
from genebrain.genetics.model.language_model import load_language_model
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.store.plan import EmbedOptions

cpu = partial(load_generator, device="cpu")
TOKENS = torch.tensor([[1, 40, 800, 4127, 32, 1]])
YARN = ModelOptions(context="yarn", context_tokens=65536)
WINDOW = ModelOptions(context="sliding_window", window=3)


@pytest.fixture
def short_folder(tmp_path: Path) -> Path:
    """The tiny model, said to be trained for 8 positions."""
    model = cpu().model
    config = {**model.config.to_dict(), "max_position_embeddings": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({f"model.{k}": v.clone() for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    return tmp_path


def test_yarn_keeps_fast_rotations_and_slows_the_slow_ones() -> None:
    plain, stretched = (cpu(options=options).model.rotary_emb for options in (ModelOptions(), YARN))
    ratio = plain.inv_freq / stretched.inv_freq
    assert ratio[0].item() == pytest.approx(1)
    assert ratio[-1].item() == pytest.approx(4)
    assert (ratio.diff() >= -1e-6).all()
    assert stretched.attention_scaling == pytest.approx(0.1 * torch.tensor(4.0).log().item() + 1)
    assert cpu(options=YARN).max_tokens == 65536


def test_a_context_just_above_the_trained_one_is_left_alone_as_published() -> None:
    for tokens in (16384, 17203):
        near = cpu(options=ModelOptions(context="yarn", context_tokens=tokens))
        assert torch.equal(near.model.rotary_emb.inv_freq, cpu().model.rotary_emb.inv_freq)
        assert near.max_tokens == tokens


def test_modes_are_part_of_the_identity_and_kernels_are_not() -> None:
    kinds = [ModelOptions(), YARN, ModelOptions(context="yarn", context_tokens=32768), WINDOW]
    kinds += [ModelOptions(context="sliding_window", window=4)]
    prints = [cpu(options=options).fingerprint for options in kinds]
    assert len(set(prints)) == len(kinds)
    assert prints[0] == cpu().fingerprint
    tables = {EmbedOptions().fingerprint(cpu(options=options)) for options in kinds}
    assert len(tables) == len(kinds)
    assert cpu(options=ModelOptions(attention="eager", segment_tokens=7)).fingerprint == prints[0]
    assert load_language_model(device="cpu", options=WINDOW).fingerprint == prints[3]


def test_models_of_different_modes_live_side_by_side() -> None:
    before = cpu().model(TOKENS).last_hidden_state
    for options in (YARN, WINDOW):
        other = cpu(options=options).model(TOKENS).last_hidden_state
        assert not torch.allclose(before, other, atol=1e-2)
        assert torch.equal(cpu().model(TOKENS).last_hidden_state, before)


def test_a_window_has_the_same_keys_and_logits_with_the_head() -> None:
    plain, windowed = (load_language_model(device="cpu", options=options).model for options in (ModelOptions(), WINDOW))
    assert list(plain.state_dict()) == list(windowed.state_dict())
    hidden = cpu(options=WINDOW).model(TOKENS).last_hidden_state
    torch.testing.assert_close(windowed(TOKENS).logits, hidden @ windowed.lm_head.weight.T, atol=1e-4, rtol=0)
    wide = load_language_model(device="cpu", options=ModelOptions(context="sliding_window")).model
    torch.testing.assert_close(wide(TOKENS).logits, plain(TOKENS).logits, atol=1e-5, rtol=0)


def test_a_window_generates_with_rolling_state() -> None:
    model = load_language_model(device="cpu", options=WINDOW).model
    grown = model.generate(TOKENS, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    ids = TOKENS
    for _ in range(6):
        scores = model(ids, use_cache=False).logits[:, -1]
        scores[:, 2] = -torch.inf  # no end mark before the minimum
        ids = torch.cat([ids, scores.argmax(-1, keepdim=True)], 1)
    assert torch.equal(grown, ids)


def test_length_limits_follow_the_mode(short_folder: Path) -> None:
    tokens = torch.randint(32, 4128, (1, 12), generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match=r"12 tokens is longer than the 8 positions.*context=yarn or context=sliding"):
        encode_batch(cpu("mine", short_folder), tokens, torch.ones_like(tokens))
    for options in (
        ModelOptions(context="yarn", context_tokens=12),
        ModelOptions(context="sliding_window", window=8),
    ):
        loaded = cpu("mine", short_folder, options=options)
        assert encode_batch(loaded, tokens, torch.ones_like(tokens))["last"].isfinite().all()
    assert loaded.max_tokens == sys.maxsize


def test_contexts_that_make_no_sense_are_refused(short_folder: Path) -> None:
    load = partial(cpu, "mine", short_folder)
    with pytest.raises(UserError, match="context_tokens=7 is less than the 8 tokens that the model was trained for"):
        load(options=ModelOptions(context="yarn", context_tokens=7))
    with pytest.raises(UserError, match=r"window=9: .* at most 8"):
        load(options=ModelOptions(context="sliding_window", window=9))
    path = short_folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "attention_bias": True}))
    with pytest.raises(UserError, match="attention_bias, which context=sliding_window can not run"):
        load(options=ModelOptions(context="sliding_window", window=8))
    scaled = {"rope_type": "linear", "rope_theta": 500000.0, "factor": 2.0}
    path.write_text(json.dumps({**config, "rope_parameters": scaled}))
    with pytest.raises(UserError, match="rotary positions of type 'linear'"):
        load(options=ModelOptions(context="yarn", context_tokens=16))
