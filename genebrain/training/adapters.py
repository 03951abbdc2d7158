"""Low-rank adapters (LoRA) on any encoder: add, count, save alone, load, merge; the machinery is peft's.

An adapted model starts exactly where the base was (B is zero), the draws of A depend on the seed alone and not on
the device, only adapters are trainable, and adapters never load onto another base. Pass the encoder itself, not a
module that also holds a head: everything that is no adapter is frozen. Source: Hu et al. 2021 (LoRA); peft.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genebrain.common.files import replacing
from genebrain.common.hashing import content_digest
from genebrain.common.reading import read_record
from genebrain.common.tensor_files import read_tensors, write_tensors
from genebrain.common.types import UserError, built
from genebrain.training.settings import ALL_LINEAR, LoraSettings

WEIGHTS, DESCRIPTION = "adapters.safetensors", "adapters.json"
_NAME = "default"


@dataclass(frozen=True)
class ParameterReport:
    """How many numbers training moves."""

    trainable: int
    total: int

    def __str__(self) -> str:
        return f"{self.trainable:,} of {self.total:,} parameters are trained ({self.trainable / self.total:.2%})"


def count_parameters(module: nn.Module) -> ParameterReport:
    """Count trainable and all parameters of a module, adapters included."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return ParameterReport(sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes))


def linear_layers(model: nn.Module) -> list[str]:
    """Names of the linear layers that an adapter fits.

    The output layer inside torch's own multi-head attention is left out: its weight is used without calling the
    layer, so an adapter there would never be heard.
    """
    deaf = {f"{name}.out_proj" for name, part in model.named_modules() if isinstance(part, nn.MultiheadAttention)}
    return [name for name, part in model.named_modules() if isinstance(part, nn.Linear) and name not in deaf]


def add_adapters(model: nn.Module, settings: LoraSettings, seed: int) -> ParameterReport:
    """Put adapters on the targets, in place, and freeze everything else.

    Adapters are float32 whatever the number format of the base. Training mode, device and outputs of the model stay
    what they were.

    Parameters
    ----------
    model : nn.Module
        The encoder alone.
    seed : int
        Of the matrices A, uniform in +-1/sqrt(in) as in peft.

    Raises
    ------
    UserError
        Targets that are no linear layer (all named, each with the nearest names), or a model that has adapters.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if is_adapted(model):
        raise UserError("the model has adapters already: merge them first, or start from the base model")
    names = _resolve(model, settings.targets)
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=names
    )  # fmt: skip
    inject_adapter_in_model(config, model, adapter_name=_NAME)
    generator = torch.Generator().manual_seed(seed)
    for _, layer in sorted(_lora_layers(model)):
        a, b = layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight
        # Drawn on the CPU: a GPU draws other numbers from the same seed.
        draws = (torch.rand(a.shape, generator=generator) * 2 - 1) * a.shape[1] ** -0.5
        a.data = draws.to(a.device)
        b.data = torch.zeros(b.shape, device=b.device)
    model.train(model.training)  # the new dropout layers are in training mode, also in a model that is not
    return count_parameters(model)


def is_adapted(model: nn.Module) -> bool:
    """Whether the model carries adapters."""
    return next(_lora_layers(model), None) is not None


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters alone, by peft's names: a pair A ``[rank, in]``, B ``[out, rank]`` for each target."""
    tensors: dict[str, Tensor] = {}
    for name, layer in _lora_layers(model):
        for kind in ("lora_A", "lora_B"):
            tensors[f"{name}.{kind}.weight"] = getattr(layer, kind)[_NAME].weight.detach()
    if not tensors:
        raise UserError("the model has no adapters")
    return tensors


