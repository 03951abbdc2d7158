"""Pooling of frozen chunk embeddings, from token to subject; every level is named.

Without trainable weights the pooled features depend on the genotypes only, so they are computed once and a cell
of an ablation costs seconds. The order is ``token -> chunk -> diploid -> window``: what a level receives is what
the one before gave, per haplotype up to ``diploid``, per gene window up to ``window``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from genebrain.alignment.pooling import DIPLOID_KINDS, DiploidPooling, build
from genebrain.types import FloatArray, IntArray, UserError

TOKEN = ("last", "mean", "max")
CHUNK = ("flatten", "mean", "max", "last", "attention", "gated_attention", "gem")
WINDOW = ("components", "concat", "mean", "max", "attention", "gated_attention")
TRAINABLE = ("attention", "gated_attention", "gem")


@dataclass(frozen=True)
class GenePooling:
    """How the vectors of one person's chunks become one input of the gene tower.

    Parameters
    ----------
    token : {"last", "mean", "max"}
        Tokens of a chunk -> chunk vector (all three are stored; no encoder call).
    chunk : str
        Chunks of a window -> window vector of one haplotype; ``flatten`` keeps their order.
    diploid : str
        The two haplotypes -> one window vector; symmetric in the two unless ``concat``.
    window : str
        Windows -> subject: ``components`` (principal components per window, fitted on training subjects, kept
        apart so that a sparse gene side can choose), ``concat``, ``mean``, ``max``, ``attention``.
    """

    token: str = "mean"
    chunk: str = "flatten"
    diploid: str = "sum"
    window: str = "components"

    def __post_init__(self) -> None:
        allowed = {
            "token": TOKEN,
            "chunk": CHUNK,
            "diploid": DIPLOID_KINDS,
            "window": WINDOW,
        }
        wrong = [
            f"pooling.{level}={getattr(self, level)}: use one of {', '.join(names)}"
            for level, names in allowed.items()
            if getattr(self, level) not in names
        ]
        if wrong:
            raise UserError("; ".join(wrong))

    @property
    def trainable(self) -> bool:
        """Whether any level has weights, so that pooling happens inside training."""
        return bool({self.chunk, self.window} & set(TRAINABLE))

    @property
    def keeps_chunks_apart(self) -> bool:
        """Whether a block is a row of chunk vectors, whose components can be taken chunk by chunk."""
        return self.chunk == "flatten" and self.window == "components"

    @property
    def linear(self) -> bool:
        """Whether the blocks are sums of chunk vectors, so that a change of basis goes through them."""
        return self.keeps_chunks_apart and self.diploid in ("sum", "mean")

    def blocks(self, table: FloatArray, index: IntArray, n_chunks: IntArray) -> list[FloatArray]:
        """Pool without trainable weights.

        Parameters
        ----------
        table : float array
            ``[unique, hidden]``.
        index : int array
            ``[subjects, haplotypes, windows, chunks]``; -1 does not exist.
        n_chunks : int array
            ``[windows]``, chunks that each window has.

        Returns
        -------
        list of float32 arrays
            ``[subjects, features]``, one per window; a single one when windows are averaged. A window that a
            subject lacks is NaN: how it is filled is fitted on training subjects, not decided here.
        """
        if self.trainable:
            raise ValueError("this pooling has trainable weights; use it inside a tower")
        hidden = table.shape[1]
        rows = torch.from_numpy(np.ascontiguousarray(table))
        per_window = []
        for window, count in enumerate(n_chunks):
            chunk_pool = build(self.chunk, hidden, int(count))
            diploid = DiploidPooling(self.diploid, chunk_pool.out_features)
            parts = []
            for start in range(0, len(index), 1024):
                picked = torch.from_numpy(index[start : start + 1024, :, window, :count].astype(np.int64))
                parts.append(self._pool(rows, picked, chunk_pool, diploid))
            per_window.append(np.concatenate(parts))
        if self.window in ("components", "concat"):
            return per_window
        stacked = np.stack(per_window, axis=1)
        missing = np.isnan(stacked)
        if self.window == "mean":
            pooled = np.where(missing, 0, stacked).sum(axis=1) / np.maximum((~missing).sum(axis=1), 1)
        else:
            pooled = np.where(missing, -np.inf, stacked).max(axis=1)
        pooled[missing.all(axis=1)] = np.nan
        return [pooled.astype(np.float32)]

    def _pool(
        self, rows: torch.Tensor, picked: torch.Tensor, chunk_pool: torch.nn.Module, diploid: DiploidPooling
    ) -> FloatArray:
        exists = picked >= 0
        haplotypes = exists.any(dim=-1)
        windows = haplotypes.any(dim=-1)
        embedded = rows[picked.clamp_min(0)] * exists.unsqueeze(-1)
        with torch.no_grad():
            # What does not exist at all must only not be empty here; the next level masks it, or it becomes NaN.
            copies = chunk_pool(embedded, exists | ~haplotypes.unsqueeze(-1))
            out = diploid(copies, haplotypes | ~windows.unsqueeze(-1))
        out[~windows] = torch.nan
        result: FloatArray = out.numpy()
        return result
