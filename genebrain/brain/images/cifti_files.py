"""CIFTI-2 files: grayordinate series (``.dtseries.nii``), parcel series (``.ptseries.nii``), labels (``.dlabel.nii``).

The XML in such a file is compared with the matrix beside it before memory is taken for what it claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from genebrain.brain.images.image_files import load_image
from genebrain.common.types import UserError

SERIES_ENDS = (".dtseries.nii", ".ptseries.nii")
LABELS_END = ".dlabel.nii"
WAYS_OUT = "read are .dtseries.nii and .ptseries.nii; or write the parcels as .npy or .tsv, or list the volume files"
_TYPE = "CIFTI_INDEX_TYPE_"


@dataclass(frozen=True)
class CiftiMatrix:
    """An opened matrix of two axes, its rows first as CIFTI counts them.

    Attributes
    ----------
    values
        Array-like [rows, columns], read when it is indexed.
    kinds
        What the rows and the columns are: ``SERIES``, ``BRAIN_MODELS``, ``PARCELS``, ``LABELS``, ``SCALARS``.
    """

    image: Any
    kinds: tuple[str, str]

    @property
    def values(self) -> Any:
        """Array-like [rows, columns]."""
        return self.image.dataobj

    def axis(self, kind: str) -> Any:
        """The axis of this kind, as nibabel has it."""
        return self.image.header.get_axis(self.kinds.index(kind))


def is_series(path: Path | str) -> bool:
    """Whether a file is called like a CIFTI time series."""
    return str(path).endswith(SERIES_ENDS)


def is_parcel_series(path: Path | str) -> bool:
    """Whether a file is called like a series of parcels, which needs no atlas."""
    return str(path).endswith(".ptseries.nii")


def is_labels(path: Path | str) -> bool:
    """Whether a file is called like an atlas of grayordinates."""
    return str(path).endswith(LABELS_END)


def open_matrix(path: Path | str, *kinds: str) -> CiftiMatrix:
    """Open a CIFTI file whose axes are of these kinds, in either order.

    Raises
    ------
    UserError
        Not such a file, or its description does not fit its matrix.
    """
    image = load_image(path)
    if not isinstance(image, nib.Cifti2Image):
        raise UserError(f"called like a CIFTI file, but it is a plain image ({type(image).__name__}); {WAYS_OUT}")
    try:
        maps = [image.header.matrix.get_index_map(i) for i in range(len(image.shape))]
        found = tuple(one.indices_map_to_data_type.removeprefix(_TYPE) for one in maps)
        if sorted(found) != sorted(kinds):
            raise UserError(f"a CIFTI file of {' x '.join(found)}, expected {' x '.join(kinds)}; {WAYS_OUT}")
        for one, n in zip(maps, image.shape, strict=True):
            if (described := _described(one)) not in (None, n):
                raise UserError(f"the description of the CIFTI file has {described} entries, its matrix {n}")
    except UserError:
        raise
    except Exception as error:  # nibabel reads the XML only when it is asked for
        raise UserError(f"the description of the CIFTI file cannot be read: {error}") from error
    return CiftiMatrix(image, (found[0], found[1]))


def open_series(path: Path | str) -> CiftiMatrix:
    """Open a time series of grayordinates or of parcels, by the end of its name.

    Raises
    ------
    UserError
        As :func:`open_matrix`.
    """
    return open_matrix(path, "SERIES", "PARCELS" if is_parcel_series(path) else "BRAIN_MODELS")


def read_parcels(path: Path | str) -> tuple[NDArray[np.float64], list[str]]:
    """Series [frames, parcels] and the names of the parcels, of a ``.ptseries.nii``.

    Raises
    ------
    UserError
        As :func:`open_matrix`; values that are no real numbers, or end early.
    """
    matrix = open_series(path)
    try:
        names = [str(name) for name in matrix.axis("PARCELS").name]
        values = np.asarray(matrix.values, np.float64)
    except (Exception, MemoryError) as error:
        raise UserError(f"the CIFTI file cannot be read: {error}") from error
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UserError(f"{len(twice)} names of parcels stand twice in the CIFTI file ({', '.join(twice[:3])})")
    return (values if matrix.kinds[0] == "SERIES" else values.T), names


def _described(index_map: Any) -> int | None:
    """How many entries an axis has by its description; None: nibabel counts them itself."""
    kind = index_map.indices_map_to_data_type.removeprefix(_TYPE)
    if kind == "SERIES":
        return int(index_map.number_of_series_points)
    if kind == "BRAIN_MODELS":
        return sum(int(model.index_count) for model in index_map.brain_models)
    if kind == "PARCELS":
        return sum(1 for _ in index_map.parcels)
    return sum(1 for _ in index_map.named_maps) if kind in ("LABELS", "SCALARS") else None
