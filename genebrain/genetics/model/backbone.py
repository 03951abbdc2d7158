"""The GENERator backbone: a stock Llama decoder, tiny with seeded weights or published.

One loader for all. The model is :class:`transformers.LlamaModel` (final norm included, no output head; with a
sliding window its twin :class:`transformers.MistralModel`), in eval mode with gradients off, all sizes read from the
configuration; no remote code, no network unless asked.

Source: GenerTeam/GENERator (architecture as published with the checkpoints).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from genebrain.genetics.model.acceleration import check_runnable
from genebrain.genetics.model.checkpoints import backbone_key
from genebrain.genetics.model.context_modes import configure, decoder_class
from genebrain.genetics.model.loaded import LoadedModel, build_empty, finish, identity
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.model.weights import TINY, find_weights, place_for

__all__ = ["TINY", "GeneratorBackbone", "load_generator"]


@dataclass(frozen=True)
class GeneratorBackbone(LoadedModel):
    """A loaded decoder; ``model(input_ids=[batch, length]).last_hidden_state`` is ``[batch, length, hidden_size]``."""


def load_generator(
    name: str = TINY,
    path: str | Path | None = None,
    *,
    revision: str | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    allow_download: bool = False,
    options: ModelOptions | None = None,
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
    options : ModelOptions, optional
        Kernels and long context.

    Raises
    ------
    UserError
        Unknown name, missing or unfitting files, sizes that belong to another model than the name says, or an
        option that can not run here.
    """
    options = options or ModelOptions()
    dtype, device = place_for(dtype, device)
    check_runnable(options, device, dtype)
    source = find_weights(name, path, revision, seed, allow_download)
    config = configure(source.config, options)
    model = build_empty(decoder_class(config), config)
    weights = source.read({key: value.shape for key, value in model.state_dict().items()}, dtype, backbone_key)
    model = finish(model, weights, options, device, trainable=False)
    return GeneratorBackbone(model, int(config.hidden_size), identity(source.fingerprint, options), name, options)
