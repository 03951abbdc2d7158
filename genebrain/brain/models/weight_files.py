"""Published weights from a file: tensors only, no code of the file is run; and the words for what does not fit.

Safetensors or a torch file go in, its content comes out; whatever is wrong with the file is one ``UserError``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from genebrain.common.types import UserError

LISTED = 20
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files of weights of a folder, in the order in which they are looked for."""


def file_in(path: Path, elsewhere: str = "") -> Path:
    """The file of weights: ``path`` itself, or the one in the folder ``path``.

    Raises
    ------
    UserError
        There is none; ``elsewhere`` says where it may be.
    """
    if path.is_file():
        return path
    for name in WEIGHTS:
        if (path / name).is_file():
            return path / name
    below = sorted(p.parent.name for name in WEIGHTS for p in path.glob(f"*/{name}"))
    hint = f"; its subfolders {', '.join(below)} have: choose one" if below else ""
    raise UserError(f"{path} has neither {' nor '.join(WEIGHTS)}{elsewhere or hint}")


def read_weight_file(file: Path) -> Any:
    """Content of a file of weights: a table of tensors, or what a training framework wrapped around one.

    Raises
    ------
    UserError
        The file is damaged, or holds objects that could only be read by running code.
    """
    try:
        if file.suffix == ".safetensors":
            # In memory of its own: sums over tensors that lie askew in a file differ in their last bit.
            return {name: tensor.clone() for name, tensor in load_file(file).items()}
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise a dozen kinds for damaged files
        if any(f"unsupported {what}" in str(error).lower() for what in ("global", "class")):
            raise UserError(
                f"{file} holds pickled objects other than tensors and plain values, which are not read because they "
                "could run code; save its state_dict alone, best as safetensors"
            ) from error
        # torch advises to read what it refuses without its guard: nobody should follow that.
        why = "no torch checkpoint" if "weights_only" in str(error) else str(error)
        raise UserError(f"{file} is not a readable file of weights ({why}); is the download complete?") from error


def table_of_tensors(content: Any, file: Path) -> dict[str, Tensor]:
    """The content, if it is a table of tensors.

    Raises
    ------
    UserError
        It is something else.
    """
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{file} is not a table of tensors: save the model's state_dict")
    return content


def differences(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Missing keys, unexpected keys and differing shapes in words, up to :data:`LISTED` of each; empty when all fit."""
    differ = [k for k, v in expected.items() if k in weights and weights[k].shape != v.shape]
    found = {
        "missing keys": [k for k in expected if k not in weights],
        "unexpected keys": [k for k in weights if k not in expected],
        "shapes that differ (file, model)": [f"{k} {list(weights[k].shape)} {list(expected[k].shape)}" for k in differ],
    }
    return [
        f"{len(keys)} {kind}: {', '.join(keys[:LISTED])}"
        + (f" and {len(keys) - LISTED} more" if len(keys) > LISTED else "")
        for kind, keys in found.items()
        if keys
    ]
