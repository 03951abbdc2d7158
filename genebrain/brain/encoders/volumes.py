"""SwiFT and BrainMT behind the common face: windows of volumes in, one vector per window out.

That of :class:`~genebrain.brain.encoders.base.WindowEncoder`, for windows ``[frames, X, Y, Z]`` that are scaled with
the background at one value below the brain; what is smaller than the box of the network is padded with that value,
what is larger is refused.
"""

from __future__ import annotations

import math
from abc import abstractmethod

from torch import Tensor
from torch.nn import functional

from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.encoders.families import Size
from genebrain.brain.encoders.settings import Summary
from genebrain.brain.images.volume_scaling import Box
from genebrain.brain.models.brainmt.model import BrainMT
from genebrain.brain.models.swift.model import SwiFT
from genebrain.common.types import UserError


class VolumeWindowEncoder(WindowEncoder):
    """Base of the two that read voxels; windows smaller than the box are padded with their background.

    Windows come scaled, with the background at one value below the brain (``volumes``); the lowest value of a window
    is taken for it.
    """

    @property
    @abstractmethod
    def box(self) -> Box:
        """Voxels along X, Y and Z."""

    def boxed(self, windows: Tensor) -> Tensor:
        """Windows ``[windows, frames, *box]`` in the type of the weights, each centred in the box."""
        self._check_shape(windows, 5, "X, Y, Z")
        if problem := self.check_frames(windows.shape[1]):
            raise UserError(problem)
        grid = windows.shape[2:]
        if any(have > want for have, want in zip(grid, self.box, strict=True)):
            raise UserError(
                f"volumes of {list(grid)} voxels do not fit the {list(self.box)} of {self.name}: crop them to the "
                "brain or resample them"
            )
        x = windows.to(next(self.encoder.parameters()).dtype)
        if tuple(grid) == self.box:
            return x
        pads: list[int] = []
        for have, want in zip(reversed(grid), reversed(self.box), strict=True):
            before = (want - have) // 2
            pads += [before, want - have - before]
        lowest = x.flatten(1).amin(dim=1).view(-1, 1, 1, 1, 1)
        return functional.pad(x - lowest, pads) + lowest


class SwiFTWindowEncoder(VolumeWindowEncoder):
    """SwiFT: mean over all space-time tokens."""

    encoder: SwiFT
    class_token = False

    @property
    def places(self) -> int:
        """Cells of the last stage."""
        return math.prod(self.encoder.config.grid(self.encoder.config.stages - 1))

    @property
    def box(self) -> Box:
        """Voxels along X, Y and Z."""
        return self.encoder.config.box

    def prepare(self, windows: Tensor) -> Tensor:
        """``[windows, 1, X, Y, Z, frames]``."""
        return self.boxed(windows).movedim(1, -1)[:, None]

    def tokens(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Space-time tokens in raster order, time fastest."""
        return self.encoder.encode(self.prepare(windows))


class BrainMTWindowEncoder(VolumeWindowEncoder):
    """BrainMT: pooled as its configuration says, unless ``summary`` says otherwise."""

    encoder: BrainMT

    def __init__(self, name: str, encoder: BrainMT, size: Size, origin: str, summary: Summary = "own") -> None:
        super().__init__(name, encoder, size, origin, summary)
        self.class_token = encoder.config.pooling == "cls"

    @property
    def places(self) -> int:
        """Patches of a frame."""
        return self.encoder.config.num_patches

    @property
    def box(self) -> Box:
        """Voxels along X, Y and Z; the network's first axis is Y."""
        return self.encoder.config.box

    def prepare(self, windows: Tensor) -> Tensor:
        """``[windows, frames, 1, Y, X, Z]``."""
        return self.boxed(windows).transpose(2, 3)[:, :, None]

    def tokens(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Class token where there is one, then patch by patch, time fastest."""
        return self.encoder.encode(self.prepare(windows))

    def summarise(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The vector of each window, ``[windows, hidden]``, from its tokens."""
        if self.summary == "own" and self.encoder.config.pooling == "attention":
            return (self.encoder.pool_query(tokens).softmax(dim=1) * tokens).sum(dim=1)
        return super().summarise(tokens, mask)
