"""Kernels and memory options, applied to one model instance.

Attention kernel, fused kernels, gradient checkpointing, compiled blocks. Only modules of the given model are
exchanged or switched, so that another model of the process runs as before; parameters and their names stay the same;
what can not run here is refused before the first input, with the reason.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from genebrain.common.types import UserError
from genebrain.genetics.model.options import ModelOptions


def check_runnable(options: ModelOptions, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse, before weights are read, what this device, number format or installation can not run.

    Raises
    ------
    UserError
        All reasons together.
    """
    problems = []
    wanted = [("attention=flash_attention_2", "flash_attn", "gpu", options.attention == "flash_attention_2")]
    wanted += [("liger=true", "liger_kernel", "liger", options.liger)]
    for option, package, extra, asked in wanted:
        if asked and device.type != "cuda":
            problems.append(f"{option} runs on NVIDIA GPUs only, but the model is on {device.type}")
        elif asked and find_spec(package) is None:
            problems.append(f"{option} needs the package {package}: pip install 'genebrain[{extra}]'")
    if options.attention == "flash_attention_2" and dtype == torch.float32:
        problems.append("attention=flash_attention_2 computes in bfloat16 or float16, not float32")
    if problems:
        raise UserError("; ".join(problems) + ". The defaults (attention=sdpa, liger=false) run everywhere")


def accelerate(model: nn.Module, options: ModelOptions) -> None:
    """Set the kernels and memory options of a decoder, with or without head, in place."""
    decoder: Any = getattr(model, "model", model)
    model.set_attn_implementation(options.attention)  # type: ignore[operator]
    if options.liger:
        use_liger(decoder)
    if options.gradient_checkpointing:
        # Renamed within transformers 5; the old name warns where both exist.
        enable: Any = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    if options.compile:
        for block in decoder.layers:
            block.compile()


def use_liger(decoder: Any) -> None:
    """Exchange the norms and MLPs of this decoder for Liger's, around the same parameters.

    Liger's own ``apply_liger_kernel_to_llama`` also exchanges classes of the library for the whole process, even
    where a model is given; its rotary kernel can only be had that way and is therefore left out.
    """
    from liger_kernel.transformers import LigerRMSNorm, LigerSwiGLUMLP

    def norm(old: Any) -> nn.Module:
        with torch.device("meta"):
            new = LigerRMSNorm(old.weight.shape[0], eps=old.variance_epsilon)
        new.weight = old.weight
        return new.train(old.training)

    def mlp(old: Any) -> nn.Module:
        with torch.device("meta"):
            new = LigerSwiGLUMLP(decoder.config)
        new.gate_proj, new.up_proj, new.down_proj = old.gate_proj, old.up_proj, old.down_proj
        return new.train(old.training)

    decoder.norm = norm(decoder.norm)
    for block in decoder.layers:
        block.input_layernorm = norm(block.input_layernorm)
        block.post_attention_layernorm = norm(block.post_attention_layernorm)
        block.mlp = mlp(block.mlp)
