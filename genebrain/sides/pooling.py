"""Pooling of frozen chunk embeddings, from token to subject; every level is named.

Without trainable weights the pooled features depend on the genotypes only, so they are computed once and a cell
of an ablation costs seconds. The order is ``token -> chunk -> diploid -> window``: what a level receives is what
the one before gave, per haplotype up to ``diploid``, per gene window up to ``window``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from genebrain.alignment.made_blocks import MadeBlocks, PairSums
from genebrain.alignment.towers.registry import DIPLOID_KINDS, POOLINGS
from genebrain.common.types import FloatArray, IntArray, UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from genebrain.alignment.towers.pooling import DiploidPooling

KEPT = 2.5e8
"""Bytes of pooled vectors up to which all windows are made at once and kept."""
Token = Literal["last", "mean", "max"]
WINDOW = ("components", "concat", "mean", "max")
"""Ways to join windows without weights; every trainable pooling joins them too."""


@dataclass(frozen=True)
class GenePooling:
    """How the vectors of one person's chunks become one input of the gene tower.

    Parameters
    ----------
    token : {"last", "mean", "max"}
        Tokens of a chunk, to the vector of the chunk (all three are stored).
    chunk : str
        Chunks of a window, to the window vector of one haplotype: flatten (keeps their order), mean, max, last,
        attention, gated_attention, gem, or one of a plugin.
    diploid : {"sum", "mean", "mean_absdiff", "max", "concat"}
        The two haplotypes, to one window vector; symmetric in the two unless ``concat``.
    window : str
        Windows of a subject: components (principal components per window, fitted on training subjects), concat, mean,
        max, attention, gated_attention, or a trained one of a plugin. Components stay apart, so that a sparse gene side
        can choose.
    """

    token: Token = "mean"
    chunk: str = "flatten"
    diploid: Literal["sum", "mean", "mean_absdiff", "max", "concat"] = "sum"
    window: str = "components"

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[str, ...]] = {
            "token": get_args(Token), "chunk": tuple(POOLINGS), "diploid": DIPLOID_KINDS,
            "window": WINDOW if self.window in WINDOW else (*WINDOW, *filter(_is_trainable, POOLINGS)),
        }  # fmt: skip
        wrong = [
            f"pooling.{level}={getattr(self, level)}: use one of {', '.join(names)}"
            + (" (plugins=[...] adds your own)" if level in ("chunk", "window") else "")
            for level, names in allowed.items()
            if getattr(self, level) not in names
        ]
        if wrong:
            raise UserError("; ".join(wrong))

    @property
    def trainable(self) -> bool:
        """Whether any level has weights, so that pooling happens inside training."""
        return any(name in POOLINGS and _is_trainable(name) for name in (self.chunk, self.window))

    @property
    def levels(self) -> dict[str, str]:
        """Pooling names of the levels above the token."""
        return {level: getattr(self, level) for level in ("chunk", "diploid", "window")}

    @property
    def keeps_chunks_apart(self) -> bool:
        """Whether a block is a row of chunk vectors, whose components can be taken chunk by chunk."""
        return self.chunk == "flatten" and self.window == "components"

    @property
    def linear(self) -> bool:
        """Whether the blocks are sums of chunk vectors, so that a change of basis goes through them."""
        return self.keeps_chunks_apart and self.diploid in ("sum", "mean")

    def blocks(self, table: FloatArray, index: IntArray, n_chunks: IntArray) -> Sequence[FloatArray]:
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
        sequence of float32 arrays
            ``[subjects, features]``, one per window; a single one when windows are averaged. A window that a
            subject lacks is NaN: how it is filled is fitted on training subjects, not decided here. Of a large cohort
            each is made whenever it is asked for.
        """
        import torch

        rows = torch.from_numpy(np.ascontiguousarray(table))
        if self.window in ("components", "concat"):
            widths = [self._parts(rows.shape[1], int(count))[1].out_features for count in n_chunks]
            if 4 * len(index) * sum(widths) > KEPT:

                def made(window: int, people: IntArray | None) -> FloatArray:
                    one = slice(window, window + 1)
                    return self._joined(
                        rows, index[:, :, one] if people is None else index[people, :, one], n_chunks[one]
                    )[0]

                def sums(window: int, people: IntArray | None) -> PairSums:
                    picked = index[:, :, window] if people is None else index[people, :, window]
                    return PairSums(table, picked[:, :, : n_chunks[window]])

                lacking = np.stack([(index[:, :, w, :n] < 0).all(axis=(1, 2)) for w, n in enumerate(n_chunks)], axis=1)
                pairs = self.keeps_chunks_apart and self.diploid == "sum" and index.shape[1] == 2
                return MadeBlocks(made, len(index), widths, lacking, sums if pairs else None)
        return self._joined(rows, index, n_chunks)

    def _parts(self, hidden: int, count: int) -> tuple[Any, DiploidPooling]:
        """Poolings of the chunks of a window of so many, and of its two haplotypes."""
        from genebrain.alignment.towers.pooling import DiploidPooling, build

        chunk_pool = build(self.chunk, hidden, count)
        return chunk_pool, DiploidPooling(self.diploid, chunk_pool.out_features)

    def _joined(self, rows: Tensor, index: IntArray, n_chunks: IntArray) -> list[FloatArray]:
        import torch

        parts = []
        with torch.no_grad():
            for start in range(0, len(index), 1024):
                picked = torch.from_numpy(index[start : start + 1024].astype(np.int64))
                parts.append(self.windows(rows, picked, n_chunks)[::-1])
        # Taken off the slices as they are joined: not everything is there twice.
        return [torch.cat([part.pop() for part in parts]).numpy() for _ in range(len(parts[0]))]

    def windows(self, rows: Tensor, index: Tensor, n_chunks: IntArray) -> list[Tensor]:
        """Pool some people; gradients flow into ``rows``.

        Parameters
        ----------
        rows : Tensor
            ``[rows, hidden]``.
        index : Tensor
            int64 ``[people, haplotypes, windows, chunks]`` into ``rows``; -1 does not exist.
        n_chunks : int array
            ``[windows]``.

        Returns
        -------
        list of Tensor
            As :meth:`blocks`.
        """
        import torch

        if self.trainable:
            raise ValueError("this pooling has trainable weights; use it inside a tower")
        hidden, per_window = rows.shape[1], []
        for window, count in enumerate(n_chunks):
            picked = index[:, :, window, :count]
            if (self.chunk, self.diploid) == ("flatten", "sum"):
                per_window.append(_summed(rows, picked))
            else:
                per_window.append(_pool(rows, picked, *self._parts(hidden, int(count))))
        if self.window in ("components", "concat"):
            return per_window
        stacked = torch.stack(per_window, dim=1)
        missing = stacked.isnan()
        if self.window == "mean":
            pooled = stacked.masked_fill(missing, 0.0).sum(dim=1) / (~missing).sum(dim=1).clamp_min(1)
        else:
            pooled = stacked.masked_fill(missing, -torch.inf).amax(dim=1)
        return [pooled.masked_fill(missing.all(dim=1), torch.nan)]


