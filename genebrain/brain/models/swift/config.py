"""Sizes and options of SwiFT, under the names of the published checkpoints' ``hyper_parameters``.

A configuration that exists can be built; everything that does not hold together is listed at once. The published
sizes are :data:`PUBLISHED`. Training options (dropout, learning rate) are ignored. Source: Kim et al., NeurIPS 2023,
arXiv 2307.05916.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from genebrain.common.types import UserError, wrong_types

Four = tuple[int, int, int, int]
PREFIX = "model."
"""Begins the keys of published weights."""


@dataclass(frozen=True, kw_only=True)
class SwiFTConfig:
    """Description of one encoder; four numbers are three axes of space and one of time.

    Attributes
    ----------
    img_size
        Voxels per axis and the largest number of frames (the length of the time tables).
    patch_size
        Voxels per patch; the last must be 1, as published.
    in_chans, embed_dim, c_multiplier
        Input channels, width of the first stage, growth of the width per stage.
    depths, num_heads
        Blocks and attention heads of every stage.
    first_window_size, window_size
        Tokens per window in the first stage, and in all others.
    last_layer_full_MSA
        The last stage attends over all of space (and ``window_size[3]`` frames), without shifts.
    """

    img_size: Four = (96, 96, 96, 20)
    patch_size: Four = (6, 6, 6, 1)
    in_chans: int = 1
    embed_dim: int = 36
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    first_window_size: Four = (4, 4, 4, 4)
    window_size: Four = (4, 4, 4, 4)
    c_multiplier: int = 2
    last_layer_full_MSA: bool = True  # noqa: N815  (the checkpoints' name)

    def __post_init__(self) -> None:
        if problems := wrong_types(type(self), vars(self)) or self._problems():
            raise UserError("the SwiFT configuration cannot be built: " + "; ".join(problems))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> SwiFTConfig:
        """Configuration from ``hyper_parameters``; fields that are not of the encoder are ignored.

        Raises
        ------
        UserError
            Fields are missing (upstream's own defaults are not the published sizes, so none is assumed), or
            what they say cannot be built.
        """
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in values]:
            raise UserError(f"the SwiFT configuration lacks {len(missing)} fields: {', '.join(missing)}")
        given: dict[str, Any] = {n: tuple(values[n]) if isinstance(values[n], list) else values[n] for n in names}
        return cls(**given)

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.depths)

    def width(self, stage: int) -> int:
        """Channels inside a stage."""
        return self.embed_dim * self.c_multiplier**stage

    def grid(self, stage: int) -> tuple[int, int, int]:
        """Tokens along the three axes of space inside a stage."""
        x, y, z = (s // p // 2**stage for s, p in zip(self.img_size[:3], self.patch_size[:3], strict=True))
        return x, y, z

    def window(self, stage: int) -> Four:
        """Window of a stage, before it is shrunk to a smaller grid."""
        if self.full(stage):
            return (*self.grid(stage), self.window_size[3])
        return self.first_window_size if stage == 0 else self.window_size

    def full(self, stage: int) -> bool:
        """Whether the stage attends over all of space, without shifts."""
        return self.last_layer_full_MSA and stage == self.stages - 1

    def _problems(self) -> list[str]:
        found = []
        for name in ("img_size", "patch_size", "first_window_size", "window_size"):
            value = getattr(self, name)
            if len(value) != 4 or min(value) < 1:
                found.append(f"{name} must be 4 positive numbers, got {list(value)}")
        if not self.depths or len(self.depths) != len(self.num_heads):
            found.append(f"depths and num_heads must be equally long, got {len(self.depths)} and {len(self.num_heads)}")
        if min((self.in_chans, self.embed_dim, self.c_multiplier, *self.depths, *self.num_heads)) < 1:
            found.append("channels, widths, depths and heads must be positive")
        if found:
            return found
        for stage, heads in enumerate(self.num_heads):
            if self.width(stage) % heads:
                found.append(f"{heads} heads do not divide the width {self.width(stage)} of stage {stage}")
        if self.patch_size[3] != 1:
            found.append(f"a patch must be 1 frame long, got {self.patch_size[3]}")
        # Merging halves the grid: it must be even before every stage but the first.
        step = [p * 2 ** (self.stages - 1) for p in self.patch_size[:3]]
        if any(s % d for s, d in zip(self.img_size[:3], step, strict=True)):
            found.append(f"img_size {list(self.img_size[:3])} must be multiples of {step} (patch x merging)")
        return found

    @property
    def box(self) -> tuple[int, int, int]:
        """Voxels along X, Y and Z."""
        x, y, z, _ = self.img_size
        return x, y, z

    @property
    def frame_lengths(self) -> range:
        """Numbers of frames that a window may have: up to the length of the time tables."""
        return range(1, self.img_size[3] + 1)

    @property
    def patch_features(self) -> int:
        """Numbers in one patch."""
        return math.prod(self.patch_size) * self.in_chans


PUBLISHED = SwiFTConfig()
"""Sizes of the published checkpoints: 96^3 voxels x 20 frames, 4.3 million parameters."""
