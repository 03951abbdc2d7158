"""Parts of SwiFT's published training that the package does not use."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def global_local_temporal(local: Tensor, slices: Tensor, temperature: float = 0.1) -> Tensor:
    """Each short clip finds its own time slice of the long clip's features, and the other way round.

    Part of the published loss file, never called by its trainer; after TCLR (Dave et al. 2022, arXiv 2101.07974).

    Parameters
    ----------
    local, slices : Tensor
        ``[batch, times, features]``; similarities are plain dot products within each scan.
    temperature : float

    Returns
    -------
    Tensor
        Cross entropy summed over the times, mean over both directions and the batch.
    """
    if local.shape != slices.shape or local.ndim != 3:
        raise ValueError(f"both must be [batch, times, features], got {list(local.shape)} and {list(slices.shape)}")
    scores = local @ slices.mT / temperature
    logits = torch.cat([scores, scores.mT]).flatten(0, 1)
    time = torch.arange(local.shape[1], device=local.device).repeat(2 * len(local))
    return functional.cross_entropy(logits, time, reduction="sum") / (2 * len(local))


class TwoLayerHead(nn.Module):
    """Classification (version 2): two linear layers without activation between, as published."""

    def __init__(self, hidden: int, outputs: int = 1) -> None:
        super().__init__()
        self.hidden = nn.Linear(hidden, 4 * hidden)
        self.head = nn.Linear(4 * hidden, outputs)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Logits ``[batch, outputs]``."""
        return self.head(self.hidden(feature_map.flatten(2).mean(dim=2)))


def warmup_cosine_restarts(
    step: int, *, cycle_steps: int, warmup_steps: int, max_lr: float, min_lr: float = 1e-9, gamma: float = 1.0
) -> float:
    """Learning rate of one optimiser step.

    Parameters
    ----------
    step : int
        Counted from 0.
    cycle_steps, warmup_steps : int
        Steps of a cycle, and how many of them are warm-up.
    max_lr, min_lr : float
        Peak of the first cycle, and the rate where every cycle starts and ends.
    gamma : float
        Factor on the peak from one cycle to the next.

    Raises
    ------
    ValueError
        The step is negative, or the warm-up is not shorter than the cycle.
    """
    if step < 0 or not 0 <= warmup_steps < cycle_steps:
        raise ValueError(f"need step >= 0 and 0 <= warm-up < cycle, got {step}, {warmup_steps}, {cycle_steps}")
    if step == 0:
        return min_lr  # the published schedule starts here even without warm-up
    cycle, position = divmod(step, cycle_steps)
    height = max_lr * gamma**cycle - min_lr
    if position < warmup_steps:
        return min_lr + height * position / warmup_steps
    phase = (position - warmup_steps) / (cycle_steps - warmup_steps)
    return min_lr + height * (1 + math.cos(math.pi * phase)) / 2
