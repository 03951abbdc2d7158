"""The GENERator backbone: a stock Llama decoder, tiny with seeded weights or published.

Purpose: one loader for all. Contract: the model is :class:`transformers.LlamaModel` (final norm included, no
output head), in eval mode with gradients off, all sizes read from the configuration; no remote code, no
network unless asked. What this module does NOT know: sequences, chunks, pooling.

Source: GenerTeam/GENERator (architecture as published with the checkpoints).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from genebrain.genetics.generator_checkpoints import (
    CHECKPOINTS,
    Checkpoint,
    fingerprint_files,
    hub_folder,
    read_config,
    read_weights,
    weight_files,
)
from genebrain.genetics.tokenizer import BOS, EOS, VOCAB_SIZE
from genebrain.types import UserError

TINY = "generator_tiny"


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
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    if path is None and name == TINY:
        config = _tiny_config()
        weights = _seeded_weights(_empty_model(config), seed)
        return _assemble(config, weights, _content(weights), name, dtype, device)
    checkpoint = CHECKPOINTS.get(name)
    if path is None:
        if checkpoint is None:
            known = ", ".join([TINY, *CHECKPOINTS])
            raise UserError(f"no backbone named {name!r}; choose one of {known}, or give path=...")
        folder = hub_folder(checkpoint, revision, allow_download)
    else:
        folder = Path(path)
    raw = read_config(folder)
    config = LlamaConfig.from_dict(raw)
    if checkpoint is not None:
        _check_sizes(name, checkpoint, config, folder)
    files = weight_files(folder)
    expected = {key: value.shape for key, value in _empty_model(config).state_dict().items()}
    weights = read_weights(files, expected, dtype)
    return _assemble(config, weights, fingerprint_files(raw, files), name, dtype, device)


def _tiny_config() -> LlamaConfig:
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


def _seeded_weights(model: LlamaModel, seed: int) -> dict[str, Tensor]:
    """Random weights that keep an untrained encoder informative, the same bits on every machine.

    Embeddings have unit variance and each linear map has variance 1 / fan-in, so that attention and MLP
    add to the residual stream at its own scale and attention is selective. (Llama's usual 0.02 leaves
    attention uniform and the branches near zero: the last-token vector would hardly see the sequence.)
    Values are uniform, not normal: exact integer draws scaled in float32, free of the vectorised log and
    cosine that differ in the last bit between processors.
    """
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    for key, parameter in sorted(model.state_dict().items()):
        if parameter.ndim == 1:  # the gain of an RMS norm
            weights[key] = torch.ones(parameter.shape)
            continue
        scale = 1.0 if key.startswith("embed_tokens") else parameter.shape[1] ** -0.5
        weights[key] = (torch.rand(parameter.shape, generator=generator) * 2 - 1) * (3**0.5 * scale)
    return weights


def _content(weights: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(weights.items()):
        digest.update(key.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def _empty_model(config: LlamaConfig) -> LlamaModel:
    with torch.device("meta"):
        return LlamaModel(config)


def _assemble(
    config: LlamaConfig,
    weights: dict[str, Tensor],
    fingerprint: str,
    name: str,
    dtype: torch.dtype,
    device: torch.device,
) -> GeneratorBackbone:
    model = _empty_model(config)
    model.load_state_dict({key: value.to(dtype) for key, value in weights.items()}, strict=True, assign=True)
    model.rotary_emb = LlamaRotaryEmbedding(config)  # its frequencies are no weights: still empty on the meta device
    model.set_attn_implementation("sdpa")
    model = model.to(device).eval().requires_grad_(False)
    return GeneratorBackbone(model, int(config.hidden_size), fingerprint, name)


def _check_sizes(name: str, checkpoint: Checkpoint, config: LlamaConfig, folder: Path) -> None:
    found = config.hidden_size, config.num_hidden_layers
    if found != (checkpoint.hidden_size, checkpoint.layers):
        raise UserError(
            f"{name} has hidden size {checkpoint.hidden_size} and {checkpoint.layers} layers, but {folder} "
            f"has {found[0]} and {found[1]}; choose the name that fits the folder"
        )
