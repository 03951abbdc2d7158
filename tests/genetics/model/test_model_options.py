"""Options of a loaded model: per instance, checked before any weight is read, and honest about what they change."""

from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec

import pytest
import torch
from torch import nn
from transformers.models.llama import modeling_llama

from genebrain.common.types import UserError
from genebrain.genetics.model import acceleration
from genebrain.genetics.model.acceleration import check_runnable, use_liger
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.model.language_model import load_language_model
from genebrain.genetics.model.options import ModelOptions

TOKENS = torch.tensor([[1, 40, 800, 4127, 32, 1]])
GPU, CPU = torch.device("cuda"), torch.device("cpu")


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        ModelOptions(attention="flash", context="long", window=0, segment_tokens=-1)
    for part in ("attention=flash: use sdpa", "context=long: use chunks", "window=0: must be", "segment_tokens=-1"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": "yarn"}, "give context_tokens"),
        ({"context_tokens": 32768}, "read with context=yarn only, not chunks"),
    ],
)
def test_context_tokens_belong_to_yarn(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ModelOptions(**options)


@pytest.mark.parametrize("load", [load_generator, load_language_model])
def test_gpu_only_options_are_refused_on_cpu_before_weights_are_looked_for(load: object) -> None:
    options = ModelOptions(attention="flash_attention_2", liger=True)
    with pytest.raises(UserError) as caught:
        load("no such model", device="cpu", options=options)
    for part in ("attention=flash_attention_2 runs on NVIDIA GPUs", "liger=true runs on NVIDIA GPUs", "is on cpu"):
        assert part in str(caught.value)


def test_missing_extras_and_number_formats_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"flash_attn: pip install 'genebrain\[gpu\]'.*genebrain\[liger\].*not float32"):
        check_runnable(ModelOptions(attention="flash_attention_2", liger=True), GPU, torch.float32)
    monkeypatch.setattr(acceleration, "find_spec", lambda name: ModuleSpec(name, None))
    check_runnable(ModelOptions(attention="flash_attention_2", liger=True), GPU, torch.bfloat16)


def test_attention_kernels_agree_and_are_set_on_one_model_only() -> None:
    plain = load_generator(device="cpu")
    eager = load_generator(device="cpu", options=ModelOptions(attention="eager"))
    assert (plain.model.config._attn_implementation, eager.model.config._attn_implementation) == ("sdpa", "eager")
    torch.testing.assert_close(
        plain.model(TOKENS).last_hidden_state, eager.model(TOKENS).last_hidden_state, atol=1e-5, rtol=0
    )


def test_liger_exchanges_the_modules_of_one_model_around_the_same_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class LigerRMSNorm(nn.Module):
        def __init__(self, hidden_size: int, eps: float) -> None:
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.ones(hidden_size)), eps

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append("norm")
            return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.eps)

    class LigerSwiGLUMLP(nn.Module):
        def __init__(self, config: object) -> None:
            super().__init__()
            for name in ("gate_proj", "up_proj", "down_proj"):
                self.add_module(name, nn.Linear(1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append("mlp")
            return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))

    stub = types.ModuleType("liger_kernel.transformers")
    stub.LigerRMSNorm, stub.LigerSwiGLUMLP = LigerRMSNorm, LigerSwiGLUMLP
    monkeypatch.setitem(sys.modules, "liger_kernel", types.ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", stub)

    before = dict(vars(modeling_llama))
    other, fused = load_generator(device="cpu").model, load_generator(device="cpu").model
    names, wanted = list(fused.state_dict()), other(TOKENS).last_hidden_state
    parameters = {name: id(p) for name, p in fused.named_parameters()}
    use_liger(fused)
    assert calls == []
    torch.testing.assert_close(fused(TOKENS).last_hidden_state, wanted, atol=1e-5, rtol=0)
    assert (calls.count("norm"), calls.count("mlp")) == (5, 2)
    assert list(fused.state_dict()) == names
    assert {name: id(p) for name, p in fused.named_parameters()} == parameters
    assert not any(p.requires_grad for p in fused.parameters())
    calls.clear()
    assert torch.equal(other(TOKENS).last_hidden_state, wanted)
    assert calls == []
    assert all(vars(modeling_llama)[name] is value for name, value in before.items())


def test_checkpointing_gives_the_same_gradients_and_recomputes() -> None:
    gradients, passes = [], []
    for checkpointing in (False, True):
        model = load_language_model(
            device="cpu", trainable=True, options=ModelOptions(gradient_checkpointing=checkpointing)
        ).model
        count = []
        model.model.layers[0].mlp.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        model(TOKENS, labels=TOKENS, use_cache=False).loss.backward()
        gradients.append(model.model.layers[0].mlp.up_proj.weight.grad)
        passes.append(len(count))
    assert passes == [1, 2]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_blocks_are_compiled_on_one_model_only() -> None:
    compiled = load_generator(device="cpu", options=ModelOptions(compile=True)).model
    assert all(block._compiled_call_impl is not None for block in compiled.layers)
    assert all(block._compiled_call_impl is None for block in load_generator(device="cpu").model.layers)
    assert list(compiled.state_dict()) == list(load_generator(device="cpu").model.state_dict())


@pytest.mark.slow
def test_compiled_blocks_give_the_same_numbers() -> None:
    compiled, plain = (load_generator(device="cpu", options=ModelOptions(compile=flag)).model for flag in (True, False))
    for length in (6, 4):
        tokens = TOKENS[:, :length]
        torch.testing.assert_close(
            compiled(tokens).last_hidden_state, plain(tokens).last_hidden_state, atol=1e-5, rtol=0
        )
