"""Encoder that is trained with the towers; checkpoints store only its trained parameters.

Parameters that are not trained are in no state dict, so neither a checkpoint of the training nor the fitted model
holds a copy of the base; what is saved names its base and refuses any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genebrain.common.files import make_private, write_private
from genebrain.common.reading import read_record
from genebrain.common.tensor_files import read_tensors, write_tensors
from genebrain.common.types import UserError
from genebrain.training import adapters
from genebrain.training.settings import TUNINGS, LoraSettings

WEIGHTS, DESCRIPTION = "weights.safetensors", "weights.json"


class TunedEncoder(nn.Module):
    """A model with adapters, or with all its weights set free.

    Parameters
    ----------
    model : nn.Module
        The encoder alone, without a head; changed in place.
    tuning : {"lora", "full"}
    lora : LoraSettings
        Read under ``lora``.
    seed : int
        Of the adapters.
    base_fingerprint : str
        Identity of the weights before training.
    """

    def __init__(self, model: nn.Module, tuning: str, lora: LoraSettings, seed: int, base_fingerprint: str) -> None:
        super().__init__()
        if tuning not in TUNINGS[1:]:
            raise ValueError(f"tuning={tuning!r}: a trained encoder is lora or full")
        self.tuning, self.lora, self.base_fingerprint = tuning, lora, base_fingerprint
        if tuning == "lora":
            adapters.add_adapters(model, lora, seed)
        else:
            model.requires_grad_(True)
        self.model = model.train()
        self.register_state_dict_post_hook(_without_frozen)
        self.register_load_state_dict_pre_hook(_frozen_stays)

    def keep_reached(self, output: Callable[[], Tensor]) -> None:
        """Leave alone what does not decide the output: a decoder, layers behind the one that is read.

        They would be counted as trained, and distributed training waits for gradients that never come.
        """
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.model.eval()
        with torch.enable_grad():
            gradients = torch.autograd.grad(output().sum(), trained, allow_unused=True)
        self.model.train()
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)

    def save(self, folder: Path) -> None:
        """Write what was trained, and the fingerprint of its base; private files."""
        if self.tuning == "lora":
            adapters.save_adapters(self.model, folder, self.lora, self.base_fingerprint)
        else:
            make_private(folder)
            write_tensors(folder / WEIGHTS, self.model.state_dict())
            text = json.dumps({"format": "genebrain tuned weights/1", "base_fingerprint": self.base_fingerprint})
            write_private(folder / DESCRIPTION, text.encode())
        folder.chmod(0o700)
        for path in folder.iterdir():
            path.chmod(0o600)

    def load(self, folder: Path) -> None:
        """Take back what :meth:`save` wrote.

        Raises
        ------
        UserError
            Nothing there, files that do not fit, or weights that belong to another base (both fingerprints).
        """
        if self.tuning == "lora":
            settings, base = adapters.read_settings(folder)
            self._check_base(folder, base)
            if settings != self.lora:
                raise UserError(f"the adapters in {folder} were made with {settings}, but the run says {self.lora}")
            adapters.set_adapter_state(self.model, read_tensors(folder / adapters.WEIGHTS))
            return
        missing = [name for name in (WEIGHTS, DESCRIPTION) if not (folder / name).is_file()]
        if missing:
            raise UserError(f"{folder} holds no trained encoder: {' and '.join(missing)} missing")
        self._check_base(folder, str(read_record(folder / DESCRIPTION).get("base_fingerprint")))
        self.model.load_state_dict(read_tensors(folder / WEIGHTS))

    def _check_base(self, folder: Path, base: str) -> None:
        if base != self.base_fingerprint:
            raise UserError(
                f"the weights in {folder} were trained from a base model with fingerprint {base}, but the model given "
                f"has {self.base_fingerprint}; give the base that they were trained from"
            )


def tuned_encoders(module: nn.Module) -> dict[str, TunedEncoder]:
    """Encoders in training inside a module, by their name in it."""
    return {name: part for name, part in module.named_modules() if isinstance(part, TunedEncoder)}


def _frozen(encoder: nn.Module) -> list[str]:
    return [name for name, parameter in encoder.named_parameters() if not parameter.requires_grad]


def _without_frozen(encoder: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in _frozen(encoder):
        state.pop(prefix + name, None)


def _frozen_stays(encoder: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    own = dict(encoder.named_parameters())
    for name in _frozen(encoder):
        state.setdefault(prefix + name, own[name].detach())
