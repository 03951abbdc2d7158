"""Where parcels lie: from a table, or as the centres of the labels of an atlas.

Contract: float32 ``[parcels, 3]`` in mm, RAS, one row per column of the series (labels ascending, as the parcellation
has them). What it does NOT know: series, encoders; the table of A424 is in ``parcel_order``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.brain.images.atlas import Atlas
from genebrain.brain.images.cifti_files import is_labels
from genebrain.brain.parcels.a424 import A424_PARCELS
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
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the parcel coordinates {path} cannot be read: {error}") from error
    separator = "," if path.suffix == ".csv" else r"\s+"
    first = text.splitlines()[0].lower().replace(",", " ").split() if text.strip() else []
    has_header = all(axis in first for axis in AXES)
    lines = [line for line in text.splitlines() if line.strip()]
    rows = [line.split(",") if separator == "," else line.split() for line in lines[has_header:]]
    table = pd.DataFrame(rows)
    wanted = [first.index(axis) for axis in AXES] if has_header else [1, 2, 3]
    if table.empty or max(wanted) >= table.shape[1] or (not has_header and table.shape[1] != 4):
        raise UserError(
            f"{path} is no table of parcel centres: expected columns x, y, z in mm, or without header index, X, Y, Z"
        )
    values = table[wanted].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    if bad := int((~np.isfinite(values)).any(axis=1).sum()):
        raise UserError(f"{bad} of {len(values)} rows of {path} have no three numbers")
    return np.asarray(values)


def label_centres(path: Path | str) -> NDArray[np.float32]:
    """Mean position of the voxels of every label of a label image."""
    atlas = Atlas.load(path)
    voxels = np.argwhere(atlas.labels > 0)
    columns = np.searchsorted(atlas.ids, atlas.labels[tuple(voxels.T)])
    counts = np.bincount(columns, minlength=len(atlas.ids))[:, None]
    sums = np.stack([np.bincount(columns, weights=axis, minlength=len(atlas.ids)) for axis in voxels.T], axis=1)
    return np.asarray(sums / counts @ atlas.affine[:3, :3].T + atlas.affine[:3, 3], np.float32)
