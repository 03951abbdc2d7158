"""From batches of chunk strings to finished shards: the loop that costs the time.

Run a planned list of batches through the encoder and hand each result to the shard writer. Batches run as
given; what is encoded is written even when the run is interrupted; values that are not finite never reach the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from genebrain.common.types import UserError
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.model.encode import POOLINGS, encode_batch
from genebrain.genetics.model.tokenizer import BOS, OOV, SixMerTokenizer, pad
from genebrain.genetics.store.plan import EmbedOptions
from genebrain.genetics.store.table_files import ShardWriter
from genebrain.training.batch_threads import in_order

_TOKENIZER = SixMerTokenizer()


@dataclass
class TokenCounts:
    """Running totals of an embedding run."""

    chunks: int = 0
    real: int = 0
    padding: int = 0
    oov: int = 0

    def add(self, other: TokenCounts) -> None:
        """Add the counts of one batch."""
        self.chunks += other.chunks
        self.real += other.real
        self.padding += other.padding
        self.oov += other.oov


def encode_batches(
    folder: Path,
    keys: NDArray[np.uint8],
    sequences: Sequence[bytes],
    batches: list[NDArray[np.int64]],
    backbone: GeneratorBackbone,
    options: EmbedOptions,
    bar_total: int | None,
) -> TokenCounts:
    """Encode rows of ``keys`` / ``sequences`` batch by batch into shards of ``folder``.

    ``bar_total`` is the number of tokens for the progress bar; None shows no bar. ``UserError`` for values
    that are not finite, and for a folder that can not be written.
    """
    counts = TokenCounts()
    writer = ShardWriter(folder, options.chunks_per_shard, options.seconds_per_shard)

    def encode(rows: NDArray[np.int64]) -> tuple[TokenCounts, dict[str, NDArray[np.floating[Any]]]]:
        seen, read = TokenCounts(len(rows)), []
        for view in options.views.read([sequences[i] for i in rows]):
            ids, mask = _tokens(view, options)
            real = int(mask.sum())
            seen.add(TokenCounts(0, real, mask.size - real, int((ids[mask] == OOV).sum())))
            with torch.inference_mode():
                read.append(
                    encode_batch(backbone, torch.from_numpy(ids), torch.from_numpy(mask), layers=options.layers)
                )
        return seen, _stored(read, backbone, options)

    with (
        tqdm(total=bar_total, unit="token", unit_scale=True, desc="embed", disable=bar_total is None) as bar,
        closing(in_order(encode, batches, backbone.device)) as results,
    ):
        try:
            for rows, (seen, vectors) in results:
                writer.add({"keys": keys[rows], **vectors})
                counts.add(seen)
                bar.update(seen.real)
        finally:  # on Ctrl-C, what is encoded is kept
            writer.flush()
    return counts


def chunk_tokens(sequences: Sequence[bytes], options: EmbedOptions) -> list[NDArray[np.int64]]:
    """Token ids of chunks as the encoder reads them, framed and with their marks."""
    framed = [_TOKENIZER.frame(s.decode("ascii"), options.frame).encode() for s in sequences]
    front, behind = [BOS] * options.opening_mark, [BOS] * options.closing_mark
    return [np.concatenate([front, ids, behind]).astype(np.int64) for ids in _TOKENIZER.encode_many(framed)]


def _tokens(sequences: list[bytes], options: EmbedOptions) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    return pad(chunk_tokens(sequences, options))


def _stored(
    read: list[dict[str, Tensor]], backbone: GeneratorBackbone, options: EmbedOptions
) -> dict[str, NDArray[np.floating[Any]]]:
    """One vector per chunk and pooling from the vectors of all its views, in the number format of the store."""
    pooled = {name: options.views.combine([view[name] for view in read]) for name in POOLINGS}
    stored = {name: values.cpu().numpy().astype(options.storage) for name, values in pooled.items()}
    broken = ~np.logical_and.reduce([np.isfinite(values).all(1) for values in stored.values()])
    if broken.any():
        raise UserError(
            f"{backbone.name} gave non-finite values for {broken.sum()} of {len(broken)} chunks of a batch "
            f"({backbone.dtype}, stored as {options.storage}); use float32"
        )
    return stored