def _is_trainable(name: str) -> bool:
    from genebrain.alignment.towers.pooling import is_trainable

    return is_trainable(name)


def _summed(rows: Tensor, picked: Tensor) -> Tensor:
    """The default pooling, flatten and sum, in one pass: the numbers of :func:`_pool` in a third of the time."""
    import torch

    people, _, chunks = picked.shape
    table = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])  # the last row: what does not exist
    pairs = picked.transpose(1, 2).reshape(people * chunks, -1)
    where = torch.where(pairs >= 0, pairs, len(rows))
    out = torch.nn.functional.embedding_bag(where, table, mode="sum", padding_idx=len(rows)).view(people, -1)
    missing = (picked < 0).all(dim=2).all(dim=1)
    return out.masked_fill(missing[:, None], torch.nan) if bool(missing.any()) else out


def _pool(rows: Tensor, picked: Tensor, chunk_pool: nn.Module, diploid: DiploidPooling) -> Tensor:
    import torch

    exists = picked >= 0
    haplotypes = exists.any(dim=-1)
    windows = haplotypes.any(dim=-1)
    embedded = rows[picked.clamp_min(0)] * exists.unsqueeze(-1)
    # Unmask one dummy item in absent sets so that pooling is defined; the next level masks the result (or sets NaN).
    copies = chunk_pool(embedded, exists | ~haplotypes.unsqueeze(-1))
    out: Tensor = diploid(copies, haplotypes | ~windows.unsqueeze(-1))
    return out.masked_fill(~windows[:, None], torch.nan)
