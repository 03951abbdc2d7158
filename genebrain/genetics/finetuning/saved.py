"""A fine-tuned model as files: written out of a training checkpoint, read again on its base.

``finetuned.json`` says what it is; beside it lie the head, and the adapters alone (``lora``) or a checkpoint folder
that ``load_generator`` and every other verb reads (``full``, or merged on request). Safetensors and JSON only;
another base is refused with both fingerprints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig

from genebrain.common.files import replacing
from genebrain.common.reading import contents_of, read_record
from genebrain.common.tensor_files import read_tensors, write_tensors
from genebrain.common.types import UserError, built
from genebrain.genetics.finetuning.predictor import SequencePredictor, to_prediction
from genebrain.genetics.finetuning.recipe import BaseModel, Recipe
from genebrain.genetics.finetuning.settings import HeadSettings, TokenSettings
from genebrain.genetics.finetuning.tokens import collate, tokenize
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.model.options import ModelOptions
from genebrain.training.adapters import load_adapters, merge_adapters, write_adapters

DESCRIPTION, HEAD, MODEL, CONFIG = "finetuned.json", "head.safetensors", "model.safetensors", "config.json"
FORMAT = "genebrain fine-tuned/1"
_PEFT = ".default.weight"


@dataclass(frozen=True)
class FinetunedModel:
    """A model that predicts labels of sequences.

    Attributes
    ----------
    task : str
    names : tuple of str
        Classes, labels, or regressed columns.
    """

    predictor: SequencePredictor
    task: str
    names: tuple[str, ...]
    tokens: TokenSettings
    max_tokens: int
    center: Tensor
    spread: Tensor

    @torch.inference_mode()
    def predict(self, sequences: Sequence[str], batch_size: int = 16) -> Tensor:
        """Probabilities, or numbers in the units of the label: float32 ``[sequences, outputs]``, on the CPU."""
        rows, _ = tokenize(sequences, self.tokens, self.max_tokens, language=False)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found = torch.zeros(len(rows), len(self.center))
        device = self.predictor.head.weight.device
        for begin in range(0, len(order), batch_size):
            picked = order[begin : begin + batch_size]
            ids, mask = (torch.from_numpy(part).to(device) for part in collate([rows[i] for i in picked], self.tokens))
            outputs = self.predictor({"ids": ids, "mask": mask}).cpu()
            found[picked] = to_prediction(self.task, outputs, self.center, self.spread)
        return found


def save_finetuned(
    folder: Path,
    trained: Mapping[str, Tensor],
    base: BaseModel,
    recipe: Recipe,
    names: Sequence[str],
    tokens: TokenSettings,
    max_tokens: int,
    *,
    merge: bool = False,
) -> Path:
    """Write the trained tensors of a checkpoint (by their names in the training module).

    With ``merge`` adapters are also added into a copy of the base, which becomes a checkpoint folder of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = base.source()
    language = recipe.task == "causal_lm"
    decoder = "model.model." if language else "predictor.decoder."
    if recipe.tuning == "lora":
        adapters = {
            key.removeprefix(decoder).removesuffix(_PEFT) + ".weight": value
            for key, value in trained.items()
            if key.startswith(decoder) and ".lora_" in key
        }
        write_adapters(adapters, folder, recipe.lora, base.fingerprint)
        if merge:
            _write_checkpoint(folder, source.config, _merged(folder, base, language))
    elif recipe.tuning == "full":
        prefix = "model." if language else "predictor.decoder."
        own = {key.removeprefix(prefix): value for key, value in trained.items() if key.startswith(prefix)}
        _write_checkpoint(folder, source.config, own if language else {f"model.{k}": v for k, v in own.items()})
    if not language:
        head = {k: v for k, v in trained.items() if k.startswith("predictor.head.") or k in ("center", "spread")}
        write_tensors(folder / HEAD, {key.removeprefix("predictor.head."): value for key, value in head.items()})
    description = {
        "format": FORMAT,
        "task": recipe.task,
        "tuning": recipe.tuning,
        "names": list(names),
        "head": asdict(recipe.head),
        "tokens": asdict(tokens),
        "max_tokens": max_tokens,
        "base": {"name": base.name, "fingerprint": base.fingerprint, "options": asdict(base.options)},
    }
    with replacing(folder / DESCRIPTION, private=False) as partial:
        partial.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return folder


def load_finetuned(folder: Path, base: BaseModel, dtype: torch.dtype = torch.float32) -> FinetunedModel:
    """Read a predictor; ``base`` is the model that it was tuned from (not needed after full tuning).

    Raises
    ------
    UserError
        No such model, a language model (which predicts no labels), or another base.
    """
    if not (folder / DESCRIPTION).is_file():
        raise UserError(f"{folder} holds no fine-tuned model: {DESCRIPTION} is missing")
    about = read_record(folder / DESCRIPTION)
    if about.get("format") != FORMAT:
        raise UserError(f"{folder / DESCRIPTION} has format {about.get('format')!r}, not {FORMAT!r}")
    with contents_of(folder / DESCRIPTION):
        for name in ("task", "tuning", "names", "head", "tokens", "max_tokens"):
            about[name]
        about["base"]["name"], about["base"]["fingerprint"]
    if about["task"] == "causal_lm":
        raise UserError(f"{folder} is a language model: load it with genetics.path={folder}, it predicts no labels")
    if about["tuning"] == "full":
        backbone = load_generator(
            f"{about['base']['name']} fine-tuned", folder, dtype=dtype, device=base.device, options=base.options
        )
    else:
        backbone = base.backbone(dtype)
        if backbone.fingerprint != about["base"]["fingerprint"]:
            raise UserError(
                f"{folder} was tuned from {about['base']['name']} with fingerprint {about['base']['fingerprint']}, but "
                f"{backbone.name} has {backbone.fingerprint}; name its base with genetics=... or genetics.path=..."
            )
    if about["tuning"] == "lora":
        load_adapters(backbone.model, folder, backbone.fingerprint)
    tensors = read_tensors(folder / HEAD)
    with contents_of(folder / HEAD):
        predictor = SequencePredictor(backbone, built(HeadSettings, about["head"]), len(about["names"]))
        center, spread = tensors.pop("center"), tensors.pop("spread")
        predictor.head.load_state_dict(tensors)
        tokens = built(TokenSettings, about["tokens"])
    return FinetunedModel(
        predictor.eval(), about["task"], tuple(about["names"]), tokens, int(about["max_tokens"]), center, spread
    )


def _merged(folder: Path, base: BaseModel, language: bool) -> dict[str, Tensor]:
    trained_on = base.fingerprint
    base = replace(base, device="cpu", options=ModelOptions())
    # In float32, since adding a small step to bfloat16 weights would round much of it away.
    if language:
        whole = base.language_model()
        load_adapters(whole.model.model, folder, trained_on)
        merge_adapters(whole.model.model)
        return dict(whole.model.state_dict())
    backbone = base.backbone()
    load_adapters(backbone.model, folder, trained_on)
    merge_adapters(backbone.model)
    return {f"model.{key}": value for key, value in backbone.model.state_dict().items()}


def _write_checkpoint(folder: Path, config: LlamaConfig, weights: Mapping[str, Tensor]) -> None:
    write_tensors(folder / MODEL, weights)
    with replacing(folder / CONFIG, private=False) as partial:
        partial.write_text(config.to_json_string(use_diff=False), encoding="utf-8")
