"""Read BrainMT weights from a file, every key and shape checked.

Contract: safetensors, or a torch file read with ``weights_only``; a ``model_state_dict`` or ``state_dict`` inside
is unwrapped and the ``module.`` prefix of distributed training dropped. What it does NOT know: where files come
from (the authors have published no weights), the network's inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from genebrain.brain.brainmt import BrainMT
from genebrain.brain.brainmt_config import BrainMTConfig
from genebrain.types import UserError

LISTED = 8
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
    expected = model.state_dict()
    problems = [
        *_listed("missing keys", [k for k in expected if k not in weights]),
        *_listed("unexpected keys", [k for k in weights if k not in expected]),
        *_listed(
            "shapes that differ (file, model)",
            [
                f"{k} {list(weights[k].shape)} {list(v.shape)}"
                for k, v in expected.items()
                if k in weights and weights[k].shape != v.shape
            ],
        ),
    ]
    if problems:
        raise UserError(f"{path} does not fit its configuration: " + "; ".join(problems))
    model.load_state_dict({k: v.float() for k, v in weights.items()}, strict=True, assign=True)
    return model.requires_grad_(True).eval()


def _read(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # both readers raise a dozen kinds for damaged or unsafe files
        raise UserError(
            f"{path} cannot be read as weights alone ({error}); save its state_dict, best as safetensors"
        ) from error
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{path} is not a table of tensors: save the model's state_dict")
    if all(key.startswith(PREFIX) for key in content):
        content = {key.removeprefix(PREFIX): value for key, value in content.items()}
    return content


def _listed(title: str, items: list[str]) -> list[str]:
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return [f"{len(items)} {title}: {', '.join(items[:LISTED])}{more}"] if items else []
