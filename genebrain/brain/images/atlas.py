"""Parcel series from 4D scans and a label image: streamed, affine-aware, exact on integers.

One volume is in memory at a time; the label image is brought to each distinct scan grid once (nearest neighbour, by
affines, never by array order); the result has one column per label id of the atlas, whatever a scan's coverage, with
a mask of the columns that are real. Agrees with nilearn's ``NiftiLabelsMasker``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from genebrain.brain.images.image_files import load_image, read_values
from genebrain.brain.images.nifti import ImageStream, check_orientation
from genebrain.brain.images.orientation import Turn
from genebrain.common.types import BoolArray, UserError

Strategy = Literal["mean", "median"]
GRIDS_KEPT = 8
LARGEST_LOSS = 0.05


@dataclass(frozen=True)
class Grid:
    """The atlas on one scan grid: voxels inside (flat, Fortran order), their columns, voxels per column."""

    voxels: NDArray[np.intp]
    columns: NDArray[np.intp]
    counts: NDArray[np.intp]


@dataclass(frozen=True)
class ParcelSeries:
    """Series of one scan.

    Attributes
    ----------
    series
        float64 [frames, P], in the scan's unit; NaN where a parcel has no (finite) voxel.
    label_ids
        int [P]: the atlas label of each column.
    lost
        bool [P]: the label has no voxel on this scan's grid (or inside its mask).
    missing_voxels
        int [P]: voxels that are not finite in at least one frame, counted at the worst frame; the mean or
        median is over the finite ones.
    """

    series: NDArray[np.float64]
    label_ids: NDArray[np.int32]
    lost: BoolArray
    missing_voxels: NDArray[np.intp]


@dataclass(frozen=True)
class Atlas:
    """A label image: int32 [x, y, z], 0 = outside; ``ids`` are its labels, ascending, one per column."""

    labels: NDArray[np.int32]
    affine: NDArray[np.float64]
    ids: NDArray[np.int32]
    _grids: dict[tuple[tuple[int, ...], bytes], NDArray[np.int32]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: Path | str) -> Atlas:
        """Read a 3D label image; float storage is fine as long as the values are whole numbers.

        Raises
        ------
        UserError
            Labels that are not whole numbers, negative labels, no label, not 3D, no affine.
        """
        values, affine = read_volume(path, "label image")
        labels = np.rint(values)
        wrong = ~(np.abs(values - labels) < 1e-3) | (labels < 0) | (labels >= 2**31)
        if wrong.any():
            examples = ", ".join(f"{v:g}" for v in np.unique(values[wrong])[:5])
            raise UserError(
                f"the label image has {int(wrong.sum())} voxels without a whole number: {examples}; "
                "was it resampled with interpolation?"
            )
        whole = labels.astype(np.int32)
        ids = np.unique(whole)
        ids = ids[ids > 0]
        if not len(ids):
            raise UserError("the label image has no label above 0")
        return cls(whole, affine, ids)

    def columns_in_ras(self) -> NDArray[np.int64]:
        """Column of every voxel plus 1, 0 outside, int64 [x, y, z] with axes turned to the right, front and top."""
        columns = np.where(self.labels > 0, np.searchsorted(self.ids, self.labels) + 1, 0)
        return Turn.between(self.affine).apply(columns)

    def on_grid(
        self,
        shape: tuple[int, int, int],
        affine: NDArray[np.float64],
        mask: Path | str | None = None,
        largest_loss: float = LARGEST_LOSS,
    ) -> Grid:
        """The atlas on a scan's voxels.

        Raises
        ------
        UserError
            No overlap, or more than ``largest_loss`` of the labels lost.
        """
        key = (shape, affine.astype(np.float32).tobytes())
        if key not in self._grids:
            while len(self._grids) >= GRIDS_KEPT:
                self._grids.pop(next(iter(self._grids)))
            self._grids[key] = nearest(self.labels, self.affine, shape, affine)
        labels = self._grids[key]
        if mask is not None:
            values, mask_affine = read_volume(mask, "brain mask")
            labels = np.where(nearest((values > 0).astype(np.int32), mask_affine, shape, affine), labels, 0)
        flat = labels.ravel(order="F")
        voxels = np.flatnonzero(flat)
        if not len(voxels):
            raise UserError(
                "the scan and the atlas do not overlap: are both in the same space"
                + (", and is the mask right?" if mask is not None else "?")
            )
        columns = np.searchsorted(self.ids, flat[voxels])
        counts = np.bincount(columns, minlength=len(self.ids))
        lost = np.flatnonzero(counts == 0)
        if len(lost) > largest_loss * len(self.ids):
            raise UserError(
                f"{len(lost)} of {len(self.ids)} labels have no voxel in the scan (for example "
                f"{', '.join(map(str, self.ids[lost][:5]))}); at most {largest_loss:.0%} may be lost"
            )
        return Grid(voxels, columns, counts)

    def extract(
        self,
        scan: ImageStream,
        strategy: Strategy = "mean",
        mask: Path | str | None = None,
        largest_loss: float = LARGEST_LOSS,
    ) -> ParcelSeries:
        """Mean or median of every parcel in every frame, reading the scan once.

        Sums run over the stored numbers in float64 (exact for integers); slope and intercept are applied to
        the result. Voxels that are not finite are left out of their parcel and counted.
        """
        if strategy not in ("mean", "median"):
            raise ValueError(f"strategy must be mean or median, got {strategy!r}")
        grid = self.on_grid(scan.shape, scan.affine, mask, largest_loss)
        P = len(self.ids)
        series = np.full((scan.n_frames, P), np.nan)
        worst = np.zeros(P, np.intp)
        for t, volume in enumerate(scan.volumes()):
            values = volume[grid.voxels]
            columns, counts = grid.columns, grid.counts
            if values.dtype.kind == "f":
                finite = np.isfinite(values)
                if not finite.all():
                    values, columns = values[finite], columns[finite]
                    counts = np.bincount(columns, minlength=P)
                    np.maximum(worst, grid.counts - counts, out=worst)
            summary = _means(values, columns, P) if strategy == "mean" else _medians(values, columns, counts)
            np.divide(summary, counts if strategy == "mean" else 1, out=series[t], where=counts > 0)
        return ParcelSeries(series * scan.slope + scan.inter, self.ids, grid.counts == 0, worst)


def _means(values: NDArray[np.generic], columns: NDArray[np.intp], P: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(columns, weights=values, minlength=P), np.float64)


def _medians(values: NDArray[np.generic], columns: NDArray[np.intp], counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """One sort for all parcels; an empty parcel gives a number that the caller ignores."""
    ordered = values[np.lexsort((values, columns))].astype(np.float64)
    start = np.concatenate([[0], np.cumsum(counts)[:-1]])
    low = np.clip(start + (counts - 1) // 2, 0, len(ordered) - 1)
    high = np.clip(start + counts // 2, 0, len(ordered) - 1)
    return (ordered[low] + ordered[high]) / 2


def nearest(
    labels: NDArray[np.int32],
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    target: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Nearest-neighbour value of a label image at the voxel centres of another grid; 0 outside."""
    if labels.shape == shape and np.allclose(affine, target, atol=1e-4):
        return labels
    to_source = np.linalg.inv(affine) @ target
    return np.asarray(
        affine_transform(labels, to_source[:3, :3], to_source[:3, 3], output_shape=shape, order=0, cval=0)
    )


def read_volume(path: Path | str, what: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A 3D image (singleton axes dropped) in float64 with its affine."""
    try:
        image = load_image(path)
    except UserError as error:
        raise UserError(f"the {what} cannot be read: {error}") from error
    if not isinstance(image, nib.Nifti1Image) or image.get_data_dtype().kind not in "iuf":
        raise UserError(f"the {what} must be a NIfTI image of real numbers, this is a {type(image).__name__}")
    if len(image.shape) < 3 or any(n != 1 for n in image.shape[3:]):
        raise UserError(f"the {what} must have three axes, it has shape {image.shape}")
    values = np.asarray(read_values(image, what), np.float64).reshape(image.shape[:3])
    check_orientation(image)
    return values, np.asarray(image.affine, np.float64)
