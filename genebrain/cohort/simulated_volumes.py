"""Parcel series as 4D images: every voxel of a parcel carries the parcel's signal and its own noise.

``voxel(t) = 1000 + 10 parcel(t) + 10 N(0, 1)``, background 0, int16; compressed without a time stamp, so the
same scan gives the same bytes.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SHAPE = (24, 28, 24)
VOXEL_MM = 7.0
BASE, GAIN, NOISE = 1000.0, 10.0, 1.0


@dataclass(frozen=True)
class LabelImage:
    """An ellipsoid of voxels cut into parcels of equal size.

    Attributes
    ----------
    labels : int16 ``[x, y, z]``
        Parcel number from 1; 0 is background.
    """

    labels: NDArray[np.int16]

    @classmethod
    def build(cls, n_parcels: int) -> LabelImage:
        """Label runs of neighbouring voxels."""
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
        inside = (grid**2).sum(axis=0) <= 1
        n_voxels = int(inside.sum())
        if n_parcels > n_voxels:
            raise ValueError(f"{n_parcels} parcels do not fit into {n_voxels} voxels")
        labels = np.zeros(SHAPE, np.int16)
        labels[inside] = 1 + np.arange(n_voxels) * n_parcels // n_voxels
        return cls(labels)

    def write(self, path: Path) -> None:
        """Write the label image."""
        _save(path, self.labels, None)

    def write_scan(self, path: Path, series: NDArray[np.floating], tr: float, rng: np.random.Generator) -> None:
        """Write a series ``[frames, parcels]`` with repetition time ``tr`` in seconds as a 4D image."""
        inside = self.labels > 0
        voxels = series.T[self.labels[inside] - 1]
        voxels = BASE + GAIN * (voxels + NOISE * rng.standard_normal(voxels.shape, dtype=np.float32))
        image = np.zeros((*SHAPE, len(series)), np.int16)
        image[inside] = np.rint(voxels).clip(1, np.iinfo(np.int16).max)
        _save(path, image, tr)


def _save(path: Path, values: NDArray[np.int16], tr: float | None) -> None:
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = [-VOXEL_MM * (size - 1) / 2 for size in SHAPE]
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    if tr is not None:
        image.header.set_zooms((*[VOXEL_MM] * 3, tr))
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
