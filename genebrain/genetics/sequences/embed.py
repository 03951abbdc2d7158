"""Embedding of a file of sequences: read and cut, encode once per distinct chunk, lay out.

The whole way of ``embed-sequences``. Every problem of the file is told before the encoder runs; a killed run goes on
when called again and ends with the same bytes; shares of the work may run anywhere; a folder never mixes two inputs
or settings; what was done to the letters stands beside the vectors.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import torch
import transformers
from tqdm import tqdm

from genebrain import __version__
from genebrain.common.files import make_private, private_stream, write_private
from genebrain.common.hashing import content_digest, file_digest
from genebrain.common.reading import contents_of, read_record
from genebrain.common.types import UserError
from genebrain.common.words import no_bar
from genebrain.genetics.encoders.plain import AnyEncoder, reader_for
from genebrain.genetics.encoders.protocol import ChunkReader
from genebrain.genetics.model.tokenizer import K
from genebrain.genetics.sequences.cutting import Cutting, SequenceChunks
from genebrain.genetics.sequences.files import SequenceBatch, SequenceFile, repeated_ids
from genebrain.genetics.sequences.hygiene import HygieneReport
from genebrain.genetics.sequences.vectors import MASK, TABLE, VECTORS, ChunkOwners, VectorLayout, write_vectors
from genebrain.genetics.store.plan import EmbedOptions
from genebrain.genetics.store.store import ChunkStore
from genebrain.genetics.store.table_files import writing_alone
from genebrain.genetics.store.work_parts import Shard, refuse_other_work

_PROVENANCE = "provenance.json"


def embed_sequence_file(
    file: SequenceFile,
    out: str | Path,
    encoder: AnyEncoder,
    options: EmbedOptions | None = None,
    cutting: Cutting | None = None,
    layout: VectorLayout | None = None,
    *,
    store: str | Path | None = None,
    shard: Shard | None = None,
    repair: bool = False,
    progress: bool = True,
    name: str | None = None,
) -> dict[str, Any]:
    """Embed all sequences of a file.

    Parameters
    ----------
    file : SequenceFile
    out : path
        Folder of the result (made private): ``embeddings.npy``, ``mask.npy``, ``sequences.parquet`` and
        ``provenance.json``, which is written last.
    encoder, options
        The encoder, and how a chunk becomes a vector.
    cutting, layout
        Where sequences are cut, and what is written of them. ``cutting.rule`` must be ``options.length_rule``.
    store : path, optional
        Folder of chunk vectors; ``store`` within ``out`` by default. A store may serve many folders.
    shard : Shard, optional
        Encode only this share into the store, write no result.
    repair : bool
        Look for damaged shards in the store first and encode their chunks anew.
    progress : bool
    name : str, optional
        Of the encoder; its own by default.

    Returns
    -------
    dict
        ``hygiene``, ``repeated_ids``, ``chunks`` and ``encoder`` (what was done in this call), and ``shape`` of the
        vectors if they are finished.

    Raises
    ------
    UserError
        Bad sequences (all of them), a chunk too long for the model, ``out`` with other results in it, and
        everything that :meth:`ChunkStore.embed` refuses.
    """
    options, cutting, layout = options or EmbedOptions(), cutting or Cutting(), layout or VectorLayout()
    if cutting.rule != options.length_rule:
        raise ValueError(f"cutting.rule is {cutting.rule} but options.length_rule is {options.length_rule}")
    reader = reader_for(encoder, options, name)
    _check_length(cutting, options, reader)
    out = Path(out)
    identity = _identity(file, reader, cutting, layout)
    if (finished := _finished(out, identity)) is not None:
        return finished
    partial = shard is not None and shard.partial
    make_private(out)
    with writing_alone(out) if not partial else nullcontext():
        report, chunks = HygieneReport(), SequenceChunks(cutting, out)
        try:
            with _SequenceTable(None if partial else out / TABLE) as table:
                for batch in tqdm(file.batches(report), "read", unit="batch", disable=no_bar(progress)):
                    table.add(batch, [chunks.add(sequence) for sequence in batch.sequences])
            repeated = {} if partial else _repeated_ids(out / TABLE)
            keys = chunks.spool.keys()
            done = ChunkStore(store or out / "store").embed(
                keys, chunks.spool, encoder, options, progress=progress, repair=repair, shard=shard, name=name
            )
        finally:
            chunks.spool.close()
        defined = chunks.row >= 0
        summary: dict[str, Any] = {
            "hygiene": report.as_dict(),
            "repeated_ids": repeated,
            "chunks": {
                "all": len(defined),
                "distinct": done.requested,
                "of_n_alone": int((~defined).sum()),
                "letters_dropped": chunks.dropped_letters,
            },
        }
        if partial:
            return {**summary, "encoder": done.as_dict()}
        owners = ChunkOwners(chunks.per_sequence, defined, chunks.n_letters)
        filled = ChunkStore(store or out / "store")
        shape = write_vectors(out, filled, done.fingerprint, keys, owners, layout, reader.width)
        summary["shape"] = list(shape)
        _write_provenance(out, identity, reader, summary)
    return {**summary, "encoder": done.as_dict()}


class _SequenceTable:
    """``sequences.parquet``, written batch by batch; nothing for None."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._first = path, 0
        self._writer: pa_parquet.ParquetWriter | None = None

    def __enter__(self) -> _SequenceTable:
        self._file = private_stream(self._path) if self._path else nullcontext()
        self._stream = self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer is not None:
            self._writer.close()
        self._file.__exit__(*error)

    def add(self, batch: SequenceBatch, n_chunks: list[int]) -> None:
        """One batch of sequences and how many chunks each has."""
        if self._path is None:
            return
        own = pd.DataFrame(
            {
                "id": batch.ids,
                "row": batch.rows,
                "letters": [len(sequence) for sequence in batch.sequences],
                "chunks": n_chunks,
                "first_chunk": self._first + np.cumsum([0, *n_chunks[:-1]]),
            }
        )
        self._first += sum(n_chunks)
        others = batch.table.rename(columns={name: f"input_{name}" for name in batch.table if name in own})
        frame = pd.concat([own, others.drop(columns="input_id", errors="ignore")], axis=1)
        table = pa.Table.from_pandas(frame, self._writer.schema if self._writer else None, preserve_index=False)
        if self._writer is None:
            self._writer = pa_parquet.ParquetWriter(self._stream, table.schema)
        self._writer.write_table(table)


