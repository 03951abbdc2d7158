"""BrainMT weights from a file, every key and shape checked.

Safetensors, or a torch file read with ``weights_only``; a ``model_state_dict`` or ``state_dict`` inside is unwrapped
and the ``module.`` prefix of distributed training dropped.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from genebrain.brain.models.brainmt.config import BrainMTConfig
from genebrain.brain.models.brainmt.model import BrainMT
from genebrain.brain.models.weight_files import differences, read_weight_file, table_of_tensors
from genebrain.common.types import UserError

WRAPPERS = "model_state_dict", "state_dict"
PREFIX = "module."


def load_brainmt(path: str | Path, config: BrainMTConfig) -> BrainMT:
    """Encoder with the weights of a file, in float32, on the CPU, in evaluation mode.

    Raises
    ------
    UserError
        The file cannot be read without running code in it, holds no table of tensors, or its keys or shapes are
        not those of ``config`` (missing, unexpected and differing ones are listed).
    """
    path = Path(path)
    weights = _read(path)
    with torch.device("meta"):
        model = BrainMT(config)
    problems = differences(weights, model.state_dict())
    if problems:
        raise UserError(f"{path} does not fit its configuration: " + "; ".join(problems))
    model.load_state_dict({k: v.float() for k, v in weights.items()}, strict=True, assign=True)
    return model.requires_grad_(True).eval()


def _read(path: Path) -> dict[str, Tensor]:
    content = read_weight_file(path)
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    content = table_of_tensors(content, path)
    if all(key.startswith(PREFIX) for key in content):
        content = {key.removeprefix(PREFIX): value for key, value in content.items()}
    return content
