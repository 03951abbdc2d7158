"""Coordinates of the A424 parcels and the order in which the image models expect them.

Rows are the columns of an A424 time series. The order by Y is a *stable* sort: 424 parcels share 77 distinct Y
values, so any other sort scrambles hundreds of rows. Source of the table: see ``data/atlases/README.md``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import FloatArray, UserError

A424 = "A424_Coordinates.dat"
A424_PARCELS = 424


def a424_coordinates(path: Path | str | None = None) -> NDArray[np.float32]:
    """Centres of the 424 parcels in mm, MNI space, RAS signs: float32 [424, 3].

    Parameters
    ----------
    path
        Table with the columns index, X, Y, Z, without header; default: the one that comes with the project.

    Raises
    ------
    UserError
        The table is missing or is not four columns of numbers with indices 1, 2, 3, ...
    """
    source = Path(path) if path is not None else _shipped()
    try:
        table = np.loadtxt(source, ndmin=2)
    except (OSError, ValueError) as error:
        raise UserError(f"the parcel coordinates {source} cannot be read: {error}") from error
    if table.shape[1] != 4 or not np.array_equal(table[:, 0], np.arange(1, len(table) + 1)):
        raise UserError(
            f"{source} has {table.shape[1]} columns; expected four (index, X, Y, Z in mm) with indices 1 to "
            f"{len(table)} in order"
        )
    return table[:, 1:].astype(np.float32)


def order_by_y(coordinates: FloatArray) -> NDArray[np.int64]:
    """Parcels from back to front, int64 [P]; equal Y keep their order."""
    return np.argsort(np.asarray(coordinates)[:, 1], kind="stable").astype(np.int64)


def _shipped() -> Path:
    """In a checkout the data lie beside the package, in an installed wheel inside it."""
    package = Path(__file__).parents[2]
    beside = package.parent / "data" / "atlases" / A424
    return beside if beside.is_file() else package / "data" / "atlases" / A424
