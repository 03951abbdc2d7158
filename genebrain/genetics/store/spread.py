"""Batches of a chunk table as shares for workers on other machines, each of which becomes one file of the table.

A share holds whole batches of the plan of the whole request, so the vectors have the bits of an undivided run. Its file
lies beside the table under the name of its content until it is moved in; a share that was worked out twice is one file.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.common.files import make_private
from genebrain.engines.run import CLAIMS, run_shares
from genebrain.engines.share import Share, name_of
from genebrain.genetics.encoders.options import EmbedOptions
from genebrain.genetics.encoders.protocol import ChunkReader, TokenCounts
from genebrain.genetics.store.fill import encode_batches
from genebrain.genetics.store.plan import plan_batches
from genebrain.genetics.store.table_files import ShardIndex, ShardWriter, as_names, next_shard, write_tensors

MOST_BATCHES, FEWEST_SHARES = 64, 32
"""Batches of a share (seconds on a GPU, minutes on a core), and shares of a small table."""


class ShareWriter(ShardWriter):
    """Collects the rows of a share; nothing is on disk before all of them are."""

    def __init__(self) -> None:
        super().__init__(Path(), 0, 0.0)

    def add(self, part: dict[str, NDArray[Any]]) -> None:
        """Take one batch of rows."""
        self._parts.append(part)

    def flush(self) -> None:
        """A share that was interrupted leaves nothing."""

    def write(self, target: Path) -> None:
        """Store all rows in one file."""
        parts = self._parts
        write_tensors(target, {name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def share_file(table: Path, share: Share) -> Path:
    """Where the vectors of a share lie until they are part of the table."""
    return table / CLAIMS / f"{share.key}.safetensors"


def encode_share(
    shared: tuple[ChunkReader, EmbedOptions],
    target: str,
    sizes: list[int],
    keys: NDArray[np.uint8],
    sequences: list[bytes],
) -> dict[str, int]:
    """Encode the batches (their numbers of chunks in ``sizes``) of a share into ``target``; returns the counts."""
    reader, options = shared
    if Path(target).exists():  # by a worker that was lost before it could say so
        return asdict(TokenCounts())
    make_private(Path(target).parent)
    writer = ShareWriter()
    batches = np.split(np.arange(len(keys)), np.cumsum(sizes)[:-1])
    counts = encode_batches(writer, keys, sequences, batches, reader, options, None)
    writer.write(Path(target))
    return asdict(counts)


def encode_by_workers(
    table: Path,
    keys: NDArray[np.uint8],
    sequences: Sequence[bytes],
    batches: list[NDArray[np.int64]],
    reader: ChunkReader,
    options: EmbedOptions,
    progress: bool,
) -> TokenCounts:
    """Encode batches of rows with the workers of the engine; each share is part of the table as soon as it is done."""
    counts = TokenCounts()
    shares = _shares(table, keys, sequences, batches, options.chunks_per_shard)
    for share, seen in _run(table, shares, {}, reader, options, progress):
        share_file(table, share).rename(next_shard(table))
        counts.add(TokenCounts(**seen))
    shutil.rmtree(table / CLAIMS, ignore_errors=True)
    return counts


def encode_claimed(
    table: Path,
    keys: NDArray[np.uint8],
    sequences: Sequence[bytes],
    reader: ChunkReader,
    options: EmbedOptions,
    progress: bool,
) -> tuple[int, int, int, TokenCounts]:
    """Encode free shares until all are done; what they left becomes part of the table in a later run without shard.

    Returns
    -------
    distinct, new, batches : int
        Chunks that are asked for, those of them that the table did not hold, and batches of the whole plan.
    counts : TokenCounts
        Of all jobs.
    """
    names = as_names(keys)
    distinct = np.unique(names, return_index=True)[1]
    n_tokens = reader.sizes(np.array([len(sequences[i]) for i in distinct], np.int64))
    batches = [distinct[batch] for batch in plan_batches(names[distinct], n_tokens, reader.budget, [])]
    there = ShardIndex.read(table).find(names) >= 0
    shares = _shares(table, keys, sequences, batches, options.chunks_per_shard)
    known = {
        share.key: asdict(TokenCounts())
        for share in shares
        if share_file(table, share).exists() or (isinstance(share.load, _Letters) and there[share.load.rows].all())
    }
    counts = TokenCounts()
    for _, seen in _run(table, shares, known, reader, options, progress):
        counts.add(TokenCounts(**seen))
    return len(distinct), int((~there[distinct]).sum()), len(batches), counts


def _run(
    table: Path, shares: list[Share], known: dict[str, Any], reader: ChunkReader, options: EmbedOptions, progress: bool
) -> Iterator[tuple[Share, Any]]:
    return run_shares(
        encode_share,
        shares,
        table,
        shared=(reader, options),
        what="embed",
        unit="chunk",
        known=known,
        progress=progress,
    )


def _shares(
    table: Path, keys: NDArray[np.uint8], sequences: Sequence[bytes], batches: list[NDArray[np.int64]], chunks: int
) -> list[Share]:
    shares = []
    for group in _groups(batches, chunks):
        rows = np.concatenate(group)
        name = name_of(keys[rows].tobytes(), [len(batch) for batch in group])
        shares.append(Share(name, (), len(rows), load=_Letters(table, name, group, keys, sequences)))
    return shares


class _Letters:
    """Arguments of a share, read when it is sent: all letters of a cohort at once may not fit into memory."""

    def __init__(
        self,
        table: Path,
        name: str,
        group: list[NDArray[np.int64]],
        keys: NDArray[np.uint8],
        sequences: Sequence[bytes],
    ) -> None:
        self._target = str((table / CLAIMS / f"{name}.safetensors").absolute())
        self._group, self._keys, self._sequences = group, keys, sequences

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the share, in the order of its batches."""
        return np.concatenate(self._group)

    def __call__(self) -> tuple[str, list[int], NDArray[np.uint8], list[bytes]]:
        rows = self.rows
        letters = [bytes(self._sequences[i]) for i in rows.tolist()]
        return self._target, [len(batch) for batch in self._group], self._keys[rows], letters


def _groups(batches: list[NDArray[np.int64]], chunks: int) -> list[list[NDArray[np.int64]]]:
    """Neighbouring batches together, so that a share has at most so many batches and about so many chunks."""
    groups: list[list[NDArray[np.int64]]] = []
    n, most = chunks, min(MOST_BATCHES, -(-len(batches) // FEWEST_SHARES))
    for batch in batches:
        if n + len(batch) > chunks or len(groups[-1]) == most:
            groups.append([])
            n = 0
        groups[-1].append(batch)
        n += len(batch)
    return groups
