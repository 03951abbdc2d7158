"""The ways a chunk is read before its vectors are averaged: strands, frames of the 6-mers, layers of the decoder.

One chunk -> the strings that the encoder reads, and their vectors -> one vector. The other strand of a chunk has the
same views in another order, so ``both_mean`` does not change and ``both_concat`` swaps its halves when the input is
reverse-complemented; without options a chunk is read once, as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from genebrain.common.types import UserError
from genebrain.genetics.genome.reference import reverse_complement
from genebrain.genetics.model.options import Strand
from genebrain.genetics.model.tokenizer import K

if TYPE_CHECKING:
    from genebrain.genetics.model.backbone import GeneratorBackbone


@dataclass(frozen=True)
class ChunkViews:
    """Which strings are read for every chunk.

    Attributes
    ----------
    strand : {"forward", "both_mean", "both_concat"}
        The chunk as given, or also its reverse complement, averaged or side by side (forward first) after pooling.
    phases : tuple of int
        Frames of the 6-mers: phase ``p`` begins at letter ``p`` of the string that is read, on either strand. Their
        pooled vectors are averaged. A chunk with fewer than six letters behind ``p`` is read from letter 0 instead.
    """

    strand: Strand = "forward"
    phases: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.strand not in get_args(Strand):
            raise UserError(f"strand={self.strand!r}: use one of {', '.join(get_args(Strand))}")
        allowed = set(range(K))
        if not self.phases or len(set(self.phases)) < len(self.phases) or not set(self.phases) <= allowed:
            raise UserError(
                f"phases={list(self.phases)}: give each of the phases 0 to {K - 1} at most once, one at least"
            )

    @property
    def n_strands(self) -> int:
        """Strands that are read."""
        return 1 if self.strand == "forward" else 2

    @property
    def n_views(self) -> int:
        """Strings that the encoder reads per chunk."""
        return self.n_strands * len(self.phases)

    def width(self, hidden: int) -> int:
        """Length of a chunk's vector for an encoder of this hidden size."""
        return hidden * (2 if self.strand == "both_concat" else 1)

    def read(self, sequences: Sequence[bytes]) -> list[list[bytes]]:
        """Per view the strings of all chunks; strand by strand, in the order of ``phases``."""
        both = [list(sequences), [reverse_complement(text) for text in sequences]][: self.n_strands]
        return [
            [text[phase:] if len(text) >= phase + K else text for text in strand]
            for strand in both
            for phase in self.phases
        ]

    def combine(self, views: Sequence[Tensor]) -> Tensor:
        """Vectors ``[chunks, hidden]`` of every view -> one ``[chunks, width]``."""
        n = len(self.phases)
        strands = [mean_of(views[start : start + n]) for start in range(0, len(views), n)]
        return torch.cat(strands, dim=1) if self.strand == "both_concat" else mean_of(strands)


@dataclass(frozen=True)
class HiddenLayers:
    """Which hidden states are pooled.

    Attributes
    ----------
    layer : int
        -1 is the output behind the final norm; -k the output of the k-th last layer, which no norm has seen (as
        ``hidden_states[-k]`` of transformers).
    last_layers : int
        Mean of the last ones, -1 to ``-last_layers``; then ``layer`` stays -1.
    """

    layer: int = -1
    last_layers: int = 1

    def __post_init__(self) -> None:
        if self.layer >= 0 or self.last_layers < 1 or (self.layer != -1 and self.last_layers != 1):
            raise UserError(
                f"layer={self.layer}, last_layers={self.last_layers}: layers count from the end (-1 is the last), and "
                "the mean over several last ones (last_layers > 1) goes with layer=-1"
            )

    def run(self, backbone: GeneratorBackbone, ids: Tensor, state: Any = None) -> Tensor:
        """Hidden states float32 ``[batch, length, hidden]`` of token ids; ``UserError`` beyond the first layer.

        ``state`` is the key/value state of the tokens before these, which the model moves on; None for none.
        """
        inputs = {"input_ids": ids, "past_key_values": state, "use_cache": state is not None}
        if (self.layer, self.last_layers) == (-1, 1):
            return backbone.model(**inputs).last_hidden_state.float()
        present, deepest = backbone.model.config.num_hidden_layers, max(-self.layer, self.last_layers)
        if deepest > present:
            raise UserError(f"layer -{deepest} is asked for, but {backbone.name} has {present} layers")
        states = backbone.model(**inputs, output_hidden_states=True).hidden_states
        return (
            mean_of([s.float() for s in states[-self.last_layers :]])
            if self.layer == -1
            else states[self.layer].float()
        )


def mean_of(parts: Sequence[Tensor]) -> Tensor:
    """Mean of equally shaped tensors, added in their order; a single one is given back as it is."""
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).mean(0)
