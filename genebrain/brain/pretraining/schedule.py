"""Learning rate and weight decay for BrainMT, and for the pretraining of every scan encoder.

The rate is a function of the optimiser step (the published loop counts epochs and so never warms up); decay is
decided by the kind of parameter, not by its name.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn


def learning_rate(
    step: int,
    first_cycle_steps: int,
    max_lr: float,
    min_lr: float,
    warmup_steps: int,
    gamma: float = 1.0,
    cycle_mult: float = 1.0,
) -> float:
    """Linear warm-up, then a cosine to ``min_lr``, in cycles that start again.

    Parameters
    ----------
    step : int
        Optimiser steps taken before.
    first_cycle_steps, warmup_steps : int
        Length of the first cycle, and of the warm-up within each.
    max_lr, min_lr : float
        Peak of the first cycle, and floor.
    gamma, cycle_mult : float
        Factors per cycle on the peak, and on the part of the cycle after the warm-up.

    Raises
    ------
    ValueError
        The step is negative, the warm-up fills the cycle, or cycles would shrink.
    """
    if step < 0 or not 0 <= warmup_steps < first_cycle_steps or cycle_mult < 1:
        raise ValueError(
            f"step {step} >= 0, 0 <= warm-up {warmup_steps} < cycle {first_cycle_steps} and "
            f"cycle_mult {cycle_mult} >= 1 are needed"
        )
    length, peak = first_cycle_steps, max_lr
    while step >= length:
        step -= length
        length = int((length - warmup_steps) * cycle_mult) + warmup_steps
        peak *= gamma
    if step < warmup_steps:
        return min_lr + (peak - min_lr) * step / warmup_steps
    share = (step - warmup_steps) / (length - warmup_steps)
    return min_lr + (peak - min_lr) * (1 + math.cos(math.pi * share)) / 2


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimiser: weights of linear maps and convolutions decay, all else does not.

    Norms, biases, class and position embeddings, decay rates and skips of the scan are left alone.
    """
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, kinds)}
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
