"""Series as pictures: padding, cropping, patches and masks in pixels for the image family of BrainLM.

A picture is ``[batch, channels, parcels, frames]``, padded with -1 to the size of the model, half on each side;
where the padding is odd the extra row or column lies at the bottom or right. Padding and cropping are exact inverses
for every size up to the model's. Source: github.com/vandijklab/BrainLM, modeling_vit_mae_with_padding.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from genebrain.brain.models.brainlm.config import ViTMAEConfig

PADDING = -1.0
Mode = Literal["auto_encode", "predict_last", "predict_last_pixel"]


@dataclass(frozen=True)
class Canvas:
    """Where a picture of ``height x width`` pixels lies in the padded square of a model."""

    height: int
    width: int
    config: ViTMAEConfig

    def __post_init__(self) -> None:
        if not (0 < self.height <= self.config.image_size[0] and 0 < self.width <= self.config.image_size[1]):
            raise ValueError(
                f"a picture of {self.height} x {self.width} (parcels x frames) does not fit the model's "
                f"{self.config.image_size[0]} x {self.config.image_size[1]}"
            )

    @property
    def top(self) -> int:
        """Rows above the picture."""
        return (self.config.image_size[0] - self.height) // 2

    @property
    def left(self) -> int:
        """Columns to the left of the picture."""
        return (self.config.image_size[1] - self.width) // 2

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        rows, columns = self.config.image_size
        return rows // self.config.patch_size, columns // self.config.patch_size

    def pad(self, picture: Tensor) -> Tensor:
        """``[batch, channels, height, width]`` to the size of the model."""
        bottom = self.config.image_size[0] - self.height - self.top
        right = self.config.image_size[1] - self.width - self.left
        return functional.pad(picture, (self.left, right, self.top, bottom), value=PADDING)

    def crop(self, image: Tensor) -> Tensor:
        """The picture out of an image of the model's size, ``[..., rows, columns]``."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def data_patches(self) -> Tensor:
        """Bool ``[patches]``: which patches hold at least one pixel of the picture, in raster order."""
        p = self.config.patch_size
        rows, columns = (torch.zeros(n, dtype=torch.bool) for n in self.grid)
        rows[self.top // p : -(-(self.top + self.height) // p)] = True
        columns[self.left // p : -(-(self.left + self.width) // p)] = True
        return (rows[:, None] & columns).flatten()

    def channel_mean(self, patches: Tensor) -> Tensor:
        """Decoder output ``[batch, patches, patch * patch * channels]`` as a picture, mean over channels.

        Returns ``[batch, height, width]``.
        """
        p, (down, across) = self.config.patch_size, self.grid
        mean = patches.unflatten(-1, (p, p, self.config.num_channels)).mean(dim=-1)
        return self.crop(mean.unflatten(1, (down, across)).transpose(2, 3).flatten(3).flatten(1, 2))

    def pixel_mask(self, mask: Tensor) -> Tensor:
        """Patch mask ``[batch, patches]`` as pixels of the picture, ``[batch, height, width]``."""
        p = self.config.patch_size
        image = mask.unflatten(1, self.grid).repeat_interleave(p, dim=1).repeat_interleave(p, dim=2)
        return self.crop(image)

    def last_columns(self, mask_ratio: float, mode: Mode) -> tuple[Tensor, slice, slice]:
        """Masks of the forecasting modes: the last ``int(mask_ratio * width)`` frames.

        ``predict_last`` masks every patch column that touches them; ``predict_last_pixel`` only those that lie
        inside, and the frames left over are blanked in the input.

        Returns
        -------
        patches : Tensor
            bool ``[patches]``, True where masked.
        blanked : slice
            Columns of the *padded* image to set to zero (empty for ``predict_last``).
        extra : slice
            The same columns in the picture, which the loss also looks at.

        Raises
        ------
        ValueError
            No frame would be masked, or the mode is unknown.
        """
        if mode not in ("predict_last", "predict_last_pixel"):
            raise ValueError(f"mode must be auto_encode, predict_last or predict_last_pixel, got {mode!r}")
        count = int(mask_ratio * self.width)
        if not 0 < count <= self.width:
            raise ValueError(f"mask ratio {mask_ratio} of {self.width} frames masks {count}; choose 1 or more")
        p, end = self.config.patch_size, self.left + self.width
        start = end - count
        first = start // p if mode == "predict_last" else min(-(-start // p), -(-end // p))
        columns = torch.zeros(self.grid[1], dtype=torch.bool)
        columns[first : -(-end // p)] = True
        stop = max(start, min(first * p, end))
        blanked = slice(start, stop)
        return columns.repeat(self.grid[0]), blanked, slice(start - self.left, stop - self.left)
