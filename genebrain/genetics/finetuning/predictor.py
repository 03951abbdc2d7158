"""A decoder with a linear head on top: one vector per sequence, then the outputs of a task.

What classification and regression train. The vector is that of the last *real* token whatever the padding side, the
mean over real tokens, or all chunks of a long input side by side; an empty chunk is zeros. Source:
GenerTeam/GENERator, sequence understanding task.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.model.encode import cut, encode_batch, encode_chunks, final_representation

POOLINGS = ("last", "mean", "max", "chunks")


@dataclass(frozen=True)
class HeadSettings:
    """From tokens to one vector.

    Parameters
    ----------
    pooling : {"last", "mean", "max", "chunks"}
        ``chunks`` cuts the tokens into chunks, runs each alone and puts the vectors of their last tokens side by side.
    chunk_tokens, max_chunks : int
        For ``chunks``: tokens per chunk, and chunks the head has room for.
    overlap_fraction : float
        For ``chunks``: share of a chunk that the next one repeats, in [0, 1).
    parity : bool
        For ``chunks``: drop a tail shorter than a chunk and everything behind ``max_chunks``, as published.
    bias : bool
        The published heads have none.
    """

    pooling: str = "last"
    chunk_tokens: int = 4096
    max_chunks: int = 8
    overlap_fraction: float = 0.0
    parity: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise UserError(f"head.pooling={self.pooling!r}: use one of {', '.join(POOLINGS)}")
        if self.chunk_tokens < 3 or self.max_chunks < 1 or not 0 <= self.overlap_fraction < 1:
            raise UserError(
                f"head: chunk_tokens={self.chunk_tokens} must be at least 3, max_chunks={self.max_chunks} at least 1, "
                f"overlap_fraction={self.overlap_fraction} in [0, 1)"
            )

    def width(self, hidden_size: int) -> int:
        """Numbers that the head reads."""
        return hidden_size * (self.max_chunks if self.pooling == "chunks" else 1)

    def max_tokens(self, of_model: int) -> int:
        """Longest input in tokens, given that of the model."""
        if self.pooling != "chunks":
            return of_model
        if self.chunk_tokens > of_model:
            raise UserError(f"head.chunk_tokens={self.chunk_tokens}, but the model takes {of_model} tokens at a time")
        stride = self.chunk_tokens - int(self.chunk_tokens * self.overlap_fraction)
        return self.chunk_tokens + (self.max_chunks - 1) * stride


class SequencePredictor(nn.Module):
    """Tokens to outputs.

    Parameters
    ----------
    backbone : GeneratorBackbone
        Trained, adapted or frozen outside.
    outputs : int
    seed : int
        Of the head: normal with standard deviation 0.02, bias zero.
    """

    def __init__(self, backbone: GeneratorBackbone, settings: HeadSettings, outputs: int, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.decoder = backbone.model
        self._backbone = backbone
        self.head = nn.Linear(settings.width(backbone.hidden_size), outputs, bias=settings.bias)
        generator = torch.Generator().manual_seed(seed)
        self.head.weight.data = torch.randn(self.head.weight.shape, generator=generator) * 0.02
        if settings.bias:
            nn.init.zeros_(self.head.bias)

    def vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        """One float32 vector per sequence, ``[batch, width]``, from ids and mask ``[batch, length]``."""
        settings = self.settings
        if settings.pooling != "chunks":
            return encode_batch(self._backbone, ids, mask)[settings.pooling]
        chunks = cut(
            ids,
            mask,
            chunk_size=settings.chunk_tokens,
            max_chunks=settings.max_chunks,
            overlap_fraction=settings.overlap_fraction,
            parity=settings.parity,
        )
        vectors, _ = encode_chunks(self._backbone, chunks)
        return final_representation(vectors["last"], settings.max_chunks)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Outputs ``[batch, outputs]`` of token batches, or of batches of ready ``vectors``."""
        vectors = batch["vectors"] if "vectors" in batch else self.vectors(batch["ids"], batch["mask"])
        return self.head(vectors.to(self.head.weight.dtype)).float()
