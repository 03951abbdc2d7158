"""Masked frames for BrainMT: it predicts stretches of time that it does not see.

The published model has no self-supervised stage; this one follows the masked autoencoders. Whole stretches of frames
are hidden (single frames would be read off their neighbours): their tokens become one learned token before the Mamba
layers, and a norm and one linear map per token predict the volume, averaged over blocks within each patch, as the
difference to the mean of the visible frames in units of their fluctuation: otherwise the loss would be about anatomy,
which the visible frames tell anyway.

As in :mod:`genebrain.brain.pretraining.objectives`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genebrain.brain.models.base import masked_mean
from genebrain.brain.models.brainmt.model import BrainMT
from genebrain.brain.models.masking import n_kept
from genebrain.brain.pretraining.objectives import Batch, Objective, Outcome
from genebrain.brain.pretraining.trivial_predictors import trivial_predictions

PATCH = 16
"""Voxels per axis that one token stands for: four strided convolutions."""


class MaskedFrames(Objective):
    """BrainMT with a light decoder. Clips are ``[batch, 1, frames, channels, depth, height, width]``.

    Parameters
    ----------
    encoder : BrainMT
    mask_ratio : float
        Share of the stretches that is hidden.
    span : int
        Frames of a stretch.
    blocks : int
        Blocks per axis of a patch whose means are predicted; 4 gives blocks of 4 voxels.
    """

    encoder: BrainMT

    def __init__(self, encoder: BrainMT, mask_ratio: float = 0.5, span: int = 5, blocks: int = 4) -> None:
        super().__init__()
        if not 1 <= span <= encoder.config.num_frames or blocks not in (1, 2, 4, 8, 16):
            raise ValueError(f"span {span} must lie in 1..{encoder.config.num_frames}, blocks {blocks} divide {PATCH}")
        self.encoder, self.mask_ratio, self.span, self.blocks = encoder, mask_ratio, span, blocks
        self.mask_token = nn.Parameter(torch.zeros(1, 1, encoder.hidden_size, 1, 1, 1))
        self.norm = nn.LayerNorm(encoder.hidden_size)
        self.predict = nn.Linear(encoder.hidden_size, encoder.config.in_chans * blocks**3)
        self.freeze_unused("head.", "pool_query.")

    def forward(self, batch: Batch, generator: torch.Generator, compare: bool = False) -> Outcome:
        """Squared error over the hidden frames."""
        scan = batch["clips"][:, 0]
        hidden = self.hidden_frames(scan, generator)
        target = fluctuation(self.targets(scan), ~hidden)
        encoder, config = self.encoder, self.encoder.config
        features = encoder.convolve(scan.to(encoder.pos_embed.dtype))
        here = hidden[:, :, None, None, None, None]
        features = torch.where(here, self.mask_token.to(features.dtype), features)
        tokens = encoder.attend(encoder.mamba(encoder.sequence(features)))
        tokens = tokens[:, 1:] if config.pooling == "cls" else encoder.norm_out(tokens)
        tokens = tokens.unflatten(1, (config.num_patches, config.num_frames))
        prediction = self.predict(self.norm(tokens)).movedim(3, 2).flatten(1, 2)
        mask = hidden[:, None].expand_as(target)
        loss = masked_mean((prediction - target).square(), mask)
        if not compare:
            return Outcome(loss)
        guesses = trivial_predictions(target, mask)
        # A frame is hidden as a whole, and zero is the mean of the visible frames.
        del guesses["other parcels"], guesses["zero"]
        return Outcome(loss, {name: masked_mean((g - target).square(), mask) for name, g in guesses.items()})

    def targets(self, scan: Tensor) -> Tensor:
        """Block means, ``[batch, patches * channels * blocks, frames]``."""
        frames, shape = scan.flatten(0, 1).float(), scan.shape
        # A patch at the far edge may be cut: it is filled up with the edge, as nothing else would be as neutral.
        missing = [(-size) % PATCH for size in shape[3:]]
        frames = functional.pad(frames, [n for gap in reversed(missing) for n in (0, gap)], mode="replicate")
        means = functional.avg_pool3d(frames, PATCH // self.blocks)
        grid = means.unflatten(4, (-1, self.blocks)).unflatten(3, (-1, self.blocks)).unflatten(2, (-1, self.blocks))
        # [frames, channels, d, b, h, b, w, b] -> [batch, frames, patches, channels and blocks]
        values = grid.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3).unflatten(0, shape[:2])
        return values.permute(0, 2, 3, 1).flatten(1, 2)

    def hidden_frames(self, scan: Tensor, generator: torch.Generator) -> Tensor:
        """Bool ``[batch, frames]``: whole stretches, the last of which may be shorter."""
        batch, frames = scan.shape[:2]
        stretches = -(-frames // self.span)
        kept = n_kept(stretches, self.mask_ratio)
        noise = torch.rand((batch, stretches), generator=generator, device=generator.device).to(scan.device)
        order = noise.argsort(dim=1, stable=True).argsort(dim=1)
        return (order >= kept).repeat_interleave(self.span, dim=1)[:, :frames]


def fluctuation(values: Tensor, visible: Tensor) -> Tensor:
    """Differences to each block's mean over the visible frames, in units of the clip's fluctuation in them.

    Parameters
    ----------
    values : Tensor
        ``[batch, blocks, frames]``.
    visible : Tensor
        Bool ``[batch, frames]``.
    """
    weight = visible[:, None].to(values.dtype)
    count = weight.sum(dim=2, keepdim=True)
    centred = values - (values * weight).sum(dim=2, keepdim=True) / count
    variance = (centred.square() * weight).sum(dim=(1, 2), keepdim=True) / ((count - 1).clamp(min=1) * values.shape[1])
    return centred / variance.sqrt().clamp(min=1e-6)
