"""Scaling of volumes as the published codes do it, against which the streamed one is tested."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genebrain.brain.images.volume_scaling import Box, Normalisation, Placement, VoxelSums, refuse_cut
from genebrain.common.types import FloatArray, UserError


def normalise_volumes(
    data: FloatArray, box: Box, *, method: Normalisation = "z-norm", allow_cut: bool = False
) -> NDArray[np.float32]:
    """Scale a whole scan in memory, background to the minimum, centre crop or pad to ``box``.

    Parameters
    ----------
    data
        [X, Y, Z, T]; a voxel of value 0 is background in its frame.
    box
        Size of the result.
    method
        See :meth:`VoxelSums.scaling`.
    allow_cut
        Whether brain voxels may fall outside the box.

    Returns
    -------
    ndarray
        float32 [T, *box].

    Raises
    ------
    UserError
        Not 4D, not finite, no variance in the brain, or brain voxels outside the box.
    """
    if data.ndim != 4 or not np.isfinite(data).all():
        raise UserError(f"volumes must be finite numbers [X, Y, Z, T], got shape {data.shape}")
    frames = np.ascontiguousarray(np.moveaxis(data, 3, 0), np.float64)
    sums = VoxelSums(data.shape[:3])
    for frame in frames:
        sums.add(frame, frame != 0)
    scaling = sums.scaling(method)
    placement = Placement.centred(data.shape[:3], box)
    if not allow_cut:
        refuse_cut(placement, scaling.brain)
    return np.stack([placement.place(scaling.apply(f, f != 0), scaling.background) for f in frames])


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
