"""Orientation of images: axes turned by the affine, never by the order in the file.

Axes are swapped and flipped, voxels are never interpolated; a scan that lies tilted in space stays so, and the tilt
is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from genebrain.brain.images.volume_scaling import check_axes


@dataclass(frozen=True)
class Turn:
    """From the axes of a file to the wanted ones.

    Attributes
    ----------
    stored, wanted
        Axis codes: the directions in which x, y and z grow (``RAS``: right, anterior, superior).
    tilt
        Degrees by which the axes of the file miss the directions of space.
    """

    stored: str
    wanted: str
    tilt: float
    _transform: NDArray[np.float64]

    @classmethod
    def between(cls, affine: NDArray[np.float64], axes: str = "RAS") -> Turn:
        """Turn images of this affine into ``axes``."""
        check_axes(axes)
        own = nib.orientations.io_orientation(affine)
        wanted = nib.orientations.axcodes2ornt(tuple(axes))
        directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        straight = np.abs(directions[own[:, 0].astype(int), range(3)]).min()
        return cls(
            "".join(nib.orientations.ornt2axcodes(own)),
            axes,
            float(np.degrees(np.arccos(min(straight, 1.0)))),
            nib.orientations.ornt_transform(own, wanted),
        )

    def apply(self, volume: NDArray[Any]) -> NDArray[Any]:
        """[X, Y, Z] in the axes of the file to the wanted ones (a view)."""
        return np.asarray(nib.orientations.apply_orientation(volume, self._transform))
