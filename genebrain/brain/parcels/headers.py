"""Text tables of parcel series: which line is the header, which column is a parcel.

Rules. A first line with a cell that is neither a number nor a word for "missing" is a header. So is a line of whole
numbers without two equal ones (label ids) above lines of fractions throughout; and one of whole numbers that rise from
cell to cell where there are fractions below, or where there are :data:`ENOUGH_IDS` of them, which no frame of a scan
shows by chance; with fewer the reader asks. A first column without a name, with one of the names of :data:`COUNTERS`,
or whose values rise by one constant, counts frames or seconds and is no parcel.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genebrain.common.table_files import Record, decimal_comma, refuse_other_separator, separator_of, table_records
from genebrain.common.types import UserError

MISSING = frozenset(("", "n/a", "na", "nan", "-nan", "none", "null", "<na>", "."))
COUNTERS = re.compile(
    r"unnamed.*|index|idx|rows?|t|tr|scan|(time|frame|vol|volume|sample)s?"
    r"([ _-]?(point|index|no|number|nr|id)s?)?([ _-]?\(?\[?(s|sec|secs|seconds|ms)\]?\)?)?",
    re.IGNORECASE,
)
"""Names of a first column that counts frames or seconds, in any case."""
ENOUGH_IDS = 10
SHOWN = 40


def read_series_text(path: Path) -> NDArray[np.float64]:
    """Values ``[frames, parcels]``, NaN where missing; header and counting columns left out.

    Raises
    ------
    UserError
        No table of numbers, lines of different lengths, or a first line that may be a header or a frame.
    """
    try:
        records = [(line, [cell.strip() for cell in cells]) for line, cells in table_records(path)]
        if records:
            refuse_other_separator(path, separator_of(path), records[0][1], records[1:2])
    except UserError as error:  # reasons are counted over scans, and names of files are people's
        raise UserError(str(error).replace(str(path), "the table")) from error
    if not records:
        raise UserError("the table of parcel series is empty")
    names = [cell.strip('"') for cell in records[0][1]] if _is_header(records) else None
    rows = records[names is not None :]
    if not rows:
        raise UserError("the table of parcel series has a header and no frame")
    width = len(rows[0][1]) if names is None else len(names)
    if names is None and width > 1 and all(not cells[-1] for _, cells in rows if len(cells) >= width):
        width -= 1  # a separator behind the last cell of every line
    while names and not names[-1]:
        names.pop()
        width -= 1
    _refuse_lengths(rows, width, names is not None)
    values = _numbers([(line, cells[:width]) for line, cells in rows], separator_of(path))
    start = 0
    while names is not None and start < width - 1 and (not names[start] or COUNTERS.fullmatch(names[start])):
        start += 1
    return values[:, start:][:, counting_columns(values[:, start:]) :]


def counting_columns(values: NDArray[np.floating]) -> int:
    """How many columns at the beginning rise by one constant each: row numbers, seconds. 0 where all do."""
    n = 0
    while n < values.shape[1] and _rises_evenly(values[:, n]):
        n += 1
    return n if n < values.shape[1] else 0


def _rises_evenly(column: NDArray[np.floating]) -> bool:
    """Whether a column lies on a rising line, up to a tenth of its step (times are rounded)."""
    if len(column) < 5 or not np.isfinite(column).all():
        return False
    line = np.linspace(column[0], column[-1], len(column))
    step = (float(column[-1]) - float(column[0])) / (len(column) - 1)
    return step > 0 and bool((np.abs(column - line) <= 0.1 * step).all())


def _is_header(records: list[Record]) -> bool:
    cells = [cell.lower() for cell in records[0][1]]
    if any(cell not in MISSING and not _is_number(cell) for cell in cells):
        return True
    ids = cells[1:] if len(cells) > 1 and not cells[0] else cells
    while len(ids) > 1 and not ids[-1]:
        ids = ids[:-1]
    if len(records) < 2 or not all(re.fullmatch(r"\d+(\.0*)?", cell) for cell in ids):
        return False
    below = [cell for _, row in records[1:3] for cell in row if cell]
    plain, fractions = all(cell.isdigit() for cell in ids), any("." in cell for cell in below)
    rising = all(float(a) < float(b) for a, b in pairwise(ids))
    if plain and fractions and (rising or (len(set(ids)) == len(ids) and all("." in cell for cell in below))):
        return True
    if not rising or len(ids) == 1:
        return False
    if len(ids) >= ENOUGH_IDS:
        return True
    if fractions and any(float(b) - float(a) != 1 for a, b in pairwise(ids)):
        return False
    raise UserError(
        f"line {records[0][0]} ({' '.join(cells)}) may be a header of label ids or a frame: write names of parcels "
        "there (parcel_1, ...), or save the series as .npy"
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _refuse_lengths(rows: list[Record], width: int, header: bool) -> None:
    odd = [(line, len(cells)) for line, cells in rows if len(cells) < width or any(cells[width:])]
    if odd:
        line, n = odd[0]
        other = "the header" if header else "the first line"
        why = ""
        if header and len(odd) == len(rows) and n == width + 1:
            why = "; are the first cells row names? Write the table without them"
        raise UserError(
            f"{len(odd)} lines have another number of cells than {other} ({width}): line {line} has {n}{why}"
        )


def _numbers(rows: list[Record], separator: str) -> NDArray[np.float64]:
    values = np.empty((len(rows), len(rows[0][1])))
    for at, (line, cells) in enumerate(rows):
        try:
            values[at] = [float(cell) for cell in cells]
        except ValueError:
            words = [cell for cell in cells if cell.lower() not in MISSING and not _is_number(cell)]
            if words:
                raise UserError(
                    f"line {line}: {words[0][:SHOWN]!r} is no number{_why(words, rows, separator)}"
                ) from None
            values[at] = [float("nan") if cell.lower() in MISSING else float(cell) for cell in cells]
    return values


def _why(words: list[str], rows: list[Record], separator: str) -> str:
    if ";" in words[0]:
        return " (cells between semicolons: write commas or tabs, and decimal points)"
    if separator == "\t" and "," in words[0] and not decimal_comma(words):
        return " (cells between commas: name the table .csv)"
    if separator == "\t" and " " in words[0]:
        return " (cells between blanks: write tabs)"
    if not decimal_comma(words) and not any(_is_number(cells[0]) or cells[0].lower() in MISSING for _, cells in rows):
        return " (the first column holds words; are the parcels in rows? One row is one frame, one column one parcel)"
    return decimal_comma(words)