def _repeated_ids(path: Path) -> dict[str, Any]:
    table = pa_parquet.read_table(path, columns=["id", "row"])
    return repeated_ids(table["id"].to_pylist(), table["row"].to_pylist())


def _check_length(cutting: Cutting, options: EmbedOptions, reader: ChunkReader) -> None:
    tokens = int(reader.sizes(np.array([cutting.chunk_bp]))[0])
    if reader.max_tokens is not None and tokens > reader.max_tokens:
        marks = options.opening_mark + options.closing_mark
        raise UserError(
            f"chunk_bp={cutting.chunk_bp} is {tokens} tokens with marks, but {reader.name} reads "
            f"{reader.max_tokens}; use at most {(reader.max_tokens - marks) * K}"
        )


def _identity(file: SequenceFile, reader: ChunkReader, cutting: Cutting, layout: VectorLayout) -> dict[str, Any]:
    path = Path(file.path)
    return {
        "input": path.name,
        "input_digest": file_digest(path),
        "column": file.column,
        "id_column": file.id_column,
        "uracil": file.uracil,
        "unreadable": file.unreadable,
        **reader.identity(),
        **asdict(cutting),
        **asdict(layout),
    }


def _finished(out: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """What a finished folder says, if its files are whole; ``UserError`` if it is of other work."""
    path = out / _PROVENANCE
    if not path.is_file():
        return None
    advice = f"delete {out} and run the same command again"
    found = read_record(path, advice)
    with contents_of(path, advice):
        refuse_other_work(found["identity"], identity, out)
        whole = all(
            (out / name).is_file() and content_digest(out / name) == known for name, known in found["files"].items()
        )
    return {name: found.get(name) for name in ("hygiene", "repeated_ids", "chunks", "shape")} if whole else None


def _write_provenance(out: Path, identity: dict[str, Any], reader: ChunkReader, summary: dict[str, Any]) -> None:
    facts = {
        "identity": identity,
        "model_name": reader.name,
        "device": reader.device.partition(":")[0],
        **summary,
        "files": {name: content_digest(out / name) for name in (VECTORS, MASK, TABLE)},
        "versions": {
            "genebrain": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    write_private(out / _PROVENANCE, json.dumps(facts, indent=1).encode())
