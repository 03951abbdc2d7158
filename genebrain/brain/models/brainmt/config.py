"""Sizes and choices of a BrainMT encoder, checked before anything is built, with two presets.

``parity`` is the published network; ``improved`` mends what the published one cannot do (see ``BrainMTConfig``).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from genebrain.common.types import UserError, wrong_types

CHOICES = {
    "directions": ("one", "two"),
    "norm": ("rms", "layer"),
    "step_init": ("mixer", "published"),
    "pooling": ("cls", "mean", "attention"),
    "sequence": ("whole", "per_patch"),
    "attention": ("full", "factorised"),
}


@dataclass(frozen=True)
class BrainMTConfig:
    """A BrainMT network; the defaults are the published one with the two-direction mixer of the paper.

    Attributes
    ----------
    img_size
        Voxels of a frame, (depth, height, width).
    num_frames, in_chans, num_classes
        Frames of a scan, channels of a voxel, outputs of the head.
    stem_dim, width
        Channels of the first convolution and of the convolution blocks; a token has ``4 * width`` numbers.
    depth
        Mamba layers and attention blocks.
    num_heads
        Heads of the attention.
    directions
        "two": each Mamba layer reads the sequence forwards and backwards. The released code is causal ("one").
    norm
        "rms" or "layer", before each mixer and after the last.
    qkv_bias, d_state, d_conv, expand, drop_path
        As named in the sources of BrainMT and Mamba; ``drop_path`` is that of the deepest layer.
    step_init
        "mixer" starts step sizes in 0.001..0.1, as Mamba does; "published" overwrites them, so that every state
        forgets half of itself per token.
    pooling
        "cls": class token before all others, taken as it leaves the last block. "mean" or "attention": no class
        token, pooled over the patch tokens after a final norm.
    sequence
        "whole": all patches one after the other in one scan. "per_patch": each patch's time course on its own,
        so nothing leaks from the last frame of a patch into the first of the next.
    attention
        "full": every token to every token. "factorised": blocks take turns within a frame and within a patch.
    """

    img_size: tuple[int, int, int] = (109, 91, 91)
    num_frames: int = 200
    in_chans: int = 1
    num_classes: int = 1
    stem_dim: int = 64
    width: int = 128
    depth: tuple[int, int] = (12, 8)
    num_heads: int = 2
    directions: Literal["one", "two"] = "two"
    norm: Literal["rms", "layer"] = "rms"
    qkv_bias: bool = True
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    drop_path: float = 0.1
    step_init: Literal["mixer", "published"] = "published"
    pooling: Literal["cls", "mean", "attention"] = "cls"
    sequence: Literal["whole", "per_patch"] = "whole"
    attention: Literal["full", "factorised"] = "full"

    def __post_init__(self) -> None:
        if wrong := wrong_types(type(self), vars(self)):
            raise UserError("BrainMT cannot be built: " + "; ".join(wrong))
        problems = [
            f"{key} must be one of {', '.join(allowed)}, not {getattr(self, key)!r}"
            for key, allowed in CHOICES.items()
            if getattr(self, key) not in allowed
        ]
        for key, length in (("img_size", 3), ("depth", 2)):
            value = tuple(getattr(self, key))
            object.__setattr__(self, key, value)  # a list from a YAML or JSON file
            if len(value) != length or min(value) < 1:
                problems.append(f"{key} must be {length} numbers of at least 1, not {value}")
        numbers = ("num_frames", "in_chans", "num_classes", "stem_dim", "width", "num_heads")
        for key in (*numbers, "d_state", "d_conv", "expand"):
            if getattr(self, key) < 1:
                problems.append(f"{key} must be at least 1, not {getattr(self, key)}")
        if self.num_heads >= 1 and self.hidden_size % self.num_heads:
            problems.append(f"{self.num_heads} heads do not divide tokens of 4 * width = {self.hidden_size}")
        if not 0 <= self.drop_path < 1:
            problems.append(f"drop_path must lie in [0, 1), not {self.drop_path}")
        if self.pooling == "cls" and (self.sequence, self.attention) != ("whole", "full"):
            problems.append("a class token needs sequence=whole and attention=full; pool by mean or attention")
        if problems:
            raise UserError("BrainMT cannot be built: " + "; ".join(problems))

    @classmethod
    def parity(cls, **changes: Any) -> BrainMTConfig:
        """The published network; ``directions="one"`` is the released code, "two" the paper."""
        return dataclasses.replace(cls(), **changes)

    @classmethod
    def improved(cls, **changes: Any) -> BrainMTConfig:
        """Mamba's own step sizes, per-patch scans, factorised attention in 8 heads, mean pooling."""
        better = cls(step_init="mixer", pooling="mean", sequence="per_patch", attention="factorised", num_heads=8)
        return dataclasses.replace(better, **changes)

    @property
    def hidden_size(self) -> int:
        """Numbers of a token."""
        return 4 * self.width

    @property
    def box(self) -> tuple[int, int, int]:
        """Voxels along X, Y and Z; the network's first axis is Y."""
        y, x, z = self.img_size
        return x, y, z

    @property
    def frame_lengths(self) -> range:
        """Numbers of frames that a window may have: the one it was built for."""
        return range(self.num_frames, self.num_frames + 1)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches along each axis: four convolutions of stride 2."""
        d, h, w = (-(-n // 16) for n in self.img_size)
        return d, h, w

    @property
    def num_patches(self) -> int:
        """Patches of a frame."""
        d, h, w = self.grid
        return d * h * w
