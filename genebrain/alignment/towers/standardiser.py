"""Standardise features with the statistics of the training people, which travel in the checkpoint.

People share 99.9 % of their sequence, so raw embeddings are nearly equal; without this nothing is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genebrain.common.types import UserError


class Standardiser(nn.Module):
    """Subtract the training mean and divide by the training standard deviation, column by column.

    Until :meth:`fit_` is called it passes its input through. A column that is constant in training becomes zero:
    dividing by its rounding noise would blow up the people who differ there.

    Parameters
    ----------
    features : int
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("factor", torch.ones(features))

    @torch.no_grad()
    def fit_(self, training: Tensor) -> Standardiser:
        """Take the statistics of the training rows, ``[rows, features]``.

        Raises
        ------
        UserError
            If there are fewer than two rows, or values that are not finite.
        """
        bad = int((~torch.isfinite(training)).any(dim=1).sum())
        if len(training) < 2 or bad:
            raise UserError(
                f"standardising needs at least 2 finite training rows: got {len(training)}, {bad} of them not finite"
            )
        rows = training.double()
        mean, spread = rows.mean(dim=0), rows.std(dim=0, correction=0)
        alive = spread > 1e-6 * rows.abs().amax(dim=0)
        self.mean.copy_(mean)
        self.factor.copy_(torch.where(alive, 1.0 / torch.where(alive, spread, 1.0), 0.0))
        return self

    def forward(self, features: Tensor) -> Tensor:
        """``[..., features] -> [..., features]``."""
        return (features - self.mean) * self.factor
