"""Sources of the weights of a model: a seed, a folder, or the hub cache.

One answer to "which configuration, which weights, which identity" for the backbone alone and for the backbone with
its output head. Nothing is read but what was asked for; every key and shape is checked before the first tensor is
kept; the backbone weights of a seed are the same with and without the head.

Source: GenerTeam/GENERator (architecture and key names as published with the checkpoints).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from genebrain.common.reading import refuse_endless
from genebrain.common.types import UserError, wrong_types
from genebrain.genetics.model.checkpoints import (
    CHECKPOINTS,
    Checkpoint,
    fingerprint_files,
    hub_folder,
    read_config,
    read_weights,
    stored_shapes,
    weight_files,
)
from genebrain.genetics.model.tokenizer import BOS, EOS, VOCAB_SIZE

TINY = "generator_tiny"
HEAD = "lm_head.weight"
SIZES = (
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps",
    "pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings", "rope_theta", "rope_scaling",
    "rope_parameters", "attention_bias", "attention_dropout", "mlp_bias",
)  # fmt: skip
"""Keys of a ``config.json`` that are read. Others name code and where it comes from, or change no number."""


@dataclass(frozen=True)
class WeightSource:
    """One checkpoint, not loaded yet.

    Attributes
    ----------
    config : LlamaConfig
    fingerprint : str
        Identity of configuration and weights (not of dtype or device), 32 hex digits. The head of a checkpoint
        is part of it, so that a backbone and the language model of one checkpoint share it.
    files : list of Path
        Safetensors files; empty for seeded weights.
    seeded : mapping
        Weights drawn from a seed, by published key; empty for files.
    """

    config: LlamaConfig
    fingerprint: str
    files: list[Path] = field(default_factory=list)
    seeded: Mapping[str, Tensor] = field(default_factory=dict)

    def names(self) -> set[str]:
        """Names as stored."""
        return set(stored_shapes(self.files)) | set(self.seeded)

    def read(
        self, expected: Mapping[str, torch.Size], dtype: torch.dtype, key_of: Callable[[str], str | None]
    ) -> dict[str, Tensor]:
        """Weights by the keys of ``expected``; see :func:`~genebrain.genetics.model.checkpoints.read_weights`."""
        if self.files:
            return read_weights(self.files, expected, dtype, key_of)
        named = {key_of(name): value.to(dtype) for name, value in self.seeded.items()}
        return {key: named[key] for key in expected}


def find_weights(
    name: str, path: str | Path | None, revision: str | None, seed: int, allow_download: bool
) -> WeightSource:
    """Find a checkpoint by short name, folder, or (``generator_tiny``) seed; parameters of ``load_generator``.

    Raises
    ------
    UserError
        Unknown name, missing files, another architecture, or sizes that belong to another name.
    """
    if path is None and name == TINY:
        config = tiny_config()
        weights = _seeded_weights(config, seed)
        return WeightSource(config, _content(weights), seeded=weights)
    checkpoint = CHECKPOINTS.get(name)
    if path is None:
        if checkpoint is None:
            known = ", ".join([TINY, *CHECKPOINTS])
            raise UserError(f"no backbone named {name!r}; choose one of {known}, or give path=...")
        folder = hub_folder(checkpoint, revision, allow_download)
    else:
        folder = Path(path)
    raw, files = read_config(folder), weight_files(folder)
    config = llama_config(raw, files, folder / "config.json")
    if checkpoint is not None:
        _check_sizes(name, checkpoint, config, folder)
    return WeightSource(config, fingerprint_files(raw, files), files)


def place_for(dtype: torch.dtype | None, device: str | torch.device | None) -> tuple[torch.dtype, torch.device]:
    """Number format and device where none is named: bfloat16 on the first GPU if there is one, else float32 on CPU."""
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16), device


def tiny_config() -> LlamaConfig:
    """GENERator's architecture with 2 layers of 64 channels and an untied head, for tests and controls."""
    return LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=16384,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        bos_token_id=BOS,
        eos_token_id=EOS,
        tie_word_embeddings=False,
    )


def llama_config(raw: Mapping[str, Any], files: list[Path], path: Path) -> LlamaConfig:
    """The sizes of a configuration; whatever else it names (kernels, classes, number formats) is not looked at.

    Raises
    ------
    UserError
        No decoder can be built of it; one layer is tried, without memory.
    """
    refuse_endless(dict(raw), len(stored_shapes(files)), path)
    known = {key: value for key, value in raw.items() if key in SIZES}
    try:
        if wrong := wrong_types(LlamaConfig, known):
            raise ValueError("; ".join(wrong))
        config = LlamaConfig.from_dict(known)
        with torch.device("meta"):
            LlamaModel(LlamaConfig.from_dict({**known, "num_hidden_layers": 1}))
    except Exception as error:  # the library has kinds of its own for wrong values
        words = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({words}); is the download complete?") from error
    return config


def _seeded_weights(config: LlamaConfig, seed: int) -> dict[str, Tensor]:
    """Random weights that keep an untrained encoder informative, the same bits on every machine.

    Embeddings have unit variance and each linear map has variance 1 / fan-in, so that attention and MLP
    add to the residual stream at its own scale and attention is selective. (Llama's usual 0.02 leaves
    attention uniform and the branches near zero: the last-token vector would hardly see the sequence.)
    Values are uniform, not normal: exact integer draws scaled in float32, free of the vectorised log and
    cosine that differ in the last bit between processors. The head is drawn last, so that it moves nothing.
    """
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in LlamaModel(config).state_dict().items()}
    generator = torch.Generator().manual_seed(seed)

    def draw(shape: torch.Size, scale: float) -> Tensor:
        return (torch.rand(shape, generator=generator) * 2 - 1) * (3**0.5 * scale)

    weights: dict[str, Tensor] = {}
    for key, shape in sorted(shapes.items()):
        scale = 1.0 if key.startswith("embed_tokens") else shape[-1] ** -0.5
        gain_of_norm = len(shape) == 1
        weights[f"model.{key}"] = torch.ones(shape) if gain_of_norm else draw(shape, scale)
    weights[HEAD] = draw(torch.Size([config.vocab_size, config.hidden_size]), config.hidden_size**-0.5)
    return weights


def _content(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(weights.items()):
        if name != HEAD:  # a function of the same seed: the backbone names both
            digest.update(name.removeprefix("model.").encode() + value.numpy().tobytes())
    return digest.hexdigest()


def _check_sizes(name: str, checkpoint: Checkpoint, config: LlamaConfig, folder: Path) -> None:
    found = config.hidden_size, config.num_hidden_layers
    if found != (checkpoint.hidden_size, checkpoint.layers):
        raise UserError(
            f"{name} has hidden size {checkpoint.hidden_size} and {checkpoint.layers} layers, but {folder} "
            f"has {found[0]} and {found[1]}; choose the name that fits the folder"
        )
