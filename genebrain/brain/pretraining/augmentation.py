"""Random views of volume clips for contrastive pretraining: moved, noisy, smoothed.

The published recipe of SwiFT (one affine map per clip, noise, smoothing) as batched tensor code, without its two
slips: there the clip itself is changed in place, and one noise pattern is added to every frame. Here the input stays
as it is, all frames of a clip move alike, and every frame has its own noise.

Clips ``[batch, channels, X, Y, Z, frames]`` in, the same shape, type and device out; all that is random comes from
the generator, so equal generators give equal views. Source: Kim et al., NeurIPS 2023, arXiv 2307.05916, after
MONAI's RandAffine, RandGaussianNoise, RandGaussianSmooth.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from genebrain.brain.pretraining.settings import VolumeAugmentation

TAPS = 2
"""Neighbours on each side that smoothing looks at: four deviations of the largest published width."""


def random_view(settings: VolumeAugmentation, clips: Tensor, generator: torch.Generator) -> Tensor:
    """A random view of every clip, ``[batch, channels, X, Y, Z, frames]``."""
    if clips.ndim != 6:
        raise ValueError(f"clips must be [batch, channels, X, Y, Z, frames], got {list(clips.shape)}")
    # Channels and frames share a clip's affine map, so they are channels of one resampling.
    frames = clips.movedim(-1, 2).flatten(1, 2)
    view = _move(settings, frames, generator)
    view = _smooth(settings, view, generator)
    view = _add_noise(settings, view, generator)
    return view.unflatten(1, (clips.shape[1], clips.shape[-1])).movedim(2, -1)


def _move(settings: VolumeAugmentation, frames: Tensor, generator: torch.Generator) -> Tensor:
    if settings.rotation == 0 and settings.scaling == 0:
        return frames
    angle, size = (_uniform((len(frames), 3), generator, frames) for _ in range(2))
    matrix = rotations(settings.rotation * angle) @ torch.diag_embed(1 + settings.scaling * size)
    # grid_sample counts from -1 to 1 along each axis: turned as voxels, an oblong box stays rigid.
    half = torch.tensor(frames.shape[2:], dtype=matrix.dtype, device=matrix.device)
    matrix = matrix * half / half[:, None]
    theta = functional.pad(matrix.flip(1, 2), (0, 1))  # its axes run backwards: Z, Y, X
    grid = functional.affine_grid(theta, list(frames.shape), align_corners=False)
    return functional.grid_sample(frames, grid.to(frames), padding_mode="border", align_corners=False)


def _smooth(settings: VolumeAugmentation, frames: Tensor, generator: torch.Generator) -> Tensor:
    if settings.smoothing == 0 or settings.smoothing_share == 0:
        return frames
    width = settings.smoothing * (_uniform((len(frames), 3), generator, frames) + 1) / 2
    chosen = _chosen(len(frames), settings.smoothing_share, generator, frames)
    if not bool(chosen.any()):
        return frames
    smooth, width = frames[chosen], width[chosen]
    offset = torch.arange(-TAPS, TAPS + 1, device=frames.device)
    for axis in range(3):
        weight = torch.exp(-(offset**2) / (2 * width[:, axis, None].square() + 1e-12))
        weight = (weight / weight.sum(dim=1, keepdim=True)).to(frames)
        line = smooth.movedim(2 + axis, -1)
        first, last = line[..., :1], line[..., -1:]
        edge = torch.cat([*[first] * TAPS, line, *[last] * TAPS], dim=-1)
        size = line.shape[-1]
        parts = (edge[..., k : k + size] * weight[:, k, None, None, None, None] for k in range(2 * TAPS + 1))
        smooth = sum(parts, torch.zeros_like(line)).movedim(-1, 2 + axis)
    return frames.index_put((chosen.nonzero()[:, 0],), smooth)


def _add_noise(settings: VolumeAugmentation, frames: Tensor, generator: torch.Generator) -> Tensor:
    if settings.noise == 0 or settings.noise_share == 0:
        return frames
    deviation = settings.noise * (_uniform((len(frames),), generator, frames) + 1) / 2
    chosen = _chosen(len(frames), settings.noise_share, generator, frames)
    if not bool(chosen.any()):
        return frames
    size, where = deviation[chosen].to(frames)[:, None, None, None, None], chosen.nonzero()[:, 0]
    noise = torch.randn((len(where), *frames.shape[1:]), generator=generator, device=generator.device)
    return frames.index_put((where,), frames[where] + noise.to(frames) * size)


def rotations(angles: Tensor) -> Tensor:
    """Rotation matrices ``[batch, 3, 3]`` of angles ``[batch, 3]`` around X, then Y, then Z (radians)."""
    cosine, sine = angles.cos(), angles.sin()
    total = torch.eye(3, dtype=angles.dtype, device=angles.device).expand(len(angles), 3, 3)
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.zeros_like(total)
        turn[:, axis, axis] = 1
        turn[:, one, one] = turn[:, two, two] = cosine[:, axis]
        turn[:, one, two], turn[:, two, one] = -sine[:, axis], sine[:, axis]
        total = turn @ total
    return total


def _uniform(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Uniform draws in [-1, 1)."""
    return 2 * torch.rand(shape, generator=generator, device=generator.device).to(like.device) - 1


def _chosen(n: int, share: float, generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device).to(like.device) < share
