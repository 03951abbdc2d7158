"""Reader of files of vectors: parquet, TSV and CSV, npz, npy with a list of ids, AnnData.

A file gives ids, names of columns and numbers; nothing is matched, averaged or scaled here. What is wrong with a file
is said with its name, counts and the first five names; nothing is unpickled.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.common.table_files import as_numbers, is_missing, table_parts
from genebrain.common.text_lines import text_lines
from genebrain.common.types import FloatArray, UserError
from genebrain.common.vectors.embedded import KEYS, people_of
from genebrain.common.vectors.write import CHECKSUM, checksum_of

INDEX = ("__index_level_0__", "Unnamed: 0")
"""Names that the index of a frame has in a file of pandas: ids where nothing else is, and never numbers of people."""
ID_COLUMNS = ("participant_id", "id", "ids", "subject", "subject_id", "genotype_id", "IID", "eid", *INDEX)
LABELS = ("split", "session", "run", "site")
"""Columns of words that may stand beside the numbers; they are not read."""
MOST_PACKED = 50
"""Times that compressed arrays may grow when they are read."""
FORMATS = ".parquet, .tsv, .csv, .npz, .npy (with ids beside it) or .h5ad"
SHOWN = 5
_PART_LETTERS = 2**26


@dataclass(frozen=True)
class VectorTable:
    """Rows of numbers.

    Attributes
    ----------
    ids : list of str
        Person of each row; a person may have several rows.
    columns : list of str
    values : float32 array
        ``[rows, columns]``. NaN is possible; whether it may stand there is the reader's business.
    path : Path
    """

    ids: list[str]
    columns: list[str]
    values: FloatArray
    path: Path

    def __len__(self) -> int:
        return len(self.ids)


def read_vectors(path: Path | str) -> VectorTable:
    """Read a file of vectors; the same unchanged file is read once.

    Parameters
    ----------
    path : path
        ``.parquet``, ``.tsv``, ``.csv``: a column ``participant_id`` (or ``id``) and one column per number; of parquet
        also columns of lists. ``.npz``: ``ids`` and one array ``[rows, columns]`` or ``[rows, windows, columns]``, and
        ``columns`` (or ``windows``) with names if wanted. ``.npy``: the array alone, ids in ``NAME.ids.tsv`` (or
        ``.txt``) beside it, as ``embed-scans`` writes them. ``.h5ad``: ``X``, ids in ``obs`` (a column
        ``participant_id``, or its names), windows in a column ``window`` of ``var`` if there is one; where anndata is
        installed.

    Raises
    ------
    UserError
        Not there, another format, no ids, words among the numbers, infinite numbers, pickled objects.
    """
    path = Path(path).expanduser()
    try:
        facts = path.stat()
    except OSError as error:
        raise UserError(f"vectors: no file {path} ({error.strerror}); give {FORMATS}") from error
    beside = _ids_beside(path) if path.suffix.lower() == ".npy" else None
    every = [facts] if beside is None else [facts, beside.stat()]
    return _read(path.resolve(), tuple((one.st_mtime_ns, one.st_size) for one in every))


@functools.lru_cache(maxsize=4)
def _read(path: Path, _seen: tuple[tuple[int, int], ...]) -> VectorTable:
    kind = path.suffix.lower()
    readers = {".parquet": _parquet, ".pq": _parquet, ".tsv": _text, ".csv": _text, ".npz": _npz, ".npy": _npy}
    if kind == ".h5ad":
        reader = _h5ad
    elif kind in readers:
        reader = readers[kind]
    else:
        raise UserError(f"vectors: {path.name} ends in '{path.suffix}'; give {FORMATS}")
    try:
        ids, columns, values = reader(path)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"vectors: {path.name} cannot be read: {' '.join(str(error).split())[:300]}") from error
    return checked(path, ids, columns, values)


def checked(path: Path, ids: list[str], columns: list[str], values: Any) -> VectorTable:
    """A table of these parts; a UserError where they do not make one."""
    if len(ids) != len(values):
        raise UserError(f"vectors: {path.name} has {len(ids):,} ids for {len(values):,} rows: one id per row is wanted")
    if not len(ids) or not columns:
        raise UserError(f"vectors: {path.name} has {len(ids):,} rows and {len(columns):,} columns of numbers")
    if empty := sum(not one.strip() for one in ids):
        raise UserError(f"vectors: {path.name} has {empty:,} rows without an id")
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise UserError(f"vectors: {path.name}: {len(twice)} columns have the same name: {_first(twice)}")
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(values, dtype=np.float32)
    infinite = np.isinf(narrow)
    if infinite.any():
        names = [columns[i] for i in np.flatnonzero(infinite.any(axis=0))]
        rows = [f"{i + 1:,}" for i in np.flatnonzero(infinite.any(axis=1))]
        raise UserError(
            f"vectors: {path.name}: {len(names)} of {len(columns)} columns hold infinite numbers, or such beyond "
            f"3.4e38, the most of single precision: {_first(names)}; in {len(rows)} of {len(ids)} rows: {_first(rows)}"
        )
    return VectorTable([one.strip() for one in ids], columns, narrow, path)


def _parquet(path: Path) -> tuple[list[str], list[str], Any]:
    import pyarrow
    from pyarrow import parquet

    table = parquet.read_table(path)
    key = _id_column(path, list(table.column_names))
    ids = [str(one) for one in table.column(key).to_pylist()]
    names: list[str] = []
    parts: list[Any] = []
    words: list[str] = []
    for name in table.column_names:
        if name == key or name in (*LABELS, *INDEX):
            continue
        column = table.column(name).combine_chunks()
        kind = column.type
        if pyarrow.types.is_list(kind) or pyarrow.types.is_fixed_size_list(kind) or pyarrow.types.is_large_list(kind):
            block = np.array(column.to_pylist(), dtype=np.float64)
            names += [f"{name}:{i}" for i in range(block.shape[1])]
            parts.append(block)
        elif pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind) or pyarrow.types.is_boolean(kind):
            names.append(name)
            parts.append(np.asarray(column.to_pandas(), dtype=np.float64)[:, None])
        elif pyarrow.types.is_null(kind):
            names.append(name)
            parts.append(np.full((len(ids), 1), np.nan))
        else:
            words.append(name)
    _refuse_words(path, words)
    values = np.concatenate(parts, axis=1) if parts else np.empty((len(ids), 0))
    known = (table.schema.metadata or {}).get(CHECKSUM.encode())
    if known is not None and known.decode(errors="replace") != checksum_of(ids, names, values):
        raise UserError(
            f"vectors: {path.name} did not stay as genebrain wrote it: export it again, or, if the change is meant, "
            f"write it without {CHECKSUM} in its metadata"
        )
    return ids, names, values


def _text(path: Path) -> tuple[list[str], list[str], Any]:
    """Ids, names and numbers of a table, part by part: as text it may be much larger than as numbers."""
    ids: list[str] = []
    names: list[str] = []
    blocks, words = [], set[str]()
    for part in table_parts(path, n_letters=_PART_LETTERS):
        key = _id_column(path, list(part.columns))
        ids += part[key].tolist()
        names = [name for name in part.columns if name != key and name not in (*LABELS, *INDEX)]
        cells = pd.Series(part[names].to_numpy(dtype=object).ravel(), dtype=str)
        block = as_numbers(cells)[0].reshape(len(part), len(names))
        wrong = np.isnan(block) & ~is_missing(cells).to_numpy().reshape(block.shape)
        words.update(names[at] for at in np.flatnonzero(wrong.any(axis=0)))
        blocks.append(block)
    _refuse_words(path, [name for name in names if name in words])
    return ids, names, np.concatenate(blocks)


def _npz(path: Path) -> tuple[list[str], list[str], Any]:
    try:
        with np.load(path, allow_pickle=False) as content:
            unpacked = sum(one.file_size for one in content.zip.infolist())
            if unpacked > max(MOST_PACKED * path.stat().st_size, 2**28):
                raise UserError(
                    f"vectors: {path.name} has {path.stat().st_size:,} bytes and would unpack to {unpacked:,}: numbers "
                    "of people do not pack so well; write them with np.savez"
                )
            arrays = {name: content[name] for name in content.files}
    except ValueError as error:
        raise _no_pickles(path) from error
    ids = next((name for name in ID_COLUMNS if name in arrays), None)
    named = [name for name in ("columns", "windows") if name in arrays]
    rest = [name for name in arrays if name not in (ids, *named)]
    if ids is None or len(rest) != 1:
        raise UserError(
            f"vectors: {path.name} holds {', '.join(sorted(arrays)) or 'nothing'}; wanted are an array 'ids' and one "
            "array of numbers, and 'columns' or 'windows' with names if there are any"
        )
    names = {name: [str(one) for one in arrays[name].ravel()] for name in named}
    columns, values = _named_columns(path, arrays[rest[0]], **names)
    return [str(one) for one in arrays[ids].ravel()], columns, values


def _npy(path: Path) -> tuple[list[str], list[str], Any]:
    try:
        values = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise _no_pickles(path) from error
    ids = _ids_beside(path)
    if ids is None:
        wanted = path.with_suffix(".ids.tsv").name
        raise UserError(f"vectors: {path.name} needs a list of ids, one a line, in {wanted} beside it")
    lines = [line.split("\t")[0].strip() for line in text_lines(ids) if line.strip()]
    columns, values = _named_columns(path, values)
    rows = lines[1:] if lines and lines[0] in (*ID_COLUMNS, *KEYS) else lines
    return people_of(path.parent, rows), columns, values


def _ids_beside(path: Path) -> Path | None:
    beside = [path.with_suffix(end) for end in (".ids.tsv", ".ids.txt", ".tsv", ".txt")]
    return next((one for one in beside if one.is_file()), None)


def _h5ad(path: Path) -> tuple[list[str], list[str], Any]:
    if importlib.util.find_spec("anndata") is None:
        raise UserError(
            f"vectors: {path.name} is an AnnData file, which the package anndata reads, and it is not installed: pip "
            "install anndata, or write its X as parquet"
        )
    data = importlib.import_module("anndata").read_h5ad(path)
    if data.X is None:
        raise UserError(f"vectors: {path.name} has no X, where the numbers are looked for")
    dense = data.X.toarray() if hasattr(data.X, "toarray") else np.asarray(data.X)
    key = next((name for name in ID_COLUMNS if name in data.obs), None)
    ids = data.obs_names if key is None else data.obs[key]
    names = [str(one) for one in data.var_names]
    if "window" in data.var:
        place = data.var.groupby("window", observed=True).cumcount()
        names = [f"{window}:{i}" for window, i in zip(data.var["window"], place, strict=True)]
    return [str(one) for one in ids], names, dense


def _named_columns(
    path: Path, values: Any, columns: list[str] | None = None, windows: list[str] | None = None
) -> tuple[list[str], Any]:
    if values.dtype.kind not in "fiub" or values.ndim not in (2, 3):
        raise UserError(
            f"vectors: {path.name} holds an array of {values.dtype} of shape {list(values.shape)}; numbers [rows, "
            "columns] or [rows, windows, columns] are wanted"
        )
    if values.ndim == 3:
        blocks = windows or [f"w{i}" for i in range(values.shape[1])]
        if len(blocks) != values.shape[1]:
            raise UserError(f"vectors: {path.name} has {len(blocks)} names for {values.shape[1]} windows")
        columns = [f"{block}:{i}" for block in blocks for i in range(values.shape[2])]
        values = values.reshape(len(values), -1)
    columns = columns or [f"v{i}" for i in range(values.shape[1])]
    if len(columns) != values.shape[1]:
        raise UserError(f"vectors: {path.name} has {len(columns)} names for {values.shape[1]} columns")
    return columns, values


def _id_column(path: Path, columns: list[str]) -> str:
    for name in ID_COLUMNS:
        if name in columns:
            return name
    raise UserError(f"vectors: {path.name} has no column participant_id (or id); columns: {_first(columns)}")


def _refuse_words(path: Path, words: list[str]) -> None:
    if words:
        raise UserError(
            f"vectors: {path.name}: {len(words)} columns hold words or infinite numbers: {_first(words)}; take them "
            f"out (only {', '.join(LABELS)} may stand beside the numbers)"
        )


def _no_pickles(path: Path) -> UserError:
    return UserError(
        f"vectors: {path.name} holds pickled Python objects, which are never loaded (they can run anything), or is "
        "damaged; save plain arrays of numbers, and ids as an array of text (np.array(ids, dtype=str))"
    )


def _first(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(str(name) for name in names[:SHOWN]) + more
