"""Loop from batches of chunk strings to finished shards; it costs the time.

Batches run as given; what is encoded is written even when the run is interrupted; values that are not finite never
reach the disk.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from genebrain.common.types import UserError
from genebrain.common.words import no_bar
from genebrain.genetics.encoders.options import EmbedOptions
from genebrain.genetics.encoders.protocol import ChunkReader, TokenCounts
from genebrain.genetics.store.table_files import ShardWriter
from genebrain.training.batch_threads import in_order

Vectors = dict[str, NDArray[np.floating[Any]]]
Encoded = tuple[NDArray[np.int64], tuple[TokenCounts, Vectors]]


def encode_batches(
    writer: ShardWriter,
    keys: NDArray[np.uint8],
    sequences: Sequence[bytes],
    batches: list[NDArray[np.int64]],
    reader: ChunkReader,
    options: EmbedOptions,
    bar_total: int | None,
) -> TokenCounts:
    """Encode rows of ``keys`` / ``sequences`` batch by batch into the shards of a writer.

    ``bar_total`` is the number of tokens for the progress bar; None shows no bar. ``UserError`` for values
    that are not finite, and for a folder that can not be written.
    """
    counts = TokenCounts()

    def encode(rows: NDArray[np.int64]) -> tuple[TokenCounts, Vectors]:
        with torch.inference_mode():
            seen, vectors = reader.read([sequences[i] for i in rows])
        return seen, _stored(vectors, reader, options)

    def one_by_one() -> Generator[Encoded]:
        for rows in batches:
            yield rows, encode(rows)

    reader.prepare()
    done = in_order(encode, batches, torch.device(reader.device)) if reader.threads else one_by_one()
    with (
        tqdm(
            total=bar_total, unit="token", unit_scale=True, desc="embed", disable=no_bar(bar_total is not None)
        ) as bar,
        closing(done) as results,
    ):
        try:
            for rows, (seen, vectors) in results:
                writer.add({"keys": keys[rows], **vectors})
                counts.add(seen)
                bar.update(seen.real)
        finally:  # on Ctrl-C, what is encoded is kept
            writer.flush()
    return counts


def _stored(read: dict[str, Tensor], reader: ChunkReader, options: EmbedOptions) -> Vectors:
    """One vector per chunk and pooling in the number format of the store."""
    stored = {name: read[name].cpu().numpy().astype(options.storage) for name in reader.poolings}
    broken = ~np.logical_and.reduce([np.isfinite(values).all(1) for values in stored.values()])
    if broken.any():
        raise UserError(
            f"{reader.name} gave non-finite values for {broken.sum()} of {len(broken)} chunks of a batch "
            f"({reader.compute}, stored as {options.storage}); use float32"
        )
    return stored
