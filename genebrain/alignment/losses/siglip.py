"""Sigmoid loss over people (SigLIP, Zhai et al. 2023, arXiv 2303.15343), tiled and exact across processes.

Every kept pair is one yes-or-no question: ``softplus(-z)`` for a positive and ``softplus(z)`` for a
negative, with ``z = scale * dot product + bias``, summed over pairs and divided by the number of anchor
rows. Pairs need no normalisation over the batch, so the gradient of a tile is known as soon as the tile is
scored: it is taken in the forward pass, and nothing of the size batch x batch is ever kept.

Scores are float32 (or float64) even under autocast. The vectors are used as they come.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from genebrain.alignment.losses.registry import LOSSES
from genebrain.alignment.losses.relations import Relations, tiles
from genebrain.alignment.losses.tiled import TiledLoss


class _TiledSigmoidLoss(torch.autograd.Function):
    """Sum over kept pairs of the sigmoid loss of ``scale * x @ y.T + bias``, gradients made on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        scale: Tensor,
        bias: Tensor,
        relations: Relations,
        tile: int,
        with_gradient: bool,
    ) -> Tensor:
        loss = x.new_zeros(())
        grads = [torch.zeros_like(tensor) for tensor in (x, y, scale, bias)] if with_gradient else []
        for rows in tiles(x.shape[0], tile):
            sign = torch.where(relations.positive(rows), 1.0, -1.0).to(x.dtype)
            agreement = torch.addmm(bias, x[rows] * scale, y.T).mul_(sign)
            ignored = relations.ignored(rows)
            if ignored is not None:
                # Full agreement has no loss and no gradient.
                agreement.masked_fill_(ignored, math.inf)
            loss -= functional.logsigmoid(agreement).sum()
            if with_gradient:
                share = agreement.neg_().sigmoid_().mul_(sign).neg_()
                pulled = share @ y
                grads[2] += (x[rows] * pulled).sum()
                grads[3] += share.sum()
                grads[0][rows] = pulled.mul_(scale)
                grads[1].addmm_(share.T, x[rows])
        if with_gradient:
            grads[1] *= scale
        ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(grad * saved for saved in ctx.saved_tensors), None, None, None)


@LOSSES.register("siglip")
class SigLIP(TiledLoss):
    """Sigmoid loss with a learnable bias and relation-aware positives.

    Parameters
    ----------
    relatives, tile
        As in :class:`genebrain.TiledLoss`.
    bias : float
        Start of the bias. The paper's -10 belongs with a starting scale of 10 (``log_scale = ln 10``):
        nearly all pairs are negatives, and the loss should start near zero for them.

    Attributes
    ----------
    bias : Parameter
        ``[1]``; should take no weight decay.
    """

    def __init__(self, relatives: str = "ignore", tile: int = 256, bias: float = -10.0) -> None:
        super().__init__(relatives, tile)
        self.bias = nn.Parameter(torch.tensor([bias], dtype=torch.float32))

    def of_pairs(self, x: Tensor, y: Tensor, scale: Tensor, relations: Relations) -> Tensor:
        """Sum over kept pairs, divided by the number of rows."""
        loss: Tensor = _TiledSigmoidLoss.apply(
            x, y, scale, self.bias.to(x.dtype), relations, self.tile, torch.is_grad_enabled()
        )
        return loss / x.shape[0]
