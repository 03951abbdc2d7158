"""How chunks become vectors, and in which batches.

The options that name a table of embeddings, and the batch plan that makes it reproducible. The same set of
chunks under the same token budget gives the same batches in any order of asking; a plan is on disk before its first
batch runs, and what is left of it is continued, never cut anew. (The last bits of a float32 vector depend on the
shape of the batch it was computed in: this is why batches are kept.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.model.tokenizer import RULE, FrameRule, SixMerTokenizer
from genebrain.genetics.model.views import ChunkViews, HiddenLayers, Strand
from genebrain.genetics.store.table_files import as_names, read_array, write_tensors


@dataclass(frozen=True)
class EmbedOptions:
    """How a chunk becomes a vector; all but the last three, which are about speed, are part of the fingerprint.

    Attributes
    ----------
    opening_mark, closing_mark : bool
        Put ``<s>`` in front of and behind every chunk. (The cards of the v2 models do both, those of v1 only
        the first.) Without the closing mark ``last`` is the vector of the last 6-mer.
    frame : str
        How a chunk whose length is no multiple of six is brought to one, see ``SixMerTokenizer.frame``.
    storage : {"float32", "float16"}
        Number format on disk. One changed 6-mer moves each entry of the mean over 250 tokens by about 0.006
        (tiny model); float16 rounds values near 1 at 0.0005 and costs some of that signal.
    strand, phases : str, sequence of int
        Strands and frames that are read per chunk, see :class:`~genebrain.genetics.model.views.ChunkViews`. Work grows
        with their number.
    layer, last_layers : int
        Hidden states that are pooled, see :class:`~genebrain.genetics.model.views.HiddenLayers`.
    tokens_per_batch : int, optional
        Upper limit of tokens, padding included, in one forward pass (a single longer chunk goes alone).
        Default: 4096 on CPU, where every core has its own batch, 32768 on GPU.
    chunks_per_shard, seconds_per_shard : int, float
        A shard is written when either is reached: the most that a kill can cost.
    """

    opening_mark: bool = True
    closing_mark: bool = True
    frame: FrameRule = "pad_right"
    storage: Literal["float32", "float16"] = "float32"
    strand: Strand = "forward"
    phases: tuple[int, ...] = (0,)
    layer: int = -1
    last_layers: int = 1
    tokens_per_batch: int | None = None
    chunks_per_shard: int = 4096
    seconds_per_shard: float = 120.0

    def __post_init__(self) -> None:
        SixMerTokenizer.frame("", self.frame)
        object.__setattr__(self, "phases", tuple(self.phases))  # YAML gives a list
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

    def width(self, backbone: GeneratorBackbone) -> int:
        """Length of a chunk's vector."""
        return self.views.width(backbone.hidden_size)

    def identity(self, backbone: GeneratorBackbone) -> dict[str, Any]:
        """Everything that decides the numbers, JSON-ready."""
        # Named only where they differ from a single plain reading, so that tables made before they existed are found.
        chosen = {**asdict(self.views), **asdict(self.layers)}
        plain = {**asdict(ChunkViews()), **asdict(HiddenLayers())}
        return {
            "model": backbone.fingerprint,
            "compute": str(backbone.dtype).removeprefix("torch."),
            "tokenizer": RULE,
            "opening_mark": self.opening_mark,
            "closing_mark": self.closing_mark,
            "frame": self.frame,
            "storage": self.storage,
            **{name: value for name, value in chosen.items() if value != plain[name]},
        }

    def fingerprint(self, backbone: GeneratorBackbone) -> str:
        """Name of the table these rules make with this backbone, 32 hex digits."""
        text = json.dumps(self.identity(backbone), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def token_budget(self, device: torch.device) -> int:
        """Limit of tokens in one forward pass on this device."""
        return self.tokens_per_batch or (4096 if device.type == "cpu" else 32_768)

    def n_tokens(self, n_letters: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of one reading of upper-case chunks of these lengths, marks included."""
        full, tail = np.divmod(n_letters, 6)
        padded = self.frame.startswith("pad")
        return full + (tail > 0) * padded + self.opening_mark + self.closing_mark


class BatchPlan:
    """The batches still to run, as a file: keys in running order, and batch sizes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[NDArray[np.bytes_]]:
        """Names of the chunks of every batch of an interrupted run; empty without one."""
        if not self.path.exists():
            return []
        names = as_names(read_array(self.path, "keys"))
        return np.split(names, np.cumsum(read_array(self.path, "sizes"))[:-1])

    def write(self, keys: NDArray[np.uint8], batches: list[NDArray[np.int64]]) -> None:
        """Keep the batches (rows of ``keys`` uint8 [chunks, 16]) before the first one runs."""
        sizes = np.array([len(batch) for batch in batches], np.int64)
        write_tensors(self.path, {"keys": keys[np.concatenate(batches)], "sizes": sizes})

    def remove(self) -> None:
        """All batches are stored: nothing is left to continue."""
        self.path.unlink(missing_ok=True)


def plan_batches(
    names: NDArray[np.bytes_],
    n_tokens: NDArray[np.int64],
    tokens_per_batch: int,
    unfinished: list[NDArray[np.bytes_]],
) -> list[NDArray[np.int64]]:
    """Batches of rows: first the unfinished ones as they were, then the others, longest first.

    Parameters
    ----------
    names : bytes [chunks]
        Distinct names of the chunks to encode.
    n_tokens : int64 [chunks]
    tokens_per_batch : int
        Limit of rows times longest row.
    unfinished : list of bytes arrays
        Batches an interrupted run had planned. One that holds a chunk not asked for now can not be repeated;
        the chunks of it that are asked for are planned anew.
    """
    order = np.argsort(names)
    left = np.ones(len(names), bool)
    batches = []
    for old in unfinished:
        if len(names) and (np.isin(old, names)).all():
            rows = order[np.searchsorted(names, old, sorter=order)]
            left[rows] = False
            batches.append(rows)
    rest = order[left[order]]
    rest = rest[np.argsort(-n_tokens[rest], kind="stable")]
    return batches + list(_filled(rest, n_tokens, tokens_per_batch))


def _filled(rows: NDArray[np.int64], n_tokens: NDArray[np.int64], tokens_per_batch: int) -> Iterator[NDArray[np.int64]]:
    start = 0
    while start < len(rows):
        longest = max(1, int(n_tokens[rows[start]]))
        size = max(1, tokens_per_batch // longest)
        yield rows[start : start + size]
        start += size
