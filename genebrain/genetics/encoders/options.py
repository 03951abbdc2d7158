"""Options of how a chunk becomes a stored vector, and the name of the table that they make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.model.options import ReadingRules
from genebrain.genetics.model.tokenizer import RULE, SixMerTokenizer
from genebrain.genetics.model.views import ChunkViews, HiddenLayers


class Sized(Protocol):
    """Something with vectors of a length."""

    @property
    def hidden_size(self) -> int:
        """Length of a vector."""


class Identified(Sized, Protocol):
    """A GENERator, loaded or not: identity of its weights, and number format that it computes in."""

    @property
    def fingerprint(self) -> str:
        """Identity of the weights."""

    @property
    def dtype(self) -> torch.dtype:
        """Number format of weights and activations."""


def table_name(identity: Mapping[str, Any]) -> str:
    """Fingerprint of a table: hash of everything that decides its numbers, 32 hex digits."""
    text = json.dumps(dict(identity), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _changed(chosen: Any, plain: Any) -> dict[str, Any]:
    """Only what differs from a single plain reading, so that tables made before these options existed are found."""
    known = asdict(plain)
    return {name: value for name, value in asdict(chosen).items() if value != known[name]}


@dataclass(frozen=True)
class EmbedOptions(ReadingRules):
    """How a chunk becomes a vector: :class:`genebrain.ReadingRules`, number format, and speed.

    All but the last three, which are about speed, are part of the fingerprint.

    Attributes
    ----------
    storage : {"float32", "float16"}
        Number format on disk. float16 moves differences between people by .1 % of their size (tiny model; bfloat16 as
        the format of computing: 1.2 %), from which dosages are decoded as well as before (``benchmarks/RESULTS.md``).
    tokens_per_batch : int, optional
        Upper limit of tokens, padding included, in one forward pass (a single longer chunk goes alone).
        Default: 4096 on CPU, where every core has its own batch, 32768 on GPU.
    chunks_per_shard, seconds_per_shard : int, float
        A shard is written when either is reached: the most that a kill can cost.
    """

    storage: Literal["float32", "float16"] = "float32"
    tokens_per_batch: int | None = None
    chunks_per_shard: int = 4096
    seconds_per_shard: float = 120.0

    def __post_init__(self) -> None:
        SixMerTokenizer.frame("", self.length_rule)
        super().__post_init__()
        _ = self.views, self.layers  # their constructors check the values
        if self.storage not in ("float32", "float16"):
            raise UserError(f"storage must be float32 or float16, not {self.storage!r}")
        limits = self.chunks_per_shard, 1 if self.tokens_per_batch is None else self.tokens_per_batch
        if min(limits) < 1:
            raise UserError(
                f"tokens_per_batch ({self.tokens_per_batch}) and chunks_per_shard ({self.chunks_per_shard}) "
                "must be at least 1"
            )

    @property
    def views(self) -> ChunkViews:
        """Strings that are read per chunk."""
        return ChunkViews(self.strand, self.phases)

    @property
    def layers(self) -> HiddenLayers:
        """Hidden states that are pooled."""
        return HiddenLayers(self.layer, self.last_layers)

    def width(self, backbone: Sized) -> int:
        """Length of a chunk's vector."""
        return self.views.width(backbone.hidden_size)

    def identity(self, backbone: Identified) -> dict[str, Any]:
        """Everything that decides the numbers of GENERator, JSON-ready."""
        return {
            "model": backbone.fingerprint,
            "compute": str(backbone.dtype).removeprefix("torch."),
            "tokenizer": RULE,
            "opening_mark": self.opening_mark,
            "closing_mark": self.closing_mark,
            "frame": self.length_rule,
            "storage": self.storage,
            **_changed(self.views, ChunkViews()),
            **_changed(self.layers, HiddenLayers()),
        }

    def fingerprint(self, backbone: Identified) -> str:
        """Name of the table these rules make with this backbone, 32 hex digits."""
        return table_name(self.identity(backbone))

    def plain_identity(self, name: str, fingerprint: str) -> dict[str, Any]:
        """The same for an encoder that reads letters in its own way."""
        return {"encoder": name, "model": fingerprint, "storage": self.storage, **_changed(self.views, ChunkViews())}

    def token_budget(self, device: torch.device) -> int:
        """Limit of tokens in one forward pass on this device."""
        return self.tokens_per_batch or (4096 if device.type == "cpu" else 32_768)

    def n_tokens(self, n_letters: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of one reading of upper-case chunks of these lengths, marks included."""
        full, tail = np.divmod(n_letters, 6)
        padded = self.length_rule.startswith("pad")
        return full + (tail > 0) * padded + self.opening_mark + self.closing_mark
