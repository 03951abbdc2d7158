"""The scale of the scores (the inverse temperature), kept as a logarithm of shape ``[1]``.

Shape ``[1]`` and not ``[]``, because sharded training cannot shard a number without a dimension. Start
ln(1/0.07) and cap 100 are those of CLIP (Radford et al. 2021, arXiv 2103.00020). The parameter should take
no weight decay.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LogitScale(nn.Module):
    """Learnable or fixed logarithm of the factor on the dot products.

    Parameters
    ----------
    init : float
        Natural logarithm of the starting scale.
    learnable : bool
        False keeps the scale at its start.
    maximum : float
        Largest scale (not its logarithm); :meth:`clamp_` enforces it.

    Attributes
    ----------
    log_scale : Parameter
        ``[1]``, float32.
    """

    def __init__(self, init: float = math.log(1 / 0.07), learnable: bool = True, maximum: float = 100.0) -> None:
        super().__init__()
        if maximum <= 0 or not math.isfinite(init) or math.exp(init) > maximum:
            raise ValueError(
                f"init={init} is the logarithm of the scale and must be finite and at most ln(maximum) "
                f"for a positive maximum; maximum={maximum}"
            )
        self.maximum = maximum
        self.log_scale = nn.Parameter(torch.tensor([init], dtype=torch.float32), requires_grad=learnable)

    def forward(self) -> Tensor:
        """Logarithm of the scale, ``[1]``, as the losses take it."""
        return self.log_scale

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring the scale back to at most ``maximum``; call after each optimiser step.

        Clamping inside the forward pass instead would cut the gradient at the cap and freeze the scale there.
        """
        self.log_scale.clamp_(max=math.log(self.maximum))

    @property
    def scale(self) -> float:
        """Present scale, for logging (waits for the device)."""
        return math.exp(self.log_scale.item())
