"""Layers of BrainMT around its mixer: convolution stem, attention, dropped paths.

Parameters bear the names of the published model. Source: Kannan et al., MICCAI 2025 (arXiv 2506.22591);
github.com/arunkumar-kannan/BrainMT-fMRI at 977e486.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-5


class PatchEmbed(nn.Module):
    """Two strided convolutions with ReLU: ``[n, in, D, H, W]`` to ``[n, width, D/4, H/4, W/4]``, rounded up."""

    def __init__(self, in_chans: int, stem_dim: int, width: int) -> None:
        super().__init__()
        self.conv_down = nn.Sequential(
            nn.Conv3d(in_chans, stem_dim, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv3d(stem_dim, width, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[n, in, D, H, W]`` to ``[n, width, D/4, H/4, W/4]``."""
        return self.conv_down(x)


class ConvBlock(nn.Module):
    """Two convolutions, each followed by a layer norm over channels, and a skip: shape ``[n, width, d, h, w]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(width, width, 3, padding=1)
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1)
        self.norm2 = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        y = functional.gelu(_over_channels(self.norm1, self.conv1(x)), approximate="tanh")
        return x + _over_channels(self.norm2, self.conv2(y))


def _over_channels(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return norm(x.movedim(1, -1)).movedim(-1, 1)


class Downsample(nn.Module):
    """Halves the grid and doubles the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Sequential(nn.Conv3d(width, 2 * width, 3, stride=2, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, width, d, h, w]`` to ``[n, 2 width, d/2, h/2, w/2]``, rounded up."""
        return self.reduction(x)


class Attention(nn.Module):
    """Multi-head attention over ``[batch, tokens, width]``, without mask."""

    def __init__(self, width: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(y.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear maps with a GELU between; twice the width inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]`` to the same shape."""
        return self.fc2(functional.gelu(self.fc1(x)))


def drop_path(x: Tensor, rate: float, training: bool) -> Tensor:
    """Zero whole samples ``x [batch, ...]`` with probability ``rate`` in training, and scale up the others."""
    if not training or rate == 0:
        return x
    keep = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= rate
    return x * keep / (1 - rate)
