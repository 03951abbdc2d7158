"""What BrainMT asks of a scan: intensity scaling, order of the axes, and the check before encoding.

Stored volumes are ``[X, Y, Z, T]`` with exact zeros as background; the network reads ``[T, 1, Y, X, Z]``. Source:
github.com/arunkumar-kannan/BrainMT-fMRI at 977e486, preprocessing.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from genebrain.brain.models.brainmt.config import BrainMTConfig
from genebrain.common.types import UserError

LARGEST = 1000.0
"""Scaled scans stay far below; raw scanner units lie above."""


def scale_volumes(
    volumes: Tensor, method: Literal["z-norm", "minmax", "voxel"] = "z-norm", *, zero_background: bool = False
) -> Tensor:
    """Scale the values that are not zero; zeros are background, per voxel and frame.

    Parameters
    ----------
    volumes : Tensor
        ``[X, Y, Z, T]``.
    method : {"z-norm", "minmax", "voxel"}
        "z-norm": one mean and standard deviation for the whole scan, as published (anatomy dominates);
        "minmax": to 0..1; "voxel": z-score of each voxel over time, so that only fluctuation remains. A voxel
        without fluctuation becomes background there.
    zero_background : bool
        Background becomes 0 instead of the lowest scaled value.

    Returns
    -------
    Tensor
        float32 ``[X, Y, Z, T]``.

    Raises
    ------
    UserError
        Not 4D, not finite, or nothing varies inside the brain.
    """
    if volumes.ndim != 4 or not bool(volumes.isfinite().all()):
        raise UserError(f"volumes must be finite numbers [X, Y, Z, T], got shape {list(volumes.shape)}")
    brain = volumes != 0
    x = volumes.double()
    if method == "voxel":
        n = brain.sum(-1, keepdim=True)
        mean = x.sum(-1, keepdim=True) / n.clamp(min=1)
        deviation = ((x - mean).square() * brain).sum(-1, keepdim=True).div((n - 1).clamp(min=1)).sqrt()
        brain = brain & (deviation > 0)
        scaled = (x - mean) / deviation.where(deviation > 0, 1.0)
    else:
        values = x[brain]
        if len(values) < 2 or values.min() == values.max():
            raise UserError("the volumes do not vary inside the brain (voxels that are not 0)")
        if method == "z-norm":
            scaled = (x - values.mean()) / values.std()
        elif method == "minmax":
            scaled = (x - values.min()) / (values.max() - values.min())
        else:
            raise ValueError(f"method must be z-norm, minmax or voxel, not {method!r}")
    if not bool(brain.any()):
        raise UserError("no voxel varies over time inside the brain (voxels that are not 0)")
    background = 0.0 if zero_background else float(scaled[brain].min())
    return scaled.masked_fill(~brain, background).float()


def to_frames(volumes: Tensor) -> Tensor:
    """``[X, Y, Z, T]`` to ``[T, 1, Y, X, Z]``: X and Y change places, as published."""
    return volumes.permute(3, 1, 0, 2).unsqueeze(1)


def check_scan(scan: Tensor, config: BrainMTConfig) -> None:
    """Refuse a batch ``[batch, frames, channels, depth, height, width]`` that the network cannot read.

    Raises
    ------
    UserError
        All that does not fit: axes, sizes, type, values that are not finite, constant or unscaled.
    """
    expected = (config.num_frames, config.in_chans, *config.img_size)
    names = ("frames", "channels", "depth", "height", "width")
    if scan.ndim != 6 or not scan.is_floating_point() or len(scan) == 0:
        raise UserError(
            f"BrainMT reads floating-point scans [batch, {', '.join(names)}] with at least one scan, "
            f"got {str(scan.dtype).removeprefix('torch.')} {list(scan.shape)}"
        )
    problems = [
        f"{have} {name} where the encoder has {want}"
        for name, have, want in zip(names, scan.shape[1:], expected, strict=True)
        if have != want
    ]
    if not bool(scan.isfinite().all()):
        problems.append("values that are not finite")
    elif not problems:
        low, high = scan.detach().flatten(1).aminmax(dim=1)
        if constant := int((low == high).sum()):
            problems.append(f"{constant} of {len(scan)} scans are constant")
        if (largest := float(torch.maximum(high, -low).max())) > LARGEST:
            problems.append(f"values up to {largest:.0f}, which look unscaled: apply scale_volumes first")
    if problems:
        raise UserError("the scan does not fit BrainMT: " + "; ".join(problems) + "; crop or resample it to fit")
