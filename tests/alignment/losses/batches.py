"""Batches of random vectors, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def random_batch(n: int, d: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, n, d, dtype=torch.float64, generator=generator)
    return (
        x.requires_grad_(),
        y.requires_grad_(),
        torch.tensor([0.4], dtype=torch.float64, requires_grad=True),
    )
