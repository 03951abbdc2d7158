"""Volumes for encoders that read voxels: z-scored over the brain, centred in a box.

Contract: ``[X, Y, Z, T]`` in, float32 ``[T, *box]`` out; exact zeros are background, as in skull-stripped
scans. The scaling is that of SwiFT (Kim et al., NeurIPS 2023), without its fixed crop: brain is never cut
silently.

What it does NOT know: files, atlases, encoders.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.types import FloatArray, UserError


def normalise_volumes(data: FloatArray, box: tuple[int, int, int], *, allow_cut: bool = False) -> NDArray[np.float32]:
    """Z-score over all brain voxels and frames together, background to the minimum, centre crop or pad to
    ``box``.

    Parameters
    ----------
    data
        [X, Y, Z, T]; a voxel of value 0 is background.
    box
        Size of the result; of an odd difference the larger part is cut or padded behind.
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
    brain = data != 0
    values = data[brain].astype(np.float64)
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    if spread == 0:
        raise UserError("the volumes have no variance inside the brain (voxels that are not 0)")
    z = np.zeros(data.shape, np.float32)
    z[brain] = (values - values.mean()) / spread
    lowest = z[brain].min()
    z[~brain] = lowest

    source, target, outside = [], [], np.zeros(data.shape[:3], bool)
    for axis, (have, want) in enumerate(zip(data.shape[:3], box, strict=True)):
        cut, pad = max(have - want, 0) // 2, max(want - have, 0) // 2
        length = min(have, want)
        source.append(slice(cut, cut + length))
        target.append(slice(pad, pad + length))
        inside = np.zeros(have, bool)
        inside[source[-1]] = True
        outside |= ~inside.reshape([-1 if a == axis else 1 for a in range(3)])
    cut_voxels = int((brain.any(axis=3) & outside).sum())
    if cut_voxels and not allow_cut:
        raise UserError(f"{cut_voxels} brain voxels lie outside a box of {box}: choose a larger one")
    result = np.full((data.shape[3], *box), lowest, np.float32)
    result[(slice(None), *target)] = np.moveaxis(z[tuple(source)], 3, 0)
    return result
