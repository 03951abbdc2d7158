"""The store of chunk embeddings: every distinct chunk is encoded once, ever, under one set of rules.

Unique chunk strings -> table ``[chunks, hidden]`` per token pooling, kept on disk under the key of the chunk. What
is asked for twice is encoded once; an interrupted run continues with the batches it had planned, and shares of a run
have the batches of the whole, so the table has the same bits as that of one undisturbed run (same processor type and
library versions; the number of cores does not matter); tables made under different rules never mix.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genebrain import __version__
from genebrain.common.alone import waiting_for
from genebrain.common.files import make_private, mark_used, write_private
from genebrain.common.reading import contents_of, read_record
from genebrain.common.types import UserError
from genebrain.engines.run import current
from genebrain.genetics.encoders.options import EmbedOptions, table_name
from genebrain.genetics.encoders.plain import AnyEncoder, reader_for
from genebrain.genetics.encoders.protocol import ChunkReader, TokenCounts
from genebrain.genetics.store.fill import encode_batches
from genebrain.genetics.store.plan import BatchPlan, plan_batches
from genebrain.genetics.store.shares import merge_parts, part_folder, remove_damaged, stored_poolings
from genebrain.genetics.store.spread import encode_by_workers, encode_claimed
from genebrain.genetics.store.table_files import (
    ShardIndex,
    ShardWriter,
    as_names,
    damaged_error,
    read_array,
    writing_alone,
)
from genebrain.genetics.store.work_parts import Shard


@dataclass(frozen=True)
class EmbedReport:
    """What one call of :meth:`ChunkStore.embed` did; counts of chunks and tokens."""

    fingerprint: str
    requested: int
    stored_before: int
    encoded: int
    batches: int
    tokens: int
    padding_tokens: int
    oov_tokens: int
    seconds: float
    merged_parts: int = 0

    def as_dict(self) -> dict[str, int | float | str]:
        """JSON-ready."""
        return asdict(self)


class ChunkStore:
    """Chunk embeddings on disk.

    Parameters
    ----------
    folder : path
        Holds one sub-folder per fingerprint (model, tokenizer, marks, length rule, number formats), each with
        ``provenance.json`` and shards.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def embed(
        self,
        keys: NDArray[np.uint8],
        sequences: Sequence[bytes],
        encoder: AnyEncoder,
        options: EmbedOptions | None = None,
        *,
        progress: bool = True,
        repair: bool = False,
        shard: Shard | None = None,
        name: str | None = None,
    ) -> EmbedReport:
        """Encode the chunks that are not stored yet; safe to interrupt and to repeat.

        Without ``shard``, what shares have left is checked and merged first.

        Parameters
        ----------
        keys : uint8 [chunks, 16]
            Key of each sequence; equal keys are taken to be equal sequences.
        sequences : list of bytes, length chunks
            Upper-case DNA letters.
        encoder, options
            Together they choose the table. Its weights are loaded only if a chunk must be encoded.
        progress : bool
            Show a bar with tokens per second and time left.
        repair : bool
            Check all shards first, remove the damaged ones, and encode their chunks anew.
        shard : Shard, optional
            Encode only this share of the whole plan, into its own part of the table. Give every share the same
            request and budget: then all shares together have the bits of one undivided run.
        name : str, optional
            Of the encoder, for messages and provenance; its own by default.

        Raises
        ------
        UserError
            If the folder can not be written, the disk is full, another process writes, shards are damaged, or
            the model gives non-finite values. Finished shards stay in every case.
        """
        options = options or EmbedOptions()
        names = as_names(keys)
        if len(names) != len(sequences):
            raise ValueError(f"{len(names)} keys but {len(sequences)} sequences")
        started = time.monotonic()
        reader = reader_for(encoder, options, name)
        fingerprint = table_name(reader.identity())
        table = self.folder / fingerprint
        if shard is not None and shard.claims:
            make_private(self.folder)
            make_private(table)
            with waiting_for(table / ".jobs.lock", f"another job is at {table}; waiting for it"):
                _write_provenance(table, reader)
            n, n_new, n_batches, counts = encode_claimed(table, keys, sequences, reader, options, progress)
            return _report(fingerprint, n, n_new, counts, n_batches, started)
        share = shard if shard and shard.count > 1 else None
        folder = part_folder(table, share) if share else table
        for place in (self.folder, table, folder):
            make_private(place)
        with writing_alone(folder):
            _write_provenance(folder, reader)
            plan = BatchPlan(folder / "plan.safetensors")
            if repair:
                remove_damaged(folder, plan.path)
            merged = 0 if share else merge_parts(table)
            distinct = np.unique(names, return_index=True)[1]
            new = ShardIndex.read(table).find(names[distinct]) < 0
            n_new = int(new.sum())
            if share:
                new &= ShardIndex.read(folder).find(names[distinct]) < 0
            wanted = distinct if share else distinct[new]
            n_tokens = reader.sizes(np.array([len(sequences[i]) for i in wanted], np.int64))
            batches = plan_batches(names[wanted], n_tokens, reader.budget, [] if share else plan.read())
            if share:  # planned as one run would, so that the batches are the same; a stored batch is left out
                own = [batch[new[batch]] for batch in batches[share.index - 1 :: share.count]]
                batches = [batch for batch in own if len(batch)]
            counts = TokenCounts()
            if batches:
                if not share:
                    plan.write(keys[wanted], batches)
                chosen = [wanted[batch] for batch in batches]
                total = int(n_tokens[np.concatenate(batches)].sum()) * reader.n_views
                if current().is_dask:
                    counts = encode_by_workers(table, keys, sequences, chosen, reader, options, progress)
                else:
                    writer = ShardWriter(folder, options.chunks_per_shard, options.seconds_per_shard)
                    counts = encode_batches(
                        writer, keys, sequences, chosen, reader, options, total if progress else None
                    )
            plan.remove()
        return _report(fingerprint, len(distinct), n_new, counts, len(batches), started, merged)

    def missing(self, keys: NDArray[np.uint8], fingerprint: str | None = None) -> int:
        """Number of distinct keys ``[chunks, 16]`` that are not stored under this fingerprint."""
        names = np.unique(as_names(keys))
        if fingerprint is None and not self.fingerprints():
            return len(names)
        return int((ShardIndex.read(self._table_folder(fingerprint)).find(names) < 0).sum())

    def fingerprints(self) -> list[str]:
        """Fingerprints of the tables in this store."""
        return sorted(path.parent.name for path in self.folder.glob("*/provenance.json"))

    def table(
        self,
        keys: NDArray[np.uint8],
        pooling: str = "mean",
        fingerprint: str | None = None,
        *,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Gather the vectors of chunks in the order asked for.

        Parameters
        ----------
        keys : uint8 [chunks, 16]
        pooling : {"last", "mean", "max"}
        fingerprint : str, optional
            Which table, see ``EmbedOptions.fingerprint``; may be left out if the store holds one.
        out : float32 [chunks, hidden], optional
            Where to put them, for example a memory map; shards are read one at a time.

        Returns
        -------
        float32 [chunks, hidden]

        Raises
        ------
        UserError
            If chunks are missing (both counts) or shards are damaged (all of those that are needed are
            named).
        """
        folder = self._table_folder(fingerprint)
        path, advice = folder / "provenance.json", "delete its folder and embed again"
        if not folder.exists():
            raise FileNotFoundError(folder)  # a store that was emptied: who asks says which command fills it
        with contents_of(path, advice):
            hidden = int(read_record(path, advice)["hidden_size"])
            if not 0 < hidden < 2**24:
                raise ValueError(f"hidden_size {hidden}")
        mark_used(folder)
        shape = len(as_names(keys)), hidden
        result = np.empty(shape, np.float32) if out is None else out
        if result.shape != shape:
            raise ValueError(f"out has shape {result.shape}, needed is {shape}")
        for rows, vectors in self.parts(keys, pooling, fingerprint):
            if vectors.shape[1] != hidden:
                raise UserError(f"{path} is damaged: it says {hidden} numbers a chunk, stored are {vectors.shape[1]}")
            result[rows] = vectors
        return result

    def parts(
        self, keys: NDArray[np.uint8], pooling: str = "mean", fingerprint: str | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """As :meth:`table`, shard by shard: rows of ``keys`` and their vectors; memory for one shard is enough."""
        folder = self._table_folder(fingerprint)
        if pooling not in (present := stored_poolings(folder)):
            raise UserError(f"unknown token pooling {pooling!r}; choose one of {', '.join(present)}")
        names = as_names(keys)
        index = ShardIndex.read(folder)
        found = index.find(names)
        if absent := int((found < 0).sum()):
            raise UserError(
                f"{absent} of {len(names)} chunks are not embedded in {folder}; run embed with the same "
                "model and options first"
            )
        damaged = []
        shard = index.shard[found]
        for number in np.unique(shard):
            wanted = np.flatnonzero(shard == number)
            try:
                vectors = read_array(index.shards[number], pooling)
            except UserError:
                damaged.append(index.shards[number])
                continue
            yield wanted, vectors[index.row[found[wanted]]]
        if damaged:
            raise damaged_error(damaged)

    def _table_folder(self, fingerprint: str | None) -> Path:
        if fingerprint is not None:
            return self.folder / fingerprint
        present = self.fingerprints()
        if len(present) != 1:
            raise UserError(
                f"{self.folder} holds {len(present)} tables ({', '.join(present) or 'none'}); "
                + ("name one by its fingerprint" if present else "run embed first")
            )
        return self.folder / present[0]


def _report(
    fingerprint: str, n: int, n_new: int, counts: TokenCounts, batches: int, started: float, merged: int = 0
) -> EmbedReport:
    return EmbedReport(
        fingerprint=fingerprint, requested=n, stored_before=n - n_new, encoded=counts.chunks, batches=batches,
        tokens=counts.real, padding_tokens=counts.padding, oov_tokens=counts.oov,
        seconds=time.monotonic() - started, merged_parts=merged,
    )  # fmt: skip


def _write_provenance(folder: Path, reader: ChunkReader) -> None:
    path = folder / "provenance.json"
    if path.exists():
        return
    facts = {
        **reader.identity(),
        "model_name": reader.name,
        "hidden_size": reader.width,
        "poolings": list(reader.poolings),
        "device": reader.device.partition(":")[0],
        "versions": {
            "genebrain": __version__,
            "torch": torch.__version__,
            "transformers": version("transformers"),
        },
    }
    write_private(path, json.dumps(facts, indent=1).encode())
