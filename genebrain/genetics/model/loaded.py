"""A decoder that is ready to run: what backbone and language model share.

Sizes, identity and place of a loaded model, and the last steps of loading. A model is built empty, takes every
weight strictly, and only then gets its kernels.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig

from genebrain.genetics.model.acceleration import accelerate
from genebrain.genetics.model.options import ModelOptions


@dataclass(frozen=True)
class LoadedModel:
    """A loaded decoder with or without head.

    Attributes
    ----------
    model : transformers model
    hidden_size : int
    fingerprint : str
        Identity of configuration, weights and context mode (not of dtype, device or kernels), 32 hex digits.
    name : str
        Short name as asked for.
    options : ModelOptions
    """

    model: Any
    hidden_size: int
    fingerprint: str
    name: str
    options: ModelOptions = field(default_factory=ModelOptions)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of weights and activations."""
        return self.model.dtype

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens that the positions allow; no limit (the largest int) with a sliding window."""
        if self.options.context == "sliding_window":
            return sys.maxsize
        return int(self.model.config.max_position_embeddings)


def build_empty(kind: Any, config: PretrainedConfig) -> Any:
    """Model of class ``kind`` on the meta device: keys, shapes and sizes without memory."""
    with torch.device("meta"):
        return kind(config)


def finish(
    model: Any, weights: Mapping[str, Tensor], options: ModelOptions, device: torch.device, trainable: bool
) -> Any:
    """Give an empty model its weights, all of them by name, then its place and kernels."""
    model.load_state_dict(weights, strict=True, assign=True)
    model.tie_weights()
    decoder = getattr(model, "model", model)
    # The rotary frequencies are no weights: on the meta device they are still empty.
    decoder.rotary_emb = type(decoder.rotary_emb)(model.config)
    model = model.to(device).train(trainable).requires_grad_(trainable)
    accelerate(model, options)
    return model


def identity(fingerprint: str, options: ModelOptions) -> str:
    """Fingerprint of a checkpoint in a context mode; that of the checkpoint itself for ``chunks``."""
    if not options.context_identity:
        return fingerprint
    return hashlib.blake2b(f"{fingerprint}:{options.context_identity}".encode(), digest_size=16).hexdigest()
