"""Vectors as a Python user gives them: a file, a data frame whose index are ids, or an array of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.common.types import UserError
from genebrain.common.vectors.kinds import VectorInput
from genebrain.common.vectors.read import ID_COLUMNS, LABELS, VectorTable, checked, read_vectors


def table_of(given: VectorInput, ids: Sequence[str] | None = None, name: str = "vectors") -> VectorTable:
    """Table of vectors of whatever was given.

    Parameters
    ----------
    given
        File; frame with ids as index or in a column ``participant_id``; array ``[rows, columns]`` or ``[rows, windows,
        columns]``.
    ids : sequence of str, optional
        Of the rows of an array; ``row0``, ``row1``... without them. A frame says itself who its rows are, unless it
        only counts them.
    name : str
        What it is, for messages.

    Raises
    ------
    UserError
        It is no table of numbers, or ids and rows differ in number.
    """
    if isinstance(given, str | Path):
        return read_vectors(given)
    if isinstance(given, pd.DataFrame):
        frame = given
        key = next((column for column in ID_COLUMNS if column in frame.columns), None)
        frame = frame if key is None else frame.set_index(key)
        frame = frame.drop(columns=[label for label in LABELS if label in frame.columns])
        words = [str(c) for c in frame.columns if not pd.api.types.is_numeric_dtype(frame[c])]
        if words:
            raise UserError(f"{name}: {len(words)} columns hold words and not numbers: {', '.join(words[:5])}")
        people = [str(one) for one in (frame.index if ids is None or names_rows(given) else ids)]
        return checked(Path(name), people, [str(one) for one in frame.columns], frame.to_numpy(dtype=np.float64))
    array: Any = np.asarray(given)
    if array.dtype.kind not in "fiub" or array.ndim not in (2, 3):
        raise UserError(
            f"{name}: an array of numbers [people, columns] or [people, windows, columns] is wanted, not {array.dtype} "
            f"of shape {list(array.shape)}"
        )
    columns = [f"v{i}" for i in range(array.shape[1])]
    if array.ndim == 3:
        columns = [f"w{w}:{i}" for w in range(array.shape[1]) for i in range(array.shape[2])]
    people = [f"row{i}" for i in range(len(array))] if ids is None else [str(one) for one in ids]
    return checked(Path(name), people, columns, array.reshape(len(array), -1))


def names_rows(given: VectorInput | None) -> bool:
    """Whether vectors say who each row is: a file, a frame with ids; an array or a frame that counts rows does not."""
    if isinstance(given, pd.DataFrame):
        counted = isinstance(given.index, pd.RangeIndex) and not any(name in given.columns for name in ID_COLUMNS)
        return not counted
    return isinstance(given, str | Path)
