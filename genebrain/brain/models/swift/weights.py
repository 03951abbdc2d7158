"""Published SwiFT weights from a file: everything checked, nothing guessed silently.

A Lightning ``.ckpt`` (read with ``weights_only=True``, which runs no code of the file) or safetensors with the same
keys. Encoder keys start with ``model.``; those of an output head (``output_head.``) are left aside;
``model.head.*``, a layer that upstream never used and later removed, is dropped. Every other key must be there with
its shape. Shapes do not tell window sizes or the number of heads, so these must come from the file's
``hyper_parameters`` or from the caller; a wrong window would load and give wrong numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genebrain.brain.models.swift.config import PREFIX, PUBLISHED, SwiFTConfig
from genebrain.brain.models.swift.model import SwiFT
from genebrain.brain.models.weight_files import differences, read_weight_file, table_of_tensors
from genebrain.common.types import UserError

UNUSED = "model.head."


def load_swift(path: Path | str, config: SwiFTConfig | None = None) -> SwiFT:
    """An encoder in evaluation mode, float32 on the CPU, with the weights of a checkpoint.

    Parameters
    ----------
    path : path
        ``.ckpt`` or ``.safetensors``.
    config : SwiFTConfig, optional
        Instead of the file's ``hyper_parameters``. Where there are neither, the published sizes are taken,
        with a warning.

    Raises
    ------
    UserError
        The file is unreadable, or keys are missing, unexpected or of another shape (all three listed).
    """
    weights, hyper_parameters = read_checkpoint(Path(path))
    if config is None and hyper_parameters is not None:
        config = SwiFTConfig.from_mapping(hyper_parameters)
    elif config is None:
        config = PUBLISHED
        warnings.warn(
            f"{path} has no hyper_parameters: the published SwiFT sizes are assumed. Windows and heads cannot be "
            "checked from the weights; give a SwiFTConfig if they differ",
            stacklevel=2,
        )
    with torch.device("meta"):
        model = SwiFT(config)
    load_weights(model, weights, str(path))
    return model.eval()


def load_weights(model: SwiFT, weights: Mapping[str, Tensor], source: str) -> None:
    """Put ``model.*`` weights into an encoder (one on the meta device too), every key and shape checked first.

    Raises
    ------
    UserError
        Keys are missing or unexpected, or shapes differ; up to 20 of each kind are named.
    """
    own = {k: v for k, v in weights.items() if not k.startswith((UNUSED, "output_head."))}
    expected = {PREFIX + key: value for key, value in model.state_dict().items()}
    problems = differences(own, expected)
    if problems:
        raise UserError(f"{source} does not fit the SwiFT configuration: {'; '.join(problems)}")
    trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.load_state_dict({k.removeprefix(PREFIX): v.float() for k, v in own.items()}, assign=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable[name])


def read_checkpoint(file: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Weights under their published names, and ``hyper_parameters`` where the file has them.

    Raises
    ------
    UserError
        The file is not readable, would need code to be run, or holds no table of tensors.
    """
    content = read_weight_file(file)
    hyper_parameters = None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        hyper_parameters = content.get("hyper_parameters")
        content = content["state_dict"]
    weights = table_of_tensors(content, file)
    return weights, dict(hyper_parameters) if hyper_parameters else None
