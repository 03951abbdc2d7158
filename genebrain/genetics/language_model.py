"""The GENERator language model: the backbone with its output head, for logits over the 4,128 tokens.

Purpose: what variant scoring, generation and fine-tuning run. Contract: the model is
:class:`transformers.LlamaForCausalLM`; its key names are the published ones (``model.*`` and ``lm_head.weight``) and
are read strictly; its backbone has the weights that :func:`~genebrain.genetics.generator.load_generator` gives. What
this module does NOT know: sequences, scores, sampling, losses.

Source: GenerTeam/GENERator (architecture as published with the checkpoints).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from genebrain.genetics.generator_checkpoints import published_key
from genebrain.genetics.generator_weights import HEAD, TINY, WeightSource, find_weights, place_for, restore_rope
from genebrain.genetics.tokenizer import BOS, EOS, PAD
from genebrain.types import UserError

_EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True)
class GeneratorLanguageModel:
    """A loaded decoder with its output head.

    Attributes
    ----------
    model : LlamaForCausalLM
        ``model(input_ids=[batch, length]).logits`` is ``[batch, length, 4128]``.
    hidden_size : int
    fingerprint : str
        Identity of the checkpoint, 32 hex digits; the same as that of its backbone.
    name : str
        Short name as asked for.
    """

    model: LlamaForCausalLM
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
    dtype, device = place_for(dtype, device)
    source = find_weights(name, path, revision, seed, allow_download)
    model = empty_language_model(source.config)
    model.load_state_dict(_weights(model, source, dtype), strict=True, assign=True)
    model.tie_weights()
    restore_rope(model.model)
    model.set_attn_implementation("sdpa")
    # The published configurations name no padding token, and the ids of the marks are no option.
    model.generation_config.update(pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS)
    model = model.to(device).train(trainable).requires_grad_(trainable)
    return GeneratorLanguageModel(model, int(source.config.hidden_size), source.fingerprint, name)


def empty_language_model(config: LlamaConfig) -> LlamaForCausalLM:
    """A model of this configuration on the meta device: keys, shapes and sizes without memory."""
    with torch.device("meta"):
        return LlamaForCausalLM(config)


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
