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
    def build(cls, points: NDArray[np.floating]) -> LabelImage:
        """Give every parcel its share of voxels, laid out as the points ``[parcels, 3]`` (mm) are.

        Points and voxels are halved together, again and again, along the axis on which the points are widest:
        parcels of equal size that neighbour each other where their points do.
        """
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
        inside = (grid**2).sum(axis=0) <= 1
        voxels = np.argwhere(inside)
        if len(points) > len(voxels):
            raise ValueError(f"{len(points)} parcels do not fit into {len(voxels)} voxels")
        labels = np.zeros(SHAPE, np.int16)
        parts = [(np.arange(len(points)), voxels)]
        while parts:
            parcels, own = parts.pop()
            if len(parcels) == 1:
                labels[tuple(own.T)] = parcels[0] + 1
                continue
            axis = int(np.ptp(points[parcels], axis=0).argmax())
            half = len(parcels) // 2
            parcels = parcels[np.argsort(points[parcels, axis], kind="stable")]
            own = own[np.argsort(own[:, axis], kind="stable")]
            cut = len(own) * half // len(parcels)
            parts += [(parcels[:half], own[:cut]), (parcels[half:], own[cut:])]
        return cls(labels)

    def centres(self) -> NDArray[np.float64]:
        """Mean position of the voxels of each parcel, mm, ``[parcels, 3]``."""
        voxels = np.argwhere(self.labels > 0)
        parcel = self.labels[tuple(voxels.T)] - 1
        counts = np.bincount(parcel)
        means = np.stack([np.bincount(parcel, weights=axis) / counts for axis in voxels.T], axis=1)
        return np.asarray(means * VOXEL_MM + _affine()[:3, 3])

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


def _affine() -> NDArray[np.float64]:
    """The middle of the image is the origin."""
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = [-VOXEL_MM * (size - 1) / 2 for size in SHAPE]
    return affine


def _save(path: Path, values: NDArray[np.int16], tr: float | None) -> None:
    image = nib.Nifti1Image(values, _affine())
    image.header.set_xyzt_units("mm", "sec")
    if tr is not None:
        image.header.set_zooms((*[VOXEL_MM] * 3, tr))
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
