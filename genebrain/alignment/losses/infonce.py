"""Tiled InfoNCE over people, with gradients that are exact across processes.

:func:`dense_infonce` is the formula in ten lines; :class:`InfoNCE` equals it, value and gradient, without ever holding
the score matrix.

For an anchor row the loss is ``logsumexp over kept columns - mean over positive columns`` (the outer form
of supervised contrastive learning, Khosla et al. 2020, arXiv 2004.11362), taken from gene to brain and from
brain to gene, and averaged. If all genomes and families differ it is the loss of CLIP (Radford et al. 2021,
2103.00020).

Both directions read the same score matrix, so one pass over tiles of rows gives the log-sum-exp of the rows
at once and that of the columns by streaming; the backward pass makes each tile again. Memory is one tile,
not batch x batch. Across processes each holds the strip (its own genes) x (all brains): the rows are
complete, the columns are combined over ranks. That is half the arithmetic of scoring both directions apart.

Scores are float32 (or float64) even under autocast. The vectors are used as they come: unit length is the
towers' business.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genebrain.alignment.losses.registry import LOSSES
from genebrain.alignment.losses.relations import Relations, tiles
from genebrain.alignment.losses.tiled import TiledLoss
from genebrain.training.collectives import logsumexp_over_ranks


def dense_infonce(
    gene: Tensor, brain: Tensor, log_scale: Tensor, genome_id: Tensor, family_id: Tensor, relatives: str = "ignore"
) -> Tensor:
    """Symmetric InfoNCE of one process with every matrix written out: what :class:`InfoNCE` computes.

    Same genome: positive. Same family, other genome: ignored (or negative). All others: negative.
    """
    scores = log_scale.exp() * gene @ brain.T
    positive = genome_id[:, None] == genome_id
    ignored = (family_id[:, None] == family_id) & ~positive & (relatives == "ignore")

    def one_way(scores: Tensor) -> Tensor:
        kept = scores.masked_fill(ignored, -math.inf).logsumexp(dim=1)
        return (kept - (scores * positive).sum(dim=1) / positive.sum(dim=1)).mean()

    return (one_way(scores) + one_way(scores.T)) / 2


def _scores(x: Tensor, y: Tensor, scale: Tensor, relations: Relations, rows: slice) -> Tensor:
    scores = (x[rows] * scale) @ y.T
    ignored = relations.ignored(rows)
    return scores if ignored is None else scores.masked_fill_(ignored, -math.inf)


class _TiledLogSumExp(torch.autograd.Function):
    """Log-sum-exp of ``scale * x @ y.T``, kept pairs only, of every row and of every column."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, scale: Tensor, relations: Relations, tile: int
    ) -> tuple[Tensor, Tensor]:
        row = x.new_empty(x.shape[0])
        column = x.new_full((y.shape[0],), -math.inf)
        for rows in tiles(x.shape[0], tile):
            scores = _scores(x, y, scale, relations, rows)
            row[rows] = scores.logsumexp(dim=1)
            column = torch.logaddexp(column, scores.logsumexp(dim=0))
        ctx.save_for_backward(x, y, scale, row, column)
        ctx.relations, ctx.tile = relations, tile
        return row, column

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_row: Tensor, grad_column: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, row, column = ctx.saved_tensors
        # Across processes every local row can be a relative of a column: exp(-inf - inf) is its share of 0,
        # where exp(-inf + inf) would be NaN. A row always keeps its own column.
        column = column.masked_fill(column == -math.inf, math.inf)
        grad_x, grad_y, grad_scale = torch.empty_like(x), torch.zeros_like(y), torch.zeros_like(scale)
        with torch.autocast(x.device.type, enabled=False):
            for rows in tiles(x.shape[0], ctx.tile):
                scores = _scores(x, y, scale, ctx.relations, rows)
                share = (scores - row[rows, None]).exp_().mul_(grad_row[rows, None])
                share += scores.sub_(column).exp_().mul_(grad_column)
                pulled = share @ y
                grad_scale += (x[rows] * pulled).sum()
                grad_x[rows] = pulled.mul_(scale)
                grad_y.addmm_(share.T, x[rows])
        return grad_x, grad_y.mul_(scale), grad_scale, None, None


@LOSSES.register("infonce")
class InfoNCE(TiledLoss):
    """Symmetric InfoNCE with relation-aware positives; options and ``forward``: :class:`genebrain.TiledLoss`."""

    def of_pairs(self, x: Tensor, y: Tensor, scale: Tensor, relations: Relations) -> Tensor:
        """Log-sum-exp of rows and columns minus the mean positive score."""
        row, partial = _TiledLogSumExp.apply(x, y, scale, relations, self.tile)
        column = logsumexp_over_ranks(partial)
        # Rows and columns are the same people, so the mean positive score of both directions is the
        # same number.
        positive = scale * (x * relations.positive_mean(y)).sum(dim=1)
        loss: Tensor = ((row + column) / 2 - positive).mean()
        return loss
