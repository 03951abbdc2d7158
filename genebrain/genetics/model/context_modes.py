"""Beyond the trained length: the configuration and the stock model class of each context mode.

Turn ``chunks | yarn | sliding_window`` into what the library itself understands. Nothing is patched; YaRN is set
through the rotary parameters of the configuration, with its ramp computed from the length the model was trained for;
a sliding window is the library's Mistral class, which is Llama with a window, parameter for parameter.

Sources: GenerTeam/GENERator (length extension: YaRN from 16,384 positions, sliding window); Peng et al. 2023,
arXiv:2309.00071 (YaRN); Jiang et al. 2023, arXiv:2310.06825 (sliding window).
"""

from __future__ import annotations

from typing import Any

from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MistralConfig,
    MistralForCausalLM,
    MistralModel,
    PretrainedConfig,
)

from genebrain.common.types import UserError
from genebrain.genetics.model.options import ModelOptions

UNCHANGED_UP_TO = 1.05
"""A context up to 5 % above the trained length keeps the trained positions, as published."""

# What Mistral has no switch for; none of it is used by a GENERator checkpoint.
_NOT_IN_MISTRAL = ("attention_bias", "mlp_bias")


def configure(config: LlamaConfig, options: ModelOptions) -> PretrainedConfig:
    """Copy of a configuration for the context mode asked for.

    Raises
    ------
    UserError
        ``yarn`` to less than the trained length, a window beyond it, or a configuration that a mode can not run
        (both numbers).
    """
    if options.context == "yarn":
        return _stretched(config, int(options.context_tokens or 0))
    if options.context == "sliding_window":
        return _windowed(config, options.window)
    return LlamaConfig.from_dict(config.to_dict())


def decoder_class(config: PretrainedConfig) -> Any:
    """Class of the decoder without head that runs a configuration."""
    return MistralModel if isinstance(config, MistralConfig) else LlamaModel


def language_model_class(config: PretrainedConfig) -> Any:
    """Class of the decoder with head that runs a configuration."""
    return MistralForCausalLM if isinstance(config, MistralConfig) else LlamaForCausalLM


def _stretched(config: LlamaConfig, tokens: int) -> LlamaConfig:
    trained = int(config.max_position_embeddings)
    if tokens < trained:
        raise UserError(
            f"context_tokens={tokens} is less than the {trained} tokens that the model was trained for: YaRN only "
            "stretches; use context=chunks"
        )
    content = config.to_dict()
    content["max_position_embeddings"] = tokens
    if tokens > UNCHANGED_UP_TO * trained:
        content["rope_parameters"] = {
            "rope_type": "yarn",
            "rope_theta": _base(config),
            "factor": tokens / trained,
            "original_max_position_embeddings": trained,
        }
    return LlamaConfig.from_dict(content)


def _windowed(config: LlamaConfig, window: int) -> MistralConfig:
    trained = int(config.max_position_embeddings)
    if window > trained:
        raise UserError(
            f"window={window}: no token of the model ever saw one {trained} or more tokens away; use a window of at "
            f"most {trained}"
        )
    content = config.to_dict()
    if used := [key for key in _NOT_IN_MISTRAL if content.pop(key, False)]:
        raise UserError(f"config.json sets {', '.join(used)}, which context=sliding_window can not run")
    return MistralConfig.from_dict({**content, "model_type": MistralConfig.model_type, "sliding_window": window})


def _base(config: LlamaConfig) -> float:
    rope = config.rope_parameters
    if rope["rope_type"] != "default":
        raise UserError(
            f"config.json already has rotary positions of type {rope['rope_type']!r}; context=yarn starts from "
            "plain ones: use context=chunks, which takes them as they are"
        )
    return float(rope["rope_theta"])
