"""Writer of vectors as parquet, whole or not at all, readable by its owner alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from genebrain.common.checksums import digest_of
from genebrain.common.files import replacing
from genebrain.common.types import FloatArray

ID = "participant_id"
CHECKSUM = "genebrain_checksum"
"""In the metadata of a file: of its ids, names of columns and numbers, compared by :func:`read_vectors`."""


def checksum_of(ids: Sequence[str], columns: Sequence[str], values: FloatArray) -> str:
    """Checksum of a table, whatever the file is in which it stands."""
    names = json.dumps([list(ids), list(columns)]).encode()
    return digest_of(names + np.ascontiguousarray(values, np.float32).tobytes())


def write_vectors(
    path: Path,
    ids: Sequence[str],
    values: FloatArray,
    columns: Sequence[str] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write a table with ``participant_id``, labels (such as ``split``) and one float32 column per number.

    Parameters
    ----------
    values : float array
        ``[people, columns]``.
    columns : names, optional
        ``v0``, ``v1``, ... by default.
    """
    import pyarrow
    from pyarrow import parquet

    values = np.asarray(values, np.float32)
    names = [f"v{i}" for i in range(values.shape[1])] if columns is None else [str(one) for one in columns]
    parts = {ID: pyarrow.array([str(one) for one in ids], pyarrow.string())}
    parts |= {name: pyarrow.array(list(words), pyarrow.string()) for name, words in (labels or {}).items()}
    parts |= {name: pyarrow.array(np.ascontiguousarray(values[:, i])) for i, name in enumerate(names)}
    checksum = {CHECKSUM: checksum_of(parts[ID].to_pylist(), names, values)}
    with replacing(path) as partial:
        parquet.write_table(pyarrow.table(parts).replace_schema_metadata(checksum), partial)
