"""Vectors of chunks laid out by sequence, written and read without ever being in memory together.

Table of the store -> ``embeddings.npy`` and ``mask.npy`` of a set of sequences, and back. A row per chunk in the
order of the sequences; chunks of N alone are zero and masked; pooling over chunks sees the others only, in their
order, so that the result does not depend on how the store is cut into shards.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.common.files import private_stream, write_private
from genebrain.common.reading import contents_of, read_npy
from genebrain.common.types import UserError
from genebrain.genetics.model.encode import POOLINGS
from genebrain.genetics.sequences.files import with_whole_numbers
from genebrain.genetics.store.store import ChunkStore

ChunkPooling = Literal["none", "mean", "weighted_mean", "max", "last"]
VECTORS, MASK, TABLE = "embeddings.npy", "mask.npy", "sequences.parquet"


@dataclass(frozen=True)
class VectorLayout:
    """What is written per sequence.

    Attributes
    ----------
    token_pooling : {"mean", "last", "max"}
        Tokens of a chunk -> chunk vector.
    chunk_pooling : {"none", "mean", "weighted_mean", "max", "last"}
        ``none`` keeps all chunks; ``weighted_mean`` weighs a chunk by its letters, ``mean`` does not.
    padded : bool
        With ``none``: one block ``[sequence, chunk, hidden]`` filled up with zeros, instead of the rows of all chunks
        one below the other.
    """

    token_pooling: str = "mean"
    chunk_pooling: ChunkPooling = "none"
    padded: bool = False

    def __post_init__(self) -> None:
        for name, known in (("token_pooling", POOLINGS), ("chunk_pooling", get_args(ChunkPooling))):
            if getattr(self, name) not in known:
                raise UserError(f"{name}={getattr(self, name)!r}: use one of {', '.join(known)}")
        if self.padded and self.chunk_pooling != "none":
            raise UserError(f"padded=true keeps all chunks, chunk_pooling={self.chunk_pooling} does not; choose one")


@dataclass(frozen=True)
class ChunkOwners:
    """Who has which chunk: all chunks of all sequences in order.

    Attributes
    ----------
    per_sequence : int64 [sequences]
    defined : bool [chunks]
        False for a chunk of N alone.
    n_letters : int64 [chunks]
    """

    per_sequence: NDArray[np.int64]
    defined: NDArray[np.bool_]
    n_letters: NDArray[np.int64]


def write_vectors(
    folder: Path,
    store: ChunkStore,
    fingerprint: str,
    keys: NDArray[np.uint8],
    owners: ChunkOwners,
    layout: VectorLayout,
    width: int,
) -> tuple[int, ...]:
    """Write ``embeddings.npy`` float32 and ``mask.npy`` bool; returns the shape of the former.

    Parameters
    ----------
    folder : Path
    store, fingerprint
        Table that holds the chunks.
    keys : uint8 [defined chunks, 16]
        In the order of ``owners.defined``.
    width : int
        Length of a vector.

    Returns
    -------
    tuple
        ``(chunks, width)``, ``(sequences, most chunks, width)`` or ``(sequences, width)``.
    """
    n_sequences, most = len(owners.per_sequence), int(owners.per_sequence.max(initial=0))
    plain = layout.chunk_pooling == "none" and not layout.padded
    middle = (most,) if layout.padded else ()
    shape = (len(owners.defined), width) if plain else (n_sequences, *middle, width)
    mask = owners.defined if plain else np.zeros(shape[:-1], np.bool_)
    with private_stream(folder / VECTORS) as out:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        out.flush()
        if plain:
            _write_rows(out, out.tell(), store.parts(keys, layout.token_pooling, fingerprint), owners.defined, width)
        else:
            with tempfile.TemporaryFile(dir=folder) as rows:
                _write_rows(rows, 0, store.parts(keys, layout.token_pooling, fingerprint), owners.defined, width)
                for i, (vectors, defined, letters) in enumerate(_by_sequence(rows, owners, width)):
                    block = np.zeros(shape[1:], np.float32)
                    if layout.padded:
                        block[: len(vectors)], mask[i, : len(vectors)] = vectors, defined
                    elif defined.any():
                        block[:] = pool_chunks(vectors[defined], letters[defined], layout.chunk_pooling)
                        mask[i] = True
                    out.write(block.tobytes())
    content = io.BytesIO()
    np.save(content, mask, allow_pickle=False)
    write_private(folder / MASK, content.getvalue())
    return shape


def pool_chunks(
    vectors: NDArray[np.float32], n_letters: NDArray[np.int64], pooling: ChunkPooling
) -> NDArray[np.floating[Any]]:
    """Chunk vectors ``[chunks, width]`` of one sequence -> ``[width]``."""
    if pooling == "weighted_mean":
        return np.average(vectors, axis=0, weights=n_letters)
    return {"mean": vectors.mean(0), "max": vectors.max(0), "last": vectors[-1]}[pooling]


@dataclass(frozen=True)
class SequenceEmbeddings:
    """What ``embed-sequences`` left in a folder.

    Attributes
    ----------
    vectors : float32 [chunks, width], [sequences, chunks, width] or [sequences, width]
        A memory map.
    mask : bool, the shape of ``vectors`` without its last axis
        False where there is nothing: padding, or N alone.
    table : DataFrame
        A row per sequence: ``id``, ``row`` in the input, ``letters``, ``chunks``, ``first_chunk``, and the other
        columns of the input.
    """

    vectors: NDArray[np.float32]
    mask: NDArray[np.bool_]
    table: pd.DataFrame

    @classmethod
    def load(cls, folder: str | Path) -> SequenceEmbeddings:
        """Open the folder; ``UserError`` if it is not a finished one."""
        folder = Path(folder)
        if not (folder / "provenance.json").is_file():
            raise UserError(f"{folder} holds no finished embeddings of sequences; run genebrain embed-sequences")
        vectors, mask = read_npy(folder / VECTORS, mapped=True), read_npy(folder / MASK)
        with contents_of(folder / TABLE):
            return cls(vectors, mask, with_whole_numbers(pd.read_parquet(folder / TABLE)))

    def padded(self, rows: Any = slice(None)) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Some sequences (any index of rows) as one block ``[sequence, chunk, width]`` with its mask."""
        if self.vectors.ndim == 3 or len(self.vectors) != self.table["chunks"].sum():
            raise UserError("embeddings are padded or pooled already: use vectors and mask as they are")
        chosen = self.table.iloc[rows]
        most = int(chosen["chunks"].max())
        vectors = np.zeros((len(chosen), most, self.vectors.shape[1]), np.float32)
        mask = np.zeros((len(chosen), most), np.bool_)
        for i, (first, n) in enumerate(zip(chosen["first_chunk"], chosen["chunks"], strict=True)):
            vectors[i, :n], mask[i, :n] = self.vectors[first : first + n], self.mask[first : first + n]
        return vectors, mask


def _write_rows(
    file: IO[bytes], offset: int, parts: Iterator[tuple[NDArray[np.int64], Any]], defined: NDArray[np.bool_], width: int
) -> None:
    """Put every vector at its place; what is not written is zero. No memory map, whose pages would count as memory."""
    place = np.flatnonzero(defined)
    step, handle = width * 4, file.fileno()
    os.ftruncate(handle, offset + len(defined) * step)
    for rows, vectors in parts:
        for row, vector in zip(place[rows], vectors.astype("<f4"), strict=True):
            os.pwrite(handle, vector.tobytes(), offset + int(row) * step)


def _by_sequence(
    rows: IO[bytes], owners: ChunkOwners, width: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]]:
    ends = np.cumsum(owners.per_sequence)
    for end, count in zip(ends, owners.per_sequence, strict=True):
        here = slice(end - count, end)
        content = os.pread(rows.fileno(), int(count) * width * 4, int(end - count) * width * 4)
        yield np.frombuffer(content, "<f4").reshape(-1, width), owners.defined[here], owners.n_letters[here]
