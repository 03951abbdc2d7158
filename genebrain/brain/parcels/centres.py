"""Centres of parcels: from a table, or of the labels of an atlas.

Float32 ``[parcels, 3]`` in mm, RAS, one row per column of the series (labels ascending, as the parcellation has
them).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.brain.images.atlas import Atlas
from genebrain.brain.images.cifti_files import is_labels
from genebrain.brain.parcels.a424 import A424_PARCELS
from genebrain.common.table_files import BLANKS, as_numbers, decimal_comma, read_table, separator_of, table_records
from genebrain.common.types import UserError

AXES = ("x", "y", "z")


def known_centres(n_parcels: int, table: Path | str | None, atlas: Path | None) -> NDArray[np.float32] | None:
    """Centres from the table, else of the labels of the atlas; None for A424, and where neither says them.

    The encoder knows A424, and says what is missing otherwise.
    """
    if table is not None:
        return read_centres(table)
    if n_parcels == A424_PARCELS or atlas is None or is_labels(atlas):
        return None
    return label_centres(atlas)


def read_centres(path: Path | str) -> NDArray[np.float32]:
    """Centres from a table with the columns x, y, z (any case, anywhere), or without header as index, X, Y, Z.

    Raises
    ------
    UserError
        The table is missing, or has no three columns of finite numbers.
    """
    path = Path(path)
    separator: str | None = separator_of(path)
    first = next(table_records(path, separator), (1, []))[1]
    if separator == "\t" and len(first) == 1:
        separator, first = BLANKS, first[0].split()
    wrong = f"{path} is no table of parcel centres: expected columns x, y, z in mm, or without header index, X, Y, Z"
    if {cell.strip().strip('"').lower() for cell in first} >= set(AXES):
        table = read_table(path, separator=separator)
        columns = [next(name for name in table.columns if name.lower() == axis) for axis in AXES]
        cells = [table[name] for name in columns]
    else:
        rows = [list(map(str.strip, cells)) for _, cells in table_records(path, separator)]
        if not rows or {len(row) for row in rows} != {4}:
            raise UserError(wrong)
        cells = [pd.Series(column, dtype=str) for column in list(zip(*rows, strict=True))[1:]]
    values = np.stack([as_numbers(column)[0] for column in cells], axis=1).astype(np.float32)
    if not len(values):
        raise UserError(wrong)
    if bad := int((~np.isfinite(values)).any(axis=1).sum()):
        odd = [cell for column in cells for cell in as_numbers(column)[1]]
        raise UserError(f"{bad} of {len(values)} rows of {path} have no three numbers{decimal_comma(odd)}")
    return np.asarray(values)


def label_centres(path: Path | str) -> NDArray[np.float32]:
    """Mean position of the voxels of every label of a label image."""
    atlas = Atlas.load(path)
    voxels = np.argwhere(atlas.labels > 0)
    columns = np.searchsorted(atlas.ids, atlas.labels[tuple(voxels.T)])
    counts = np.bincount(columns, minlength=len(atlas.ids))[:, None]
    sums = np.stack([np.bincount(columns, weights=axis, minlength=len(atlas.ids)) for axis in voxels.T], axis=1)
    return np.asarray(sums / counts @ atlas.affine[:3, :3].T + atlas.affine[:3, 3], np.float32)
