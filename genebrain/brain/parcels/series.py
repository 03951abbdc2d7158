"""Parcel series from tables, and the judgement which frames and parcels of a series can be used.

``.npy`` / ``.tsv`` / ``.csv`` of ``[frames, parcels]`` are read as float32; frames and parcels that cannot be used
are marked, not imputed; a series of which too little is left is refused with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.images.array_files import open_array
from genebrain.brain.parcels.headers import counting_columns, read_series_text
from genebrain.common.types import BoolArray, FloatArray, UserError


def read_parcel_table(path: Path | str) -> NDArray[np.float32]:
    """Read ``[frames, parcels]`` from ``.npy``, or from ``.tsv`` / ``.csv`` with or without a header line.

    What is a header and what is a parcel is said in :mod:`genebrain.brain.parcels.headers`.

    Raises
    ------
    UserError
        Not a readable table of numbers with two axes.
    """
    path = Path(path)
    if path.suffix.lower() != ".npy":
        table = read_series_text(path)
    else:
        table = np.asarray(open_array(path))
        if table.ndim == 2 and table.dtype.kind in "fiu" and (n := counting_columns(table)):
            raise UserError(
                f"the first {'column counts' if n == 1 else f'{n} columns count'} frames or seconds (it rises by one "
                "constant): save the series without"
            )
    if table.ndim != 2 or table.dtype.kind not in "fiu":
        raise UserError(f"a table of parcel series must be numbers [frames, parcels], got {table.shape} {table.dtype}")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite and are judged as not finite
        return table.astype(np.float32)


def series_shape(path: Path | str) -> tuple[int, int]:
    """Frames and parcels of a table; of ``.npy`` only the header is read.

    Raises
    ------
    UserError
        As :func:`read_parcel_table`.
    """
    path = Path(path)
    if path.suffix.lower() != ".npy":
        frames, parcels = read_parcel_table(path).shape
        return frames, parcels
    shape = open_array(path).shape
    if len(shape) != 2:
        raise UserError(f"a table of parcel series has two axes [frames, parcels], this has {len(shape)}")
    return shape[0], shape[1]


@dataclass(frozen=True)
class UsableSeries:
    """What of a series can be used.

    Attributes
    ----------
    series
        float [kept frames, P]; the columns of invalid parcels are zero.
    valid
        bool [P].
    frame_numbers
        int [kept frames]: position of each kept frame in the recording.
    """

    series: FloatArray
    valid: BoolArray
    frame_numbers: NDArray[np.int64]


def usable_part(series: FloatArray) -> UsableSeries:
    """Mark what cannot be used: frames that are mostly missing, then parcels with gaps, constants or none.

    A frame goes when more than half of the parcels that are ever measured are not finite in it, when all of them hold
    one value (censored frames that were set to zero), or when it is the frame before value for value (padding); a
    parcel is invalid when a kept frame lacks it or when it does not vary (relative to its mean, float32 precision).

    Raises
    ------
    UserError
        No finite value, fewer than half of the parcels valid, or fewer than 3 frames left.
    """
    finite = np.isfinite(series)
    measured = finite.any(axis=0)
    if not measured.any():
        raise UserError("the scan has no finite value")
    kept = finite[:, measured].mean(axis=1) > 0.5
    values = series[:, measured]
    if values.shape[1] > 2 and (values != values[0]).any():
        kept &= (values != values[:, :1]).any(axis=1)
        kept[1:] &= (values[1:] != values[:-1]).any(axis=1)
    if kept.sum() < 3:
        raise UserError(
            f"only {int(kept.sum())} of {len(series)} frames have finite values that change, at least 3 are needed"
        )
    series, finite = series[kept], finite[kept]
    valid = finite.all(axis=0)
    clean = np.where(valid, series, 0.0)
    mean, spread = clean.mean(axis=0, dtype=np.float64), clean.std(axis=0, dtype=np.float64)
    valid &= spread > 1e-6 * np.abs(mean) + np.finfo(np.float32).tiny
    if valid.mean() < 0.5:
        raise UserError(f"only {int(valid.sum())} of {len(valid)} parcels are finite and vary, half are needed")
    return UsableSeries(np.where(valid, series, 0.0), valid, np.flatnonzero(kept))
