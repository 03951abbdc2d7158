"""Brain masks: a given mask image, else exact zeros as background, else a computed mask.

Bool ``[X, Y, Z]`` on the scan's own grid and axes. A given mask on another grid is brought over by the affines,
nearest neighbour.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from genebrain.brain.images.atlas import nearest, read_volume
from genebrain.common.types import BoolArray, UserError

LEAST_BACKGROUND = 0.2
"""Share of voxels that are zero in every frame above which zeros count as background: the corners of a box around a
brain are nearly half of it, while a scan that still has its skull has a few zeros at most."""


def given_mask(path: Path | str, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> BoolArray:
    """A mask image on a scan's grid.

    Raises
    ------
    UserError
        Unreadable, or no voxel of it lies in the scan.
    """
    values, own = read_volume(path, "brain mask")
    mask = nearest((values > 0).astype(np.int32), own, shape, affine) > 0
    if not mask.any():
        raise UserError("no voxel of the brain mask lies in the scan")
    return mask


def computed_mask(mean: NDArray[np.float64]) -> BoolArray:
    """Brain mask of a mean image by ``nilearn.masking.compute_epi_mask``: histogram threshold, largest piece.

    Raises
    ------
    UserError
        No brain is found.
    """
    from nilearn.masking import compute_epi_mask  # 2 s, which scans with a mask need not pay

    image = nib.Nifti1Image(mean.astype(np.float32), np.eye(4))  # voxels are what counts here
    # Opening removes thin bridges; a slab of a few slices would vanish with it.
    for opening in (2, False) if min(mean.shape) > 8 else (False,):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # says that the mask is empty, which is judged here
            mask = np.asarray(compute_epi_mask(image, opening=opening).dataobj) > 0
        if mask.any():
            return mask
    raise UserError("no brain mask can be computed from the mean image: name a mask image in the scan table")
