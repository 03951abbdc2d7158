"""Genomes through a DNA encoder that is trained: each distinct chunk of a batch once, then pooled per person.

Rows of the chunk index in, features of the gene tower out; a chunk that many people share is encoded once per step,
in micro-batches of like lengths whose activations are computed again in the backward pass. The gradient is that of
encoding every haplotype of every person. Letters and index belong to the store: no state dict holds them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from genebrain.alignment.closed_form.columns import WindowColumns
from genebrain.alignment.closed_form.fit import ClosedForm
from genebrain.alignment.towers.closed_form_columns import TorchColumns
from genebrain.alignment.towers.standardiser import Standardiser
from genebrain.alignment.towers.towers import PooledChunks
from genebrain.common.types import FloatArray, IntArray
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.encoders.generator import chunk_tokens
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.model.encode import encode_batch
from genebrain.genetics.model.tokenizer import pad
from genebrain.genetics.store.plan import EmbedOptions, plan_batches
from genebrain.genetics.store.table_files import as_names
from genebrain.sides.genome import GeneSide
from genebrain.sides.people import EncoderMaker, chunk_standardiser
from genebrain.sides.pooling import GenePooling
from genebrain.training.recompute import recomputed
from genebrain.training.tuned_encoder import TunedEncoder


class TunedChunks(nn.Module):
    """Rows of the table that the chunk index speaks of to their embeddings, with gradients.

    Parameters
    ----------
    backbone : GeneratorBackbone
        A fresh one: its weights will be trained.
    encoder : TunedEncoder
        Around the model of the backbone.
    chunks : ChunkSet
        With ``pairs``, a row is the difference of a chunk to its reference.
    token : {"last", "mean", "max"}
    options : EmbedOptions
        As in the store of frozen embeddings; ``tokens_per_batch`` bounds a micro-batch.

    Attributes
    ----------
    encoded, micro_batches : int
        Chunks and micro-batches of the last call.
    """

    def __init__(
        self, backbone: GeneratorBackbone, encoder: TunedEncoder, chunks: ChunkSet, token: str, options: EmbedOptions
    ) -> None:
        super().__init__()
        self.encoder, self.token, self.options = encoder, token, options
        self.hidden = options.width(backbone)
        self.encoded = self.micro_batches = 0
        # Kept out of the module's buffers: letters of people belong into no checkpoint.
        self._backbone = backbone
        self._names, self._pairs = as_names(chunks.keys), chunks.pairs
        views = options.views.read(chunks.sequences)
        self._tokens = [[ids.astype(np.int16) for ids in chunk_tokens(view, options)] for view in views]
        self._lengths = np.max([[len(ids) for ids in view] for view in self._tokens], axis=0)

    def forward(self, rows: Tensor) -> Tensor:
        """Distinct rows int64 ``[n]`` to ``[n, hidden]``."""
        wanted = rows.cpu().numpy()
        if self._pairs is None:
            return self._embedded(wanted, rows.device)
        distinct, place = np.unique(self._pairs[wanted], return_inverse=True)
        carried, reference = torch.from_numpy(place.reshape(-1, 2)).to(rows.device).unbind(1)
        vectors = self._embedded(distinct, rows.device)
        return vectors[carried] - vectors[reference]

    def _embedded(self, wanted: IntArray, device: torch.device) -> Tensor:
        batches = plan_batches(self._names[wanted], self._lengths[wanted], self.options.token_budget(device), [])
        self.encoded, self.micro_batches = len(wanted), len(batches)
        if not batches:
            return torch.zeros(0, self.hidden, device=device)
        parts = []
        for batch in batches:
            padded = [array for view in self._tokens for array in pad([view[i] for i in wanted[batch]])]
            parts.append(recomputed(self._encode, *(torch.from_numpy(array).to(device) for array in padded)))
        place = np.argsort(np.concatenate(batches))
        return torch.cat(parts)[torch.from_numpy(place).to(device)]

    def _encode(self, *padded: Tensor) -> Tensor:
        """Ids and mask of every view, one after the other, to ``[chunks, hidden]``."""
        read = [
            encode_batch(self._backbone, ids, real, layers=self.options.layers)[self.token]
            for ids, real in zip(padded[::2], padded[1::2], strict=True)
        ]
        return self.options.views.combine(read)


class ColumnsOfChunks(nn.Module):
    """Chunk embeddings to the columns of the closed form, by a pooling without weights."""

    def __init__(self, pooling: GenePooling, n_chunks: IntArray, columns: TorchColumns) -> None:
        super().__init__()
        self.pooling, self.n_chunks, self.columns = pooling, n_chunks, columns
        self.out_features = columns.out_features

    def forward(self, vectors: Tensor, index: Tensor) -> Tensor:
        """``[rows, hidden]`` and ``[batch, haplotypes, windows, chunks]`` to ``[batch, columns]``."""
        out: Tensor = self.columns(self.pooling.windows(vectors, index, self.n_chunks))
        return out


class PooledStandardised(nn.Module):
    """Chunk embeddings standardised, then pooled with trained weights."""

    def __init__(self, standardiser: Standardiser, pooled: PooledChunks) -> None:
        super().__init__()
        self.standardiser, self.pooled = standardiser, pooled
        self.out_features = pooled.out_features

    def forward(self, vectors: Tensor, index: Tensor) -> Tensor:
        """``[rows, hidden]`` and ``[batch, haplotypes, windows, chunks]`` to ``[batch, out_features]``."""
        return self.pooled.pool(self.standardiser(vectors), index)


class TunedGenomes(nn.Module):
    """Rows of the chunk index to features, through an encoder in training.

    Parameters
    ----------
    chunks : TunedChunks
    pool : nn.Module
        Called with embeddings ``[rows, hidden]`` and an index into them.
    """

    def __init__(self, chunks: TunedChunks, pool: ColumnsOfChunks | PooledStandardised) -> None:
        super().__init__()
        self.chunks, self.pool = chunks, pool
        self.out_features = pool.out_features

    def forward(self, index: Tensor) -> Tensor:
        """``[batch, haplotypes, windows, chunks] -> [batch, out_features]``; -1 does not exist."""
        exists = index >= 0
        rows, place = index[exists].unique(return_inverse=True)
        local = torch.full_like(index, -1)
        local[exists] = place
        out: Tensor = self.pool(self.chunks(rows), local)
        return out


def genome_encoder(
    side: GeneSide,
    pooling: GenePooling,
    chunks: ChunkSet,
    window_means: list[FloatArray],
    table: FloatArray | None,
    seed: int,
) -> EncoderMaker:
    """Maker of the trained encoder of a cohort's genomes.

    Parameters
    ----------
    window_means : list of arrays
        Pooled features of each window, mean over training people: for those who lack it.
    table : array, optional
        Embeddings before training, ``[unique, hidden]``, for the standardiser of a trained pooling.
    seed : int
        Of the adapters.
    """

    def make(closed: ClosedForm, rows: IntArray) -> TunedGenomes:
        # Small steps would be lost in bfloat16 weights; a base that stays as it is may be kept in it.
        backbone = side.backbone(dtype=torch.float32 if side.tuning == "full" else None)
        encoder = TunedEncoder(backbone.model, side.tuning, side.lora, seed, backbone.fingerprint)
        tuned = TunedChunks(backbone, encoder, chunks, pooling.token, side.options())
        encoder.keep_reached(lambda: tuned(torch.zeros(1, dtype=torch.int64, device=backbone.device)))
        if not pooling.trainable:
            fill = closed.gene_columns([mean[None] for mean in window_means])[0]
            if not isinstance(closed.columns, WindowColumns):
                raise ValueError("an encoder in training reads one set of columns")
            return TunedGenomes(tuned, ColumnsOfChunks(pooling, chunks.n_chunks, TorchColumns(closed.columns, fill)))
        if table is None:
            raise ValueError("a trained pooling needs the embeddings before training")
        shape = chunks.index.shape
        pooled = PooledChunks(torch.zeros(0, tuned.hidden), pooling.levels, shape[3], shape[2])
        return TunedGenomes(tuned, PooledStandardised(chunk_standardiser(table, chunks.index, rows), pooled))

    return make
