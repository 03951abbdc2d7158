"""A cohort in memory, small enough to encode every haplotype of every person one by one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.fit import ClosedForm, ClosedFormSettings, fit_closed_form
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.model.encode import encode_batch
from genebrain.genetics.model.tokenizer import BOS, SixMerTokenizer, pad
from genebrain.sides.genome import GeneSide
from genebrain.sides.people import Subjects
from genebrain.sides.pooling import GenePooling
from genebrain.sides.tuned.genomes import TunedGenomes, genome_encoder
from genebrain.training.settings import LoraSettings

N, WINDOWS, CHUNKS, VARIANTS = 32, 12, 2, 4


@dataclass
class TunedCohort:
    chunks: ChunkSet
    table: np.ndarray
    subjects: Subjects
    closed: ClosedForm
    pooling: GenePooling
    side: GeneSide

    def encoder(self) -> TunedGenomes:
        return self.subjects.tuned["gene"](self.closed, np.arange(N))


def chunk_set(n: int = N, windows: int = WINDOWS, seed: int = 0) -> ChunkSet:
    """Random chunks of mixed length; some people lack a copy, a window, or a chunk."""
    rng = np.random.default_rng(seed)
    sequences: list[bytes] = []
    index = np.full((n, 2, windows, CHUNKS), -1, np.int32)
    n_chunks = np.where(np.arange(windows) % 3 == 2, 1, CHUNKS)
    for window in range(windows):
        for chunk in range(n_chunks[window]):
            base = rng.choice(list(b"ACGT"), 30 + int(rng.integers(40)))
            for _ in range(VARIANTS):
                base = base.copy()
                base[rng.integers(len(base))] = rng.choice(list(b"ACGT"))
                sequences.append(bytes(base.astype(np.uint8)))
            index[:, :, window, chunk] = len(sequences) - VARIANTS + rng.integers(VARIANTS, size=(n, 2))
    index[1, 1, 0] = -1
    index[2, :, 1] = -1
    index[3, 0, 0, 1] = -1
    keys = np.stack([np.frombuffer(hashlib.blake2b(s, digest_size=16).digest(), np.uint8) for s in sequences])
    return ChunkSet(keys, sequences, index, [f"w{i}" for i in range(windows)], n_chunks, {})


def tokens(sequence: bytes) -> tuple[np.ndarray, np.ndarray]:
    framed = SixMerTokenizer.frame(sequence.decode())
    return pad([np.concatenate([[BOS], SixMerTokenizer().encode(framed), [BOS]]).astype(np.int64)])


def make(
    tuning: str = "lora",
    pooling: GenePooling | None = None,
    lora: LoraSettings | None = None,
    n: int = N,
    folder: Path | None = None,
    **reading: Any,
) -> TunedCohort:
    """Encoded one by one, or (``folder``, for other readings than the plain one) by the store."""
    pooling, chunks, backbone = pooling or GenePooling(), chunk_set(n), load_generator()
    side = GeneSide(tuning=tuning, lora=lora or LoraSettings(rank=2), **reading)
    if side.delta:
        references = chunks.index.max(axis=(0, 1))
        codes = np.where(chunks.index < 0, -1, chunks.index * 1000 + references)
        found = np.unique(codes[codes >= 0])
        index = np.where(codes < 0, -1, np.searchsorted(found, codes)).astype(np.int32)
        chunks = replace(chunks, index=index, pairs=np.stack(np.divmod(found, 1000), axis=1).astype(np.int32))
    if folder is not None:
        side.embed(chunks, folder, progress=False)
        table = side.table(chunks, folder, pooling.token)
    else:
        with torch.no_grad():
            table = np.concatenate([
                encode_batch(backbone, *map(torch.from_numpy, tokens(s)))[pooling.token].numpy()
                for s in chunks.sequences
            ])  # fmt: skip
    plain = GenePooling(token=pooling.token) if pooling.trainable else pooling
    blocks, means = [], []
    for block in plain.blocks(table, chunks.index, chunks.n_chunks):
        means.append(np.nanmean(block, axis=0))
        blocks.append(np.where(np.isnan(block).any(axis=1)[:, None], means[-1], block).astype(np.float32))
    rng = np.random.default_rng(1)
    signal = np.concatenate([block[:, :1] for block in blocks], axis=1)
    brain = (signal @ rng.standard_normal((signal.shape[1], 9)) + 0.1 * rng.standard_normal((n, 9))).astype(np.float32)
    width = table.shape[1] if plain.keeps_chunks_apart else None
    closed = fit_closed_form(
        blocks, {"b": brain}, np.arange(n),
        settings=ClosedFormSettings(dimensions=(4,), folds=2, columns=ColumnSettings(item_width=width)),
    )  # fmt: skip
    subjects = Subjects(
        blocks, {"b": brain}, np.arange(n), np.arange(n), width, index=chunks.index,
        pooling=pooling if pooling.trainable else None, table=table if pooling.trainable else None,
        tuned={"gene": genome_encoder(side, pooling, chunks, means, table, seed=3)},
    )  # fmt: skip
    return TunedCohort(chunks, table, subjects, closed, pooling, side)
