"""The GENERator language model: the backbone with its output head, for logits over the 4,128 tokens.

What variant scoring, generation and fine-tuning run. The model is :class:`transformers.LlamaForCausalLM`; its key
names are the published ones (``model.*`` and ``lm_head.weight``) and are read strictly; its backbone has the weights
that :func:`~genebrain.genetics.model.backbone.load_generator` gives.

Source: GenerTeam/GENERator (architecture as published with the checkpoints).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from genebrain.common.types import UserError
from genebrain.genetics.model.acceleration import check_runnable
from genebrain.genetics.model.checkpoints import published_key
from genebrain.genetics.model.context_modes import configure, language_model_class
from genebrain.genetics.model.loaded import LoadedModel, build_empty, finish, identity
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.model.tokenizer import BOS, EOS, PAD
from genebrain.genetics.model.weights import HEAD, TINY, WeightSource, find_weights, place_for

_EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True)
class GeneratorLanguageModel(LoadedModel):
    """A loaded decoder with its output head; ``model(input_ids=[batch, length]).logits`` is ``[batch, length, 4128]``.

    The fingerprint is that of the backbone: a checkpoint is one thing, with and without its head.
    """


def load_language_model(
    name: str = TINY,
    path: str | Path | None = None,
    *,
    revision: str | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    allow_download: bool = False,
    trainable: bool = False,
    options: ModelOptions | None = None,
) -> GeneratorLanguageModel:
    """Load a backbone with its head, by name, folder, hub cache or seed as ``load_generator`` does.

    With ``trainable`` the model is in train mode and every parameter has a gradient; else it is frozen.
    A head that the configuration ties to the embedding (``tie_word_embeddings``) need not be in the files; if it
    is there, it must be that embedding.

    Raises
    ------
    UserError
        Unknown name, missing files, another architecture, or keys and shapes that do not fit: counts, and the
        first of each kind by their published names.
    """
    options = options or ModelOptions()
    dtype, device = place_for(dtype, device)
    check_runnable(options, device, dtype)
    source = find_weights(name, path, revision, seed, allow_download)
    config = configure(source.config, options)
    model = build_empty(language_model_class(config), config)
    # The published configurations name no padding token, and the ids of the marks are no option.
    model.generation_config.update(pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS)
    model = finish(model, _weights(model, source, dtype), options, device, trainable)
    fingerprint = identity(source.fingerprint, options)
    return GeneratorLanguageModel(model, int(config.hidden_size), fingerprint, name, options)


def _weights(model: LlamaForCausalLM, source: WeightSource, dtype: torch.dtype) -> dict[str, Tensor]:
    expected = {key: value.shape for key, value in model.state_dict().items()}
    tied = bool(source.config.tie_word_embeddings)
    if tied and HEAD not in source.names():
        del expected[HEAD]
    weights = source.read(expected, dtype, published_key)
    if tied and not torch.equal(weights.setdefault(HEAD, weights[_EMBEDDING]), weights[_EMBEDDING]):
        raise UserError(
            f"{source.files[0].parent}: config.json ties the head to the embedding (tie_word_embeddings true), but the "
            f"stored {HEAD} differs from {_EMBEDDING}; if the head was trained alone, set tie_word_embeddings to false"
        )
    return weights
