"""Building blocks of SwiFT on channel-last tokens ``[batch, x, y, z, frames, hidden]``.

Parameters bear the names and shapes of the published checkpoints. Source: Kim et al., NeurIPS 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from genebrain.brain.models.swift.attention import SegmentAttention
from genebrain.brain.models.swift.config import SwiFTConfig

GROWTH = 4
"""Width of the feed-forward layer over that of a token."""


class PatchEmbedding(nn.Module):
    """One linear layer over non-overlapping patches; inside a patch the input channel runs fastest."""

    def __init__(self, config: SwiFTConfig) -> None:
        super().__init__()
        self.patch = config.patch_size[:3]
        self.fc = nn.Linear(config.patch_features, config.embed_dim)

    def forward(self, scan: Tensor) -> Tensor:
        """``[batch, channels, X, Y, Z, frames]`` to ``[batch, x, y, z, frames, hidden]``."""
        x = scan
        for axis, size in zip((2, 4, 6), self.patch, strict=True):
            x = x.unflatten(axis, (-1, size))
        return self.fc(x.permute(0, 2, 4, 6, 8, 3, 5, 7, 1).flatten(5))


class PositionTables(nn.Module):
    """Learnt tables of space ``[1, hidden, x, y, z, 1]`` and of time ``[1, hidden, 1, 1, 1, frames]``."""

    def __init__(self, hidden: int, grid: tuple[int, int, int], frames: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, hidden, *grid, 1))
        self.time_embed = nn.Parameter(torch.zeros(1, hidden, 1, 1, 1, frames))

    def forward(self, x: Tensor) -> Tensor:
        """Add the tables to ``[batch, x, y, z, frames, hidden]``; fewer frames take the first of the table."""
        tables = self.pos_embed + self.time_embed[..., : x.shape[4]]
        return x + tables.permute(0, 2, 3, 4, 5, 1)

    @torch.no_grad()
    def resized(self, grid: tuple[int, int, int], frames: int) -> dict[str, Tensor]:
        """Both tables for another size: trilinear in space; in time linear when longer, else the first frames."""
        space, time = self.pos_embed[..., 0], self.time_embed[:, :, 0, 0, 0]
        if tuple(space.shape[2:]) != grid:
            space = functional.interpolate(space, grid, mode="trilinear", align_corners=False)
        if frames > time.shape[2]:
            time = functional.interpolate(time, frames, mode="linear", align_corners=False)
        return {"pos_embed": space[..., None].clone(), "time_embed": time[:, :, None, None, None, :frames].clone()}


class FeedForward(nn.Module):
    """Linear, exact GELU, linear: ``[..., hidden]`` in and out."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(hidden, GROWTH * hidden)
        self.linear2 = nn.Linear(GROWTH * hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Token by token."""
        return self.linear2(functional.gelu(self.linear1(x)))


class Block(nn.Module):
    """Pre-norm transformer block around :class:`SegmentAttention`."""

    def __init__(self, hidden: int, heads: int, window: tuple[int, ...], shifted: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attn = SegmentAttention(hidden, heads, window, shifted)
        self.mlp = FeedForward(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Attention, then the feed-forward layer, each on normed tokens and added."""
        x = x + self.attn(self.norm1(x))
        if not torch.is_grad_enabled():
            return x + self._feed_forward(x)
        # The wide layer is half of what a block keeps for the backward pass, and cheap to make again.
        return x + checkpoint(self._feed_forward, x, use_reentrant=False, preserve_rng_state=False)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Eight neighbours in space become one token; time is kept. The last spatial axis runs fastest but channels."""

    def __init__(self, hidden: int, merged: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8 * hidden)
        self.reduction = nn.Linear(8 * hidden, merged, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, x, y, z, frames, hidden]`` to ``[batch, x/2, y/2, z/2, frames, merged]``."""
        for axis in (1, 3, 5):
            x = x.unflatten(axis, (-1, 2))
        return self.reduction(self.norm(x.permute(0, 1, 3, 5, 7, 2, 4, 6, 8).flatten(5)))


class Stage(nn.Module):
    """Blocks of one resolution, every second one shifted, then merging (but in the last stage)."""

    def __init__(self, config: SwiFTConfig, stage: int) -> None:
        super().__init__()
        hidden, heads, window = config.width(stage), config.num_heads[stage], config.window(stage)
        self.blocks = nn.ModuleList(
            Block(hidden, heads, window, shifted=i % 2 == 1 and not config.full(stage))
            for i in range(config.depths[stage])
        )
        last = stage == config.stages - 1
        self.downsample = None if last else PatchMerging(hidden, config.width(stage + 1))
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, x, y, z, frames, hidden]`` to the grid and width of the next stage."""
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x)
        return x if self.downsample is None else self.downsample(x)
