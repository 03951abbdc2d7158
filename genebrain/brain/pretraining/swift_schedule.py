"""Learning rate of SwiFT's training: linear warm-up and cosine decay, restarted, each peak lower by a factor.

A pure function of the step, for ``torch.optim.lr_scheduler.LambdaLR`` or for setting by hand. Source: Kim et al.,
NeurIPS 2023, after SGDR (Loshchilov & Hutter, arXiv 1608.03983).
"""

from __future__ import annotations

import math


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
