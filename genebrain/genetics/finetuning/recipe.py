"""Recipe of a fine-tuning: a base model, frozen, with adapters or in full, and the module that trains it.

Float32 wherever its own weights are trained; adapters sit on the decoder, so they fit the backbone and the language
model of one checkpoint.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaModel

from genebrain.common.types import IntArray, UserError
from genebrain.genetics.finetuning.language import LanguageModule
from genebrain.genetics.finetuning.module import FinetuningModule, OptimiserSettings
from genebrain.genetics.finetuning.predictor import PredictionModule, SequencePredictor
from genebrain.genetics.finetuning.settings import HeadSettings
from genebrain.genetics.model.backbone import GeneratorBackbone, load_generator
from genebrain.genetics.model.context_modes import configure, decoder_class, language_model_class
from genebrain.genetics.model.language_model import GeneratorLanguageModel, load_language_model
from genebrain.genetics.model.loaded import build_empty, identity
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.model.weights import TINY, WeightSource, find_weights
from genebrain.training.adapters import add_adapters
from genebrain.training.settings import TUNINGS, LoraSettings


@dataclass(frozen=True)
class BaseModel:
    """Which checkpoint is tuned; parameters of :func:`~genebrain.genetics.model.backbone.load_generator`."""

    name: str = TINY
    path: str | None = None
    revision: str | None = None
    seed: int = 0
    allow_download: bool = False
    options: ModelOptions = field(default_factory=ModelOptions)
    device: str = "cpu"

    @property
    def fingerprint(self) -> str:
        """Identity of weights and context mode, without loading them."""
        return identity(self.source().fingerprint, self.options)

    @property
    def max_tokens(self) -> int:
        """Longest input that the model takes in this context mode."""
        if self.options.context == "sliding_window":
            return sys.maxsize
        return self.options.context_tokens or int(self.source().config.max_position_embeddings)

    def source(self) -> WeightSource:
        """Configuration and identity without loading weights."""
        return find_weights(self.name, self.path, self.revision, self.seed, self.allow_download)

    def backbone(self, dtype: torch.dtype = torch.float32) -> GeneratorBackbone:
        """The decoder."""
        return load_generator(
            self.name, self.path, revision=self.revision, seed=self.seed, dtype=dtype, device=self.device,
            allow_download=self.allow_download, options=self.options,
        )  # fmt: skip

    def language_model(self, dtype: torch.dtype = torch.float32) -> GeneratorLanguageModel:
        """The decoder with its output head."""
        return load_language_model(
            self.name, self.path, revision=self.revision, seed=self.seed, dtype=dtype, device=self.device,
            allow_download=self.allow_download, options=self.options,
        )  # fmt: skip


@dataclass(frozen=True)
class EmptyModel(BaseModel):
    """The same checkpoint without its weights, on the meta device: enough to count parameters."""

    def backbone(self, dtype: torch.dtype = torch.float32) -> GeneratorBackbone:
        """The decoder, empty."""
        config = self._config()
        model = build_empty(decoder_class(config), config)
        return GeneratorBackbone(model, int(config.hidden_size), "", self.name, self.options)

    def language_model(self, dtype: torch.dtype = torch.float32) -> GeneratorLanguageModel:
        """The decoder with its output head, empty."""
        config = self._config()
        model = build_empty(language_model_class(config), config)
        model.tie_weights()
        return GeneratorLanguageModel(model, int(config.hidden_size), "", self.name, self.options)

    def _config(self) -> Any:
        return configure(self.source().config, self.options)


@dataclass(frozen=True)
class Recipe:
    """What is trained.

    Parameters
    ----------
    task : {"classification", "multilabel", "regression", "causal_lm"}
    tuning : {"frozen", "lora", "full"}
    lora : LoraSettings
        For ``lora``.
    head : HeadSettings
        For labels.
    loss_parity : bool
        For ``causal_lm``: control tokens count as base A, as published.
    half : bool
        Keep frozen base weights in bfloat16 (on GPUs).
    """

    task: str
    tuning: str
    lora: LoraSettings
    head: HeadSettings
    loss_parity: bool = False
    half: bool = False

    def __post_init__(self) -> None:
        if self.tuning not in TUNINGS:
            raise UserError(f"tuning={self.tuning}: use one of {', '.join(TUNINGS)}")
        if self.task == "causal_lm" and self.tuning == "frozen":
            raise UserError("task=causal_lm with tuning=frozen has nothing to train; use tuning=lora or tuning=full")

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the base weights."""
        return torch.bfloat16 if self.half and self.tuning != "full" else torch.float32


def make_module(
    base: BaseModel, recipe: Recipe, targets: Tensor, outputs: int, train: IntArray, optimiser: OptimiserSettings,
    seed: int,
) -> FinetuningModule:  # fmt: skip
    """Build the module of one fold; every draw depends on the seed alone."""
    if recipe.task == "causal_lm":
        language_model = base.language_model(recipe.dtype)
        _tune(language_model.model.model, language_model.model, recipe, seed)
        return _trainable(LanguageModule(language_model, targets, optimiser, recipe.loss_parity))
    backbone = base.backbone(recipe.dtype)
    _tune(backbone.model, backbone.model, recipe, seed)
    predictor = SequencePredictor(backbone, recipe.head, outputs, seed)
    return _trainable(PredictionModule(predictor, recipe.task, targets, train, optimiser))


def _trainable(module: FinetuningModule) -> FinetuningModule:
    # Lightning leaves modules in the mode that it finds; a loaded backbone is in evaluation mode, without dropout.
    return module.train()


def _tune(decoder: LlamaModel, whole: torch.nn.Module, recipe: Recipe, seed: int) -> None:
    whole.requires_grad_(recipe.tuning == "full")
    if recipe.tuning == "lora":
        add_adapters(decoder, recipe.lora, seed)