def set_adapter_state(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy the values of :func:`adapter_state` into the adapters of a model, with every key and shape checked."""
    own = adapter_state(model)
    differ = sorted(
        key for key in own.keys() | tensors.keys()
        if key not in own or key not in tensors or own[key].shape != tensors[key].shape
    )  # fmt: skip
    if differ:
        raise UserError(f"{len(differ)} adapters do not fit the model, the first: {', '.join(differ[:5])}")
    with torch.no_grad():
        for key, value in own.items():
            value.copy_(tensors[key])


def save_adapters(model: nn.Module, folder: str | Path, settings: LoraSettings, base_fingerprint: str) -> Path:
    """Write the adapters alone: ``adapters.safetensors`` and ``adapters.json`` (settings, base, checksum).

    Parameters
    ----------
    base_fingerprint : str
        Identity of the base weights, e.g. ``GeneratorBackbone.fingerprint``.
    """
    return write_adapters(adapter_state(model), folder, settings, base_fingerprint)


def write_adapters(
    tensors: Mapping[str, Tensor], folder: str | Path, settings: LoraSettings, base_fingerprint: str
) -> Path:
    """Write the tensors of :func:`adapter_state`, e.g. out of a training checkpoint, as :func:`save_adapters` does."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, tensors)
    description = {
        "format": "genebrain adapters/1",
        "base_fingerprint": base_fingerprint,
        "settings": asdict(settings),
        "checksum": content_digest(folder / WEIGHTS),
    }
    with replacing(folder / DESCRIPTION, private=False) as partial:
        partial.write_text(json.dumps(description, indent=2) + "\n")
    return folder


def read_settings(folder: str | Path) -> tuple[LoraSettings, str]:
    """Settings and base fingerprint of saved adapters.

    Raises
    ------
    UserError
        The folder holds no adapters, or a damaged pair of files.
    """
    folder = Path(folder)
    missing = [name for name in (WEIGHTS, DESCRIPTION) if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} holds no adapters: {' and '.join(missing)} missing")
    try:
        content = read_record(folder / DESCRIPTION)
        settings, base, checksum = content["settings"], str(content["base_fingerprint"]), content["checksum"]
        settings = built(LoraSettings, settings)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / DESCRIPTION} is not a description of adapters ({error})") from error
    if content_digest(folder / WEIGHTS) != checksum:
        raise UserError(f"{folder / WEIGHTS} is not the file that {DESCRIPTION} describes; was one of them replaced?")
    return settings, base


def load_adapters(model: nn.Module, folder: str | Path, base_fingerprint: str) -> LoraSettings:
    """Put saved adapters on their base model, in place.

    Raises
    ------
    UserError
        The adapters belong to another base (both fingerprints), or the files are missing or damaged.
    """
    settings, base = read_settings(folder)
    if base != base_fingerprint:
        raise UserError(
            f"the adapters in {folder} belong to a base model with fingerprint {base}, but the model given has "
            f"{base_fingerprint}; load the base that they were trained on"
        )
    add_adapters(model, settings, seed=0)
    set_adapter_state(model, read_tensors(Path(folder) / WEIGHTS))
    return settings


def merge_adapters(model: nn.Module) -> None:
    """Add the adapters into the base weights and take them off, in place: plain layers, the adapted outputs."""
    layers = list(_lora_layers(model))
    if not layers:
        raise UserError("the model has no adapters to merge")
    for name, layer in layers:
        layer.merge(safe_merge=True)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def _lora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    # `lora_A` is the mark of peft's layers; importing peft to ask for the type would cost every caller seconds.
    return ((name, part) for name, part in model.named_modules() if hasattr(part, "lora_A"))


def _resolve(model: nn.Module, targets: Sequence[str]) -> list[str]:
    layers = linear_layers(model)
    if tuple(targets) == (ALL_LINEAR,):
        return layers
    found = {t: [name for name in layers if name == t or name.endswith(f".{t}")] for t in targets}
    if unknown := [t for t, names in found.items() if not names]:
        ends = sorted({name.rsplit(".", 1)[-1] for name in layers if not name.rsplit(".", 1)[-1].isdigit()})
        known = dict.fromkeys([*ends, *layers])
        near = {t: difflib.get_close_matches(t, known, n=2) for t in unknown}
        words = [f"{t!r}" + (f" (nearest: {', '.join(near[t])})" if near[t] else "") for t in unknown]
        raise UserError(
            f"lora.targets: no linear layer is called {', '.join(words)}; this model has {', '.join(ends) or layers}"
            f" and takes {ALL_LINEAR} for all"
        )
    wanted = {name for names in found.values() for name in names}
    return [name for name in layers if name in wanted]
