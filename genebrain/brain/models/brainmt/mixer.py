"""The Mamba mixer of BrainMT, in one direction or in two.

``[batch, tokens, width]`` in and out. Parameters bear the names of mamba-ssm (one direction) and of the VideoMamba
mixer (two: input and output projections shared, the rest per direction, the outputs summed). Sources: Gu and Dao
2023 (arXiv 2312.00752), mamba-ssm 2.2.2; Li et al. 2024 (arXiv 2403.06977), github.com/OpenGVLab/VideoMamba at
f3427e4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from genebrain.brain.models.brainmt.selective_scan import selective_scan

STEP_RANGE = 0.001, 0.1
STEP_FLOOR = 1e-4


class SelectiveMixer(nn.Module):
    """Gated causal convolution and selective scan.

    Parameters
    ----------
    width : int
        Numbers of a token.
    two_directions : bool
        Whether the sequence is also read backwards.
    d_state, d_conv, expand : int
        States per channel, length of the convolution, inner channels per number of a token.
    """

    def __init__(
        self, width: int, two_directions: bool = False, d_state: int = 16, d_conv: int = 4, expand: int = 2
    ) -> None:
        super().__init__()
        self.two_directions, self.d_state = two_directions, d_state
        self.rank = math.ceil(width / 16)
        inner = expand * width
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        for mark in ("", "_b") if two_directions else ("",):
            self.register_parameter(f"A{mark}_log", nn.Parameter(torch.empty(inner, d_state)))
            self.register_parameter(f"D{mark}", nn.Parameter(torch.empty(inner)))
            convolution = nn.Conv1d(inner, inner, d_conv, padding=d_conv - 1, groups=inner)
            self.add_module(f"conv1d{mark}", convolution)
            self.add_module(f"x_proj{mark}", nn.Linear(inner, self.rank + 2 * d_state, bias=False))
            self.add_module(f"dt_proj{mark}", nn.Linear(self.rank, inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.initialise_states()

    def forward(self, tokens: Tensor) -> Tensor:
        """``[batch, tokens, width]`` to the same shape."""
        xz = self.in_proj(tokens).mT
        y = self._read(xz, "")
        if self.two_directions:
            y = y + self._read(xz.flip(-1), "_b").flip(-1)
        return self.out_proj(y.mT)

    def _read(self, xz: Tensor, mark: str) -> Tensor:
        x, z = xz.chunk(2, dim=1)
        convolution, step = getattr(self, f"conv1d{mark}"), getattr(self, f"dt_proj{mark}")
        x = functional.silu(convolution(x)[..., : xz.shape[-1]])
        maps = getattr(self, f"x_proj{mark}")(x.mT).mT
        dt, B, C = maps.split([self.rank, self.d_state, self.d_state], dim=1)
        A = -torch.exp(getattr(self, f"A{mark}_log"))
        # The bias joins inside the scan, before the softplus.
        y, _ = selective_scan(x, step.weight @ dt, A, B, C, getattr(self, f"D{mark}"), z, step.bias)
        return y

    @torch.no_grad()
    def initialise_states(self, generator: torch.Generator | None = None) -> None:
        """Mamba's own start: decay rates 1..states, skip of one, step sizes log-uniform in 0.001..0.1."""
        for mark in ("", "_b") if self.two_directions else ("",):
            rates: Tensor = getattr(self, f"A{mark}_log")
            rates.copy_(torch.arange(1, self.d_state + 1).log().expand_as(rates))
            getattr(self, f"D{mark}").fill_(1.0)
            projection = getattr(self, f"dt_proj{mark}")
            projection.weight.uniform_(-(self.rank**-0.5), self.rank**-0.5, generator=generator)
            low, high = (math.log(x) for x in STEP_RANGE)
            step = torch.empty_like(projection.bias).uniform_(low, high, generator=generator).exp()
            step = step.clamp(min=STEP_FLOOR)
            projection.bias.copy_(step + torch.log(-torch.expm1(-step)))  # inverse of the softplus
