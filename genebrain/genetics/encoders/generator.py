"""GENERator as a DNA encoder: known by name and fingerprint, loaded when the first chunk is read.

Chunks are framed to 6-mers, marked, packed into batches of like lengths and read on every core at once; the numbers
and the names of the tables are those of :class:`~genebrain.genetics.encoders.options.EmbedOptions`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genebrain.genetics.encoders.options import EmbedOptions
from genebrain.genetics.encoders.protocol import DNA_ENCODERS, ChunkReader, DNAWeights, TokenCounts
from genebrain.genetics.model.backbone import GeneratorBackbone, load_generator
from genebrain.genetics.model.checkpoints import CHECKPOINTS
from genebrain.genetics.model.context_modes import configure
from genebrain.genetics.model.encode import POOLINGS, encode_batch
from genebrain.genetics.model.loaded import identity
from genebrain.genetics.model.tokenizer import BOS, OOV, SixMerTokenizer, pad
from genebrain.genetics.model.weights import TINY, WeightSource, find_weights, place_for

_TOKENIZER = SixMerTokenizer()


class GeneratorEncoder:
    """A GENERator checkpoint of which nothing is read but its configuration and identity, until it must run.

    Parameters
    ----------
    weights : DNAWeights
    dtype, device : optional
        As for :func:`~genebrain.genetics.model.backbone.load_generator`.
    """

    poolings = POOLINGS

    def __init__(
        self, weights: DNAWeights, dtype: torch.dtype | None = None, device: str | torch.device | None = None
    ) -> None:
        self.weights, self.name, self.options = weights, weights.name, weights.options
        self.dtype, self.device = place_for(dtype, device)

    @cached_property
    def loaded(self) -> GeneratorBackbone:
        """The model with its weights."""
        chosen = self.weights
        return load_generator(
            chosen.name, chosen.path, revision=chosen.revision, seed=chosen.seed, dtype=self.dtype, device=self.device,
            allow_download=chosen.allow_download, options=chosen.options,
        )  # fmt: skip

    @cached_property
    def _facts(self) -> tuple[int, str, int]:
        chosen = self.weights
        source: WeightSource = find_weights(
            chosen.name, chosen.path, chosen.revision, chosen.seed, chosen.allow_download
        )
        config: Any = configure(source.config, chosen.options)
        return int(config.hidden_size), source.fingerprint, int(config.max_position_embeddings)

    @property
    def hidden_size(self) -> int:
        """Length of a vector."""
        return self._facts[0]

    @property
    def fingerprint(self) -> str:
        """Identity of configuration, weights and context mode; read from headers and samples of the files."""
        return identity(self._facts[1], self.options)

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens."""
        return sys.maxsize if self.options.context == "sliding_window" else self._facts[2]

    def encode(self, sequences: list[str]) -> dict[str, Tensor]:
        """Vectors float32 ``[sequences, hidden_size]`` of DNA strings by pooling, read with the default options."""
        reader = self.chunk_reader(EmbedOptions())
        with torch.inference_mode():
            return reader.read([sequence.encode() for sequence in sequences])[1]

    def chunk_reader(self, options: EmbedOptions) -> GeneratorReader:
        """The fast way of the chunk store: packed batches of tokens."""
        return GeneratorReader(self, options)


class GeneratorReader(ChunkReader):
    """A GENERator under reading options, see :class:`~genebrain.genetics.encoders.protocol.ChunkReader`."""

    threads = True
    poolings = POOLINGS

    def __init__(self, backbone: GeneratorBackbone | GeneratorEncoder, options: EmbedOptions) -> None:
        self._backbone, self.options = backbone, options
        self.name, self.n_views = backbone.name, options.views.n_views
        self.budget, self.device = options.token_budget(backbone.device), str(backbone.device)
        self.compute = str(backbone.dtype)

    @property
    def width(self) -> int:
        """Length of a stored vector."""
        return self.options.width(self._backbone)

    @property
    def max_tokens(self) -> int:
        """Longest chunk in tokens."""
        return self._backbone.max_tokens

    def identity(self) -> dict[str, Any]:
        """Everything that decides the numbers."""
        return self.options.identity(self._backbone)

    def sizes(self, n_letters: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of one reading of chunks of these lengths, marks included."""
        return self.options.n_tokens(n_letters)

    def prepare(self) -> None:
        """Load the weights."""
        _ = self._model

    @property
    def _model(self) -> GeneratorBackbone:
        return self._backbone.loaded if isinstance(self._backbone, GeneratorEncoder) else self._backbone

    def read(self, sequences: Sequence[bytes]) -> tuple[TokenCounts, dict[str, Tensor]]:
        """Counts, and tensors float32 ``[chunks, width]`` by pooling."""
        seen, read = TokenCounts(len(sequences)), []
        for view in self.options.views.read(sequences):
            ids, mask = pad(chunk_tokens(view, self.options))
            real = int(mask.sum())
            seen.add(TokenCounts(0, real, mask.size - real, int((ids[mask] == OOV).sum())))
            read.append(
                encode_batch(self._model, torch.from_numpy(ids), torch.from_numpy(mask), layers=self.options.layers)
            )
        return seen, {name: self.options.views.combine([view[name] for view in read]) for name in POOLINGS}


def chunk_tokens(sequences: Sequence[bytes], options: EmbedOptions) -> list[NDArray[np.int64]]:
    """Token ids of chunks as the encoder reads them, framed and with their marks."""
    framed = [_TOKENIZER.frame(s.decode("ascii"), options.length_rule).encode() for s in sequences]
    front, behind = [BOS] * options.opening_mark, [BOS] * options.closing_mark
    return [np.concatenate([front, ids, behind]).astype(np.int64) for ids in _TOKENIZER.encode_many(framed)]


for _name in (TINY, *CHECKPOINTS):
    DNA_ENCODERS.add(_name, GeneratorEncoder)
