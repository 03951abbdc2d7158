"""Parcel series from grayordinates: the mean or median of the vertices and voxels of every label of a ``.dlabel.nii``.

Labels are brought to a scan by structure and vertex, and by voxel, never by position in the file: scans with and
without the medial wall, or without the subcortex, give the same parcels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.images.atlas import LARGEST_LOSS, ParcelSeries, Strategy
from genebrain.brain.images.cifti_files import CiftiMatrix, open_matrix
from genebrain.common.types import UserError

MOST_VERTICES = 2**24
MOST_VOXELS = 2**26


@dataclass(frozen=True)
class DenseAtlas:
    """Labels of grayordinates, 0 = outside; ``ids`` are the labels, ascending, one per column.

    Attributes
    ----------
    surfaces
        Structure -> int32 [vertices].
    voxels, volume
        int32 [n]: label of each voxel in the order of ``places`` (ascending position in the volume); shape and affine
        of that volume, None without voxels.
    names
        One per id.
    """

    ids: NDArray[np.int32]
    names: list[str]
    surfaces: dict[str, NDArray[np.int32]]
    places: NDArray[np.int64]
    voxels: NDArray[np.int32]
    volume: tuple[tuple[int, ...], NDArray[np.float64]] | None

    @classmethod
    def load(cls, path: Path | str) -> DenseAtlas:
        """Read a ``.dlabel.nii`` of one map.

        Raises
        ------
        UserError
            Not such a file, several maps, labels that are not whole numbers, no label above 0.
        """
        matrix = open_matrix(path, "LABELS", "BRAIN_MODELS")
        try:
            maps, models = matrix.axis("LABELS"), matrix.axis("BRAIN_MODELS")
            values = np.asarray(matrix.values, np.float64)
            values = values if matrix.kinds[0] == "LABELS" else values.T
        except (Exception, MemoryError) as error:
            raise UserError(f"the label file cannot be read: {error}") from error
        if len(maps) != 1:
            raise UserError(
                f"the label file has {len(maps)} maps ({', '.join(map(str, maps.name[:4]))}), expected one: "
                "wb_command -cifti-merge -column takes one out"
            )
        labels = np.rint(values[0])
        if wrong := int((~(np.abs(values[0] - labels) < 1e-3) | (labels < 0) | (labels >= 2**31)).sum()):
            raise UserError(f"the label file has {wrong} grayordinates without a whole number")
        whole = labels.astype(np.int32)
        ids = np.unique(whole[whole > 0])
        if not len(ids):
            raise UserError("the label file has no label above 0")
        table = maps.label[0]
        names = [str(table[int(i)][0]) if int(i) in table else f"label {i}" for i in ids]
        surfaces = {}
        for name, part, vertices in _surfaces(models):
            surfaces[name] = np.zeros(models.nvertices[name], np.int32)
            surfaces[name][vertices] = whole[part]
        inside, places, volume = _voxels(models)
        order = np.argsort(places)
        return cls(ids, names, surfaces, places[order], whole[inside][order], volume)

    def on(self, models: Any) -> NDArray[np.int32]:
        """Labels of the grayordinates of a scan, 0 where the atlas has none.

        Raises
        ------
        UserError
            Surfaces of another number of vertices, or voxels of another grid.
        """
        labels = np.zeros(len(models), np.int32)
        for name, part, vertices in _surfaces(models):
            own = self.surfaces.get(name)
            if own is None:
                continue
            if len(own) != models.nvertices[name]:
                raise UserError(
                    f"{_short(name)} has {models.nvertices[name]} vertices in the scan and {len(own)} in the atlas: "
                    "take the atlas of the scan's surface (fsLR 32k, 59k, 164k)"
                )
            labels[part] = own[vertices]
        inside, places, volume = _voxels(models)
        if volume is not None and self.volume is not None:
            if volume[0] != self.volume[0] or not np.allclose(volume[1], self.volume[1], atol=1e-3):
                raise UserError("the voxels of the scan and of the atlas lie on different grids")
            at = np.clip(np.searchsorted(self.places, places), 0, len(self.places) - 1)
            labels[inside] = np.where(self.places[at] == places, self.voxels[at], 0)
        return labels

    def extract(
        self, scan: CiftiMatrix, strategy: Strategy = "mean", largest_loss: float = LARGEST_LOSS
    ) -> ParcelSeries:
        """Mean or median of every label in every frame; values that are not finite are left out and counted.

        Raises
        ------
        UserError
            No overlap, or more than ``largest_loss`` of the labels lost; values that cannot be read.
        """
        try:
            labels, values = self.on(scan.axis("BRAIN_MODELS")), np.asanyarray(scan.values)
        except UserError:
            raise
        except (Exception, MemoryError) as error:
            raise UserError(f"the CIFTI file cannot be read: {error}") from error
        values = values if scan.kinds[0] == "SERIES" else values.T
        lost = np.array([not (labels == i).any() for i in self.ids])
        if lost.all():
            raise UserError("the scan and the atlas share no vertex and no voxel")
        if lost.mean() > largest_loss:
            gone = ", ".join(name for name, is_lost in zip(self.names, lost, strict=True) if is_lost)
            raise UserError(
                f"{lost.sum()} of {len(lost)} labels have no grayordinate in the scan ({gone[:80]}); at most "
                f"{largest_loss:.0%} may be lost"
            )
        series, worst = np.full((len(values), len(self.ids)), np.nan), np.zeros(len(self.ids), np.intp)
        summary = np.nanmean if strategy == "mean" else np.nanmedian
        for column in np.flatnonzero(~lost):
            part = np.asarray(values[:, labels == self.ids[column]], np.float64)
            part[~np.isfinite(part)] = np.nan
            there = np.isfinite(part).any(axis=1)
            series[there, column] = summary(part[there], axis=1)
            worst[column] = np.isnan(part).sum(axis=1).max()
        return ParcelSeries(series, self.ids, lost, worst)


def _surfaces(models: Any) -> list[tuple[str, Any, NDArray[np.int64]]]:
    """Structure, place in the file and vertices of every surface."""
    found = []
    for name, part, model in models.iter_structures():
        if name in models.nvertices:
            vertices, n = np.asarray(model.vertex, np.int64), models.nvertices[name]
            if not 0 < n <= MOST_VERTICES or (len(vertices) and not 0 <= vertices.min() <= vertices.max() < n):
                raise UserError(f"{_short(name)} has vertices beyond the {n} of its surface")
            found.append((name, part, vertices))
    return found


def _voxels(models: Any) -> tuple[NDArray[np.bool_], NDArray[np.int64], Any]:
    """Which grayordinates are voxels, their positions in the volume, and its shape and affine (None: no voxels)."""
    inside = np.asarray(models.volume_mask, bool)
    if not inside.any():
        return inside, np.empty(0, np.int64), None
    shape = tuple(int(n) for n in models.volume_shape)
    voxels = np.asarray(models.voxel[inside], np.int64)
    if not 0 < np.prod(shape, dtype=float) <= MOST_VOXELS or (voxels < 0).any() or (voxels >= np.array(shape)).any():
        raise UserError(f"voxels lie beyond the volume of {' x '.join(map(str, shape))}")
    return inside, np.ravel_multi_index(tuple(voxels.T), shape), (shape, np.asarray(models.affine, np.float64))


def _short(structure: str) -> str:
    return structure.removeprefix("CIFTI_STRUCTURE_").replace("_", " ").lower()
