"""The base-pair marginal loss of causal fine-tuning: six bases per token are judged, not one token of 4,096.

For each of the k positions of a 6-mer, the probability of its right base is the sum over all 6-mers that have it
there. Logits or hidden states and an output head go in, sums in float32 come out; rows are worked off in slices that
are computed again for the gradient, so no softmax of ``[batch, length, vocabulary]`` is ever kept, and with a head
given not even the logits. Targets are shifted by one, as for any causal model.

Difference to the published code: there the 32 control tokens count as base A; here they belong to no base
(``parity=True`` counts them as published). Source: GenerTeam/GENERator, custom trainer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from genebrain.genetics.model.tokenizer import CONTROL_TOKENS, OOV, PAD

IGNORED = -100
SMALLEST_PROBABILITY = 1e-8
SLICE_ROWS = 256
"""Targets at a time: 256 rows of 4,128 float32 logits are 4 MiB."""


@dataclass(frozen=True)
class BasePairLoss:
    """Sums over the targets of a batch; divide as needed.

    Attributes
    ----------
    base_sum : float32 scalar
        Over 6-mer targets, minus the logarithm of the right base's probability, mean over the k positions.
    control_sum : float32 scalar
        Over control-token targets, cross entropy divided by k.
    base_targets, control_targets : int64 scalars
    token_sum : float32 scalar without gradient
        Cross entropy of whole tokens over the 6-mer targets, to compare models by.
    """

    base_sum: Tensor
    control_sum: Tensor
    base_targets: Tensor
    control_targets: Tensor
    token_sum: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised: the average of both parts, weighted by their targets (nats per base)."""
        return (self.base_sum + self.control_sum) / (self.base_targets + self.control_targets).clamp(min=1)

    @property
    def per_base(self) -> Tensor:
        """Nats per base over 6-mer targets alone; 0 when there is none."""
        return self.base_sum / self.base_targets.clamp(min=1)


def base_pair_loss(
    scores: Tensor,
    labels: Tensor,
    head: Tensor | None = None,
    *,
    parity: bool = False,
    slice_rows: int = SLICE_ROWS,
) -> BasePairLoss:
    """Loss of a batch.

    Parameters
    ----------
    scores : float [batch, length, vocabulary], or [batch, length, hidden] with ``head``
        Position t predicts the label at t + 1.
    labels : int64 [batch, length]
        -100, ``<oov>`` and ``<pad>`` are ignored.
    head : float [vocabulary, hidden], optional
        Weight of the output head; logits then exist for one slice at a time only.
    parity : bool
        Count control tokens as base A, as published.
    slice_rows : int
        Targets at a time; memory against speed, the numbers stay.

    Raises
    ------
    ValueError
        Shapes that disagree, or a vocabulary that is not 32 + 4**k.
    """
    if scores.ndim != 3 or labels.shape != scores.shape[:2]:
        raise ValueError(
            f"scores {tuple(scores.shape)} need labels of their first two sizes, got {tuple(labels.shape)}"
        )
    k = _letters(scores.shape[-1] if head is None else head.shape[0])
    targets = torch.full_like(labels, IGNORED)
    targets[:, :-1] = labels[:, 1:]
    targets[(targets == OOV) | (targets == PAD) | (targets < 0)] = IGNORED
    sums = _Sliced.apply(scores.flatten(0, 1), head, targets.flatten(), k, parity, slice_rows)
    base = targets >= len(CONTROL_TOKENS)
    return BasePairLoss(sums[0], sums[1], base.sum(), (~base & (targets != IGNORED)).sum(), sums[2].detach())


class _Sliced(torch.autograd.Function):
    """Sums over slices of rows; the backward pass computes each slice again and writes into one gradient.

    Not ``torch.utils.checkpoint`` of slices: autograd would add up a gradient of full size for every slice.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, head: Tensor | None, targets: Tensor, k: int, parity: bool, slice_rows: int
    ) -> Tensor:
        """Sums [3]."""
        ctx.save_for_backward(rows, head, targets)
        kind = rows.device.type
        ctx.autocast = {"device_type": kind, "dtype": torch.get_autocast_dtype(kind)}
        ctx.autocast["enabled"] = torch.is_autocast_enabled(kind)
        ctx.options = k, parity, slice_rows
        sums = torch.zeros(3, device=rows.device)
        for begin in range(0, len(rows), slice_rows):
            part = slice(begin, begin + slice_rows)
            sums += _slice_sums(rows[part], head, targets[part], k, parity)
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of rows and head."""
        rows, head, targets = ctx.saved_tensors
        k, parity, slice_rows = ctx.options
        wanted = ctx.needs_input_grad
        of_rows = torch.empty_like(rows) if wanted[0] else None
        of_head = torch.zeros_like(head, dtype=torch.float32) if wanted[1] else None
        weight = None if head is None else head.detach().requires_grad_(wanted[1])
        for begin in range(0, len(rows), slice_rows):
            part = slice(begin, begin + slice_rows)
            piece = rows[part].detach().requires_grad_(wanted[0])
            with torch.enable_grad(), torch.autocast(**ctx.autocast):
                sums = _slice_sums(piece, weight, targets[part], k, parity)
            inputs: list[Tensor] = [
                t for t, asked in ((piece, wanted[0]), (weight, wanted[1])) if asked and t is not None
            ]
            found = list(torch.autograd.grad(sums, inputs, gradients[0]))
            if of_rows is not None:
                of_rows[part] = found.pop(0)
            if of_head is not None:
                of_head += found.pop(0)
        return of_rows, None if of_head is None else of_head.to(head.dtype), None, None, None, None


def _slice_sums(rows: Tensor, head: Tensor | None, targets: Tensor, k: int, parity: bool) -> Tensor:
    kept = targets != IGNORED
    rows, targets = rows[kept], targets[kept]
    logits = (rows if head is None else linear(rows, head.to(rows.dtype))).float()
    base = targets >= len(CONTROL_TOKENS)
    tokens = cross_entropy(logits, targets, reduction="none")
    right = _right_base(logits[base].softmax(-1), targets[base] - len(CONTROL_TOKENS), k, parity)
    per_base = -right.clamp(min=SMALLEST_PROBABILITY).log().mean(1)
    return torch.stack([per_base.sum(), tokens[~base].sum() / k, tokens[base].sum().detach()])


def _right_base(probability: Tensor, kmers: Tensor, k: int, parity: bool) -> Tensor:
    """Probability of the right base at each position, ``[rows, k]``; 6-mers count in base four, first letter first."""
    control = probability[:, : len(CONTROL_TOKENS)].sum(1)
    left = probability[:, len(CONTROL_TOKENS) :]
    right = []
    for position in range(k):
        place = 4 ** (k - 1 - position)
        digit = kmers // place % 4
        # [rows, letters before, this letter, letters behind]
        sums = left.unflatten(1, (-1, 4, place)).sum((1, 3))
        chosen = sums.gather(1, digit[:, None])[:, 0]
        right.append(chosen + control * (digit == 0) if parity else chosen)
    return torch.stack(right, 1)


def _letters(vocabulary: int) -> int:
    k = 1
    while 4**k + len(CONTROL_TOKENS) < vocabulary:
        k += 1
    if 4**k + len(CONTROL_TOKENS) != vocabulary:
        raise ValueError(f"a vocabulary of {vocabulary} is not {len(CONTROL_TOKENS)} control tokens + 4**k k-mers")
    return k
