"""The GENERator backbone: a stock Llama decoder, tiny with seeded weights or published.

Purpose: one loader for all. Contract: the model is :class:`transformers.LlamaModel` (final norm included, no
output head), in eval mode with gradients off, all sizes read from the configuration; no remote code, no
network unless asked. What this module does NOT know: sequences, chunks, pooling, the output head
(:mod:`genebrain.genetics.language_model`).

Source: GenerTeam/GENERator (architecture as published with the checkpoints).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaModel

from genebrain.genetics.generator_checkpoints import backbone_key
from genebrain.genetics.generator_weights import TINY, find_weights, place_for, restore_rope

__all__ = ["TINY", "GeneratorBackbone", "load_generator"]


@dataclass(frozen=True)
class GeneratorBackbone:
    """A loaded decoder.

    Attributes
    ----------
    model : LlamaModel
        ``model(input_ids=[batch, length]).last_hidden_state`` is ``[batch, length, hidden_size]``.
    hidden_size : int
    fingerprint : str
        Identity of configuration and weights (not of dtype or device), 32 hex digits.
    name : str
        Short name as asked for.
    """

    model: LlamaModel
    hidden_size: int
    fingerprint: str
    name: str

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
        """Longest input in tokens that the position encoding was trained for."""
        return int(self.model.config.max_position_embeddings)


def load_generator(
    name: str = TINY,
    path: str | Path | None = None,
    *,
    revision: str | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    allow_download: bool = False,
) -> GeneratorBackbone:
    """Load a backbone by short name, from a folder, from the hub cache, or (``generator_tiny``) from a seed.

    Parameters
    ----------
    name : str
        ``generator_tiny`` or a key of ``CHECKPOINTS``; any label if ``path`` is given.
    path : path, optional
        Folder with ``config.json`` and ``model.safetensors`` (or an index with its shards).
    revision : str, optional
        Hub commit instead of the pinned one.
    seed : int
        Weights of ``generator_tiny`` when no ``path`` is given.
    dtype : torch.dtype, optional
        Default: float32 on CPU, bfloat16 on GPU.
    device : optional
        Default: the first GPU if there is one, else CPU.
    allow_download : bool
        Whether the hub may be asked over the network for weights that are not cached.

    Raises
    ------
    UserError
        Unknown name, missing or unfitting files, or sizes that belong to another model than the name says.
    """
    dtype, device = place_for(dtype, device)
    source = find_weights(name, path, revision, seed, allow_download)
    model = _empty_model(source.config)
    expected = {key: value.shape for key, value in model.state_dict().items()}
    model.load_state_dict(source.read(expected, dtype, backbone_key), strict=True, assign=True)
    restore_rope(model)
    model.set_attn_implementation("sdpa")
    model = model.to(device).eval().requires_grad_(False)
    return GeneratorBackbone(model, int(source.config.hidden_size), source.fingerprint, name)


def _empty_model(config: LlamaConfig) -> LlamaModel:
    with torch.device("meta"):
        return LlamaModel(config)
