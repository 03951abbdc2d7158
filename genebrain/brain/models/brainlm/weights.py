"""Weights of both BrainLM families from a folder: family told from the keys, everything checked, nothing guessed.

Safetensors, ``pytorch_model.bin`` or a Lightning ``.ckpt``; pickles are read with ``weights_only=True``, which runs
no code of the file. Every key must be there with its shape, or the load is refused: a model that silently starts
from random weights gives embeddings that look fine and mean nothing. Only the computed position tables may be
absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genebrain.brain.models.base import ScanEncoder
from genebrain.brain.models.brainlm.config import BrainLMConfig, ViTMAEConfig
from genebrain.brain.models.brainlm.image import ViTMAE
from genebrain.brain.models.brainlm.region_time import BrainLM
from genebrain.brain.models.weight_files import differences, file_in, read_weight_file, table_of_tensors
from genebrain.common.reading import read_record
from genebrain.common.types import UserError

FAMILIES: dict[str, tuple[str, type[BrainLM] | type[ViTMAE], str]] = {
    "region x time": (".attention.self.", BrainLM, "brainlm_mae"),
    "image": (".attention.attention.", ViTMAE, "vit_mae"),
}
"""Family -> (part of a key that only it has, class, ``model_type`` of its configuration)."""


def detect_family(keys: Mapping[str, Any]) -> str:
    """Family of the weights, from their names: "region x time" or "image".

    Raises
    ------
    UserError
        The keys belong to neither or to both.
    """
    found = [family for family, (part, _, _) in FAMILIES.items() if any(part in key for key in keys)]
    if len(found) != 1:
        raise UserError(
            f"these are no BrainLM weights: {len(keys)} keys, of {len(found)} of the two families; the first are "
            f"{', '.join(sorted(keys)[:5])}"
        )
    return found[0]


def load_brainlm(path: Path | str, *, config: Mapping[str, Any] | None = None) -> BrainLM | ViTMAE:
    """An encoder in evaluation mode with the weights of a checkpoint; it has no contract yet.

    Parameters
    ----------
    path : path
        A folder with ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``, or a file of
        weights (``.safetensors``, ``.bin``, ``.pt``, ``.ckpt``) beside a ``config.json``.
    config : mapping, optional
        Content of ``config.json``, instead of the file.

    Returns
    -------
    BrainLM or ViTMAE
        float32 on the CPU.

    Raises
    ------
    UserError
        Files are missing or unreadable, the configuration belongs to the other family, or keys are missing,
        left over or differ in shape (all three listed).
    """
    file = file_in(Path(path))
    advice = "weights need their config.json beside them: restore it from a copy, or fetch both again"
    values = dict(config) if config is not None else read_record(file.parent / "config.json", advice)
    weights = read_weights(file)
    family = detect_family(weights)
    _, _, model_type = FAMILIES[family]
    if (found := values.get("model_type", model_type)) != model_type:
        raise UserError(f"{file} holds weights of the {family} family, but its configuration is of {found!r}")
    with torch.device("meta"):
        model: BrainLM | ViTMAE = (
            BrainLM(BrainLMConfig.from_json(values))
            if family == "region x time"
            else ViTMAE(ViTMAEConfig.from_json(values))
        )
    load_weights(model, weights, str(file))
    return model.eval()


def load_weights(model: ScanEncoder, weights: Mapping[str, Tensor], source: str) -> None:
    """Put weights into a model (one on the meta device too), every key and shape checked first.

    Raises
    ------
    UserError
        Keys are missing or left over, or shapes differ; up to 20 of each kind are named.
    """
    complete = {**model.fixed_tables(), **weights}
    expected = model.state_dict()
    problems = differences(complete, expected)
    if problems:
        raise UserError(f"{source} does not fit its configuration: " + "; ".join(problems))
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    model.load_state_dict({k: v.float() for k, v in complete.items()}, strict=True, assign=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Tensors of one file under the names of the published checkpoints.

    A Lightning checkpoint is unwrapped (``state_dict``), and a prefix that all keys share before ``vit.`` or
    ``decoder.`` is dropped.

    Raises
    ------
    UserError
        The file is not readable, holds more than tensors, or no tensors.
    """
    content = read_weight_file(file)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    return _without_prefix(table_of_tensors(content, file))


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    anchor = next((key for key in weights if "vit.embeddings.cls_token" in key), "")
    prefix = anchor.removesuffix("vit.embeddings.cls_token")
    if prefix and all(key.startswith(prefix) for key in weights):
        return {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights
