"""A table of labelled sequences for fine-tuning: read, cleaned, labels checked, everything wrong told at once.

One file (or a data set of the Hugging Face hub, if asked for by name) to sequences and encoded labels. Labels come
out as tensors with the names of their columns; a label that is missing or of the wrong kind is an error that names
its rows; rows that the reader leaves out are counted.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from genebrain.common.types import BoolArray, UserError
from genebrain.genetics.finetuning.settings import HUB, TableSettings
from genebrain.genetics.sequences.files import SequenceBatch, SequenceFile
from genebrain.genetics.sequences.hygiene import HygieneReport

SHOWN = 5
MISSING_WORDS = frozenset(
    [
        *("#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "n/a", "NULL", "null", "None", "NaN", "nan", "-NaN", "-nan"),
        *("1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN"),
    ]
)
"""Cells that mean "not known" in a table of text: the words that pandas.read_csv takes for it."""


@dataclass(frozen=True)
class Labels:
    """Encoded labels.

    Attributes
    ----------
    values : Tensor
        ``classification`` int64 [rows]; ``multilabel`` and ``regression`` float32 [rows, outputs].
    names : tuple of str
        The classes, the labels, or the regressed columns.
    """

    values: Tensor
    names: tuple[str, ...]


def read_table(source: str | Path, settings: TableSettings) -> tuple[SequenceBatch, HygieneReport]:
    """All sequences of a file with their other columns, or of ``hub:OWNER/NAME`` (all its splits, named in ``split``).

    Raises
    ------
    UserError
        See :class:`~genebrain.genetics.sequences.files.SequenceFile`; for the hub also a missing ``datasets`` package.
    """
    path = str(source)
    if not path.startswith(HUB):
        return SequenceFile(path, settings.sequence, None, settings.uracil, settings.unreadable).read()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{path.removeprefix(HUB).replace('/', '_')}.parquet"
        _hub_table(path.removeprefix(HUB)).to_parquet(file)
        return SequenceFile(file, settings.sequence, None, settings.uracil, settings.unreadable).read()


def read_labels(task: str, batch: SequenceBatch, columns: list[str], train: BoolArray | None = None) -> Labels:
    """Encode the label columns.

    Parameters
    ----------
    task : {"classification", "multilabel", "regression"}
    columns : list of str
    train : bool [rows], optional
        Rows of a given training split: a class that none of them has is a problem, since nothing could learn it.

    Raises
    ------
    UserError
        Every problem of the labels, together.
    """
    cells = _label_cells(batch, columns)
    if task == "classification" and len(columns) > 1:
        raise UserError(f"{len(columns)} label columns: use task=multilabel or task=regression, or name one column")
    problems: list[str] = []
    rows = np.asarray(batch.rows)
    missing = cells.isna().any(axis=1).to_numpy()
    if missing.any():
        problems.append(
            f"{missing.sum()} rows without a label (empty, NA or the like): {_rows(rows, missing)}; fill them in, or "
            "leave these rows out with table.unlabelled=skip"
        )
    if task == "classification":
        values, names = _classes(cells[columns[0]], missing, rows, problems)
    elif task == "multilabel":
        values, names = _flags(cells, missing, rows, problems)
    else:
        values, names = _numbers(cells, missing, rows, problems)
    if train is not None and len(values):
        problems += _not_in_training(task, values, names, missing, train)
    if problems:
        raise UserError(f"labels for task={task}: " + "; ".join(problems))
    return Labels(torch.from_numpy(values), tuple(names))


def labelled(batch: SequenceBatch, columns: list[str]) -> BoolArray:
    """Which rows have a label in every column of ``columns``, bool ``[rows]``."""
    return np.asarray(_label_cells(batch, columns).notna().all(axis=1))


def known_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells, None where they say nothing: a text file gives '' and 'NA', which would pass for a class."""
    return cells.map(lambda cell: None if isinstance(cell, str) and _says_nothing(cell.strip()) else cell)


def _says_nothing(word: str) -> bool:
    return not word or word in MISSING_WORDS


def _label_cells(batch: SequenceBatch, columns: list[str]) -> pd.DataFrame:
    table = batch.table
    if absent := [c for c in columns if c not in table]:
        known = ", ".join(map(str, table.columns)) or "no column but the sequences"
        raise UserError(f"no label column {', '.join(absent)}; the table has {known}. Name yours with table.label=...")
    return known_cells(table[columns])


def _classes(column: pd.Series[Any], missing: BoolArray, rows: Any, problems: list[str]) -> tuple[Any, list[str]]:
    column = _class_numbers(column, missing)
    present = column[~missing]
    if pd.api.types.is_float_dtype(present) and len(present):
        broken = ~missing & (column.fillna(0) % 1 != 0).to_numpy()
        if broken.any():
            problems.append(
                f"{broken.sum()} labels are numbers with a fraction, not classes ({_rows(rows, broken)}); "
                "for numbers use task=regression"
            )
        present = present.astype(np.int64) if not broken.any() else present
    elif not len(present) or not isinstance(present.iloc[0], (str, int, np.integer, bool, np.bool_)):
        problems.append(f"labels are {present.dtype}, not classes" if len(present) else "no label at all")
        return np.zeros(0, np.int64), []
    known = sorted(present.unique().tolist())
    if len(known) == 1:
        problems.append(f"all labels are {known[0]!r}: two classes at least are needed")
    values = np.zeros(len(column), np.int64)
    values[~missing] = pd.Categorical(present, categories=known).codes
    return values, [str(name) for name in known]


def _class_numbers(column: pd.Series[Any], missing: BoolArray) -> pd.Series[Any]:
    """Text that is plain numbers throughout as numbers, for classes to be in their order; ``001`` stays text."""
    cells = column[~missing].tolist()
    plain = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d+)?")
    if not cells or not all(isinstance(cell, str) and plain.fullmatch(cell) for cell in cells):
        return column
    numbers = pd.to_numeric(column.mask(missing))
    return numbers if missing.any() else numbers.astype(np.float64 if any("." in c for c in cells) else np.int64)


def _flags(table: pd.DataFrame, missing: BoolArray, rows: Any, problems: list[str]) -> tuple[Any, list[str]]:
    names = [str(c) for c in table.columns]
    parsed = [None if lost else _flag_row(row) for lost, row in zip(missing, table.to_numpy(), strict=True)]
    broken = ~missing & np.array([row is None for row in parsed])
    if broken.any():
        problems.append(f"{broken.sum()} labels are no list of 0 and 1 ({_rows(rows, broken)})")
    widths = np.array([0 if row is None else len(row) for row in parsed])
    known = np.unique(widths[widths > 0])
    if len(known) > 1:
        odd = (widths > 0) & (widths != np.bincount(widths[widths > 0]).argmax())
        problems.append(f"lists of different lengths, {known.tolist()} ({_rows(rows, odd)})")
    if len(known) != 1:
        return np.zeros((0, 0), np.float32), []
    values = np.array([row or [0.0] * int(known[0]) for row in parsed], np.float32)
    return values, names if len(names) == known[0] else [f"label_{i}" for i in range(int(known[0]))]


def _flag_row(cells: Any) -> list[float] | None:
    items: Any = cells
    if len(cells) == 1:
        only = cells[0]
        if isinstance(only, str):
            items = only.strip("[]() ").replace(",", " ").replace(";", " ").split()
        else:
            items = only if isinstance(only, (list, tuple, np.ndarray)) else [only]
    try:
        row = [float(item) for item in items]
    except (TypeError, ValueError):
        return None
    return row if row and set(row) <= {0.0, 1.0} else None


def _numbers(table: pd.DataFrame, missing: BoolArray, rows: Any, problems: list[str]) -> tuple[Any, list[str]]:
    columns = {str(name): pd.to_numeric(table[name], errors="coerce") for name in table.columns}
    values = np.array(pd.DataFrame(columns), np.float64)
    broken = ~missing & ~np.isfinite(values).all(1)
    if broken.any():
        problems.append(f"{broken.sum()} labels are no finite number ({_rows(rows, broken)})")
    values[~np.isfinite(values)] = 0
    return values.astype(np.float32), list(columns)


def _not_in_training(task: str, values: Any, names: list[str], missing: BoolArray, train: BoolArray) -> list[str]:
    seen = values[train & ~missing]
    if task == "classification":
        lost = [name for i, name in enumerate(names) if not (seen == i).any()]
        return [f"classes without a training row: {', '.join(lost)}"] if lost else []
    constant = [n for n, c in zip(names, seen.T, strict=True) if not len(c) or c.min() == c.max()]
    return [f"the same value in every training row: {', '.join(constant)}"] if constant else []


def _rows(rows: Any, where: BoolArray) -> str:
    shown = ", ".join(map(str, rows[where][:SHOWN]))
    return f"row {shown}" + (", ..." if where.sum() > SHOWN else "")


def _hub_table(name: str) -> pd.DataFrame:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise UserError(
            f"{HUB}{name} needs the package datasets: pip install 'genebrain[hub]', or give a local file"
        ) from error
    owner, _, config = name.partition("@")
    try:
        parts = load_dataset(owner, config or None)
    except Exception as error:  # the hub client raises a dozen kinds
        raise UserError(
            f"the data set {name} could not be loaded ({error}); for the network set HF_HUB_OFFLINE=0, and choose a "
            f"configuration with {HUB}OWNER/NAME@CONFIGURATION"
        ) from error
    return pd.concat([part.to_pandas().assign(split=split) for split, part in parts.items()], ignore_index=True)
