"""Reader of delimited tables; every table of text comes into the package through it.

Rules. Every cell is text, as typed, without blanks at its ends: ``001``, ``1e5``, ``NA`` and ``TRUE`` stay what they
are; which words mean "missing" is for the reader of each column to say. Tabs separate the cells of ``.tsv``, ``.txt``
and other names, commas those of ``.csv``. In tab-separated tables quotes are letters like others (only where every name
of the header is quoted, as R writes them, they are taken off whole cells); in ``.csv`` they quote, also line ends.
Lines that begin with ``#`` are comments, except a header such as ``#chrom`` right above rows of its width. A first
column without a name holds row numbers and is left out; empty cells behind the last column are harmless. Everything
else is an error with its line: rows of another length than the header, names that are empty or there twice, an open
quote, another separator. The number of rows read is checked against the lines of the file.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.common.text_lines import count_lines, text_lines
from genebrain.common.types import UserError

SHOWN = 5
_PART_ROWS = 20_000
_LONGEST_RECORD = 200
_SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons"}
_WORDS: dict[str | None, str] = {None: "blanks", "\t": "tabs", ",": "commas", ";": "semicolons"}
BLANKS = None
"""Separator of tables whose cells stand between any number of blanks or tabs."""

MISSING = ("", "NA", "N/A", "n/a", "na", "NaN", "nan", ".", "None", "null")
"""Cells that say nothing in columns of numbers, labels, files; in a column of people's ids only an empty one does."""

Record = tuple[int, list[str]]
"""Number of the first line of a row, and its cells."""


def separator_of(path: Path | str) -> str:
    """Comma for ``.csv`` (also ``.csv.gz``), tab for every other name."""
    return "," if re.search(r"\.csv(\.b?gz)?$", Path(path).name, re.IGNORECASE) else "\t"


def read_table(path: Path | str, *, separator: str | None = "") -> pd.DataFrame:
    """Whole table as text; an empty frame with columns where there is a header and no row.

    Parameters
    ----------
    separator
        Default: as the name says. None (``BLANKS``): any number of blanks.

    Raises
    ------
    UserError
        Names file, lines and what to do.
    """
    parts = list(table_parts(path, separator=separator))
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def table_parts(
    path: Path | str, n_rows: int = _PART_ROWS, *, separator: str | None = "", n_letters: int | None = None
) -> Iterator[pd.DataFrame]:
    """Consecutive parts of a table, at least one; see :func:`read_table`.

    Parameters
    ----------
    n_rows, n_letters
        Most rows of a part, and letters after which a part is full.
    """
    path = Path(path)
    separator = separator_of(path) if separator == "" else separator
    records = table_records(path, separator)
    try:
        line, cells = next(records)
        cells = [cell.strip() for cell in cells]
    except StopIteration:
        raise UserError(f"{path} is empty: a header and rows are wanted") from None
    first = list(islice(records, 1))
    refuse_other_separator(path, separator, cells, first)
    quoted = separator == "\t" and all(_is_quoted(cell) for cell in cells if cell) and any(cells)
    names, start = _columns(path, line, [_unquoted(cell).strip() for cell in cells] if quoted else cells)
    rows, records, is_first = chain(first, records), iter(()), True
    while part := _part(rows, n_rows, n_letters):
        _refuse_lengths(path, part, len(names) + start)
        columns = list(zip(*(cells[: start + len(names)] for _, cells in part), strict=True))[start:]
        if quoted:
            columns = [tuple(_unquoted(cell.strip()) for cell in column) for column in columns]
        yield pd.DataFrame({name: pd.Series(c, dtype=str).str.strip() for name, c in zip(names, columns, strict=True)})
        is_first = False
    if is_first:
        yield pd.DataFrame(columns=names, dtype=str)


def table_records(path: Path | str, separator: str | None = "") -> Iterator[Record]:
    """Rows of cells without comments and empty lines, header or not; lengths may differ.

    Raises
    ------
    UserError
        The file is no text, an open quote, a comment that may be a row, or rows that do not add up to the lines.
    """
    path = Path(path)
    separator = separator_of(path) if separator == "" else separator
    n_lines, width, waiting = 0, 0, None
    for line, cells, n in _all_records(path, separator):
        n_lines += n
        if not cells:
            continue
        if not cells[0].startswith("#"):
            if not width:
                if waiting is not None and _is_header_above(waiting[1], cells):
                    yield waiting
                width = len(cells)
            yield line, cells
        elif not width:
            waiting = (line, cells)
        elif len(cells) == width > 1:
            raise UserError(
                f"{path}, line {line} begins with # and has as many cells as a row. Delete the line if it is a "
                "comment; if it is a row, let it begin with another letter"
            )
    if waiting is not None and not width and _is_header_above(waiting[1], waiting[1]):
        yield waiting
    if n_lines != (wanted := count_lines(path)):
        raise UserError(f"{path}: {n_lines} lines were read, the file has {wanted}; write it again")


def is_missing(column: pd.Series[str]) -> pd.Series[bool]:
    """True where a cell is empty or one of the usual words for "not available" (:data:`MISSING`)."""
    return column.isin(MISSING)


def as_numbers(column: pd.Series[str]) -> tuple[NDArray[np.float64], list[str]]:
    """Cells as float64, NaN where missing; and the cells that are neither: words, and numbers without end."""
    missing = is_missing(column)
    values = pd.to_numeric(column.mask(missing), errors="coerce").to_numpy(dtype=np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    return values, list(column[np.isnan(values) & ~missing.to_numpy()])


def usual_names(columns: Sequence[str], known: Sequence[str]) -> list[str]:
    """``Site`` as ``site`` where ``site`` is known and not there: capitals must not decide if a column is used."""
    by_lower = {name.lower(): name for name in reversed(known)}
    taken = set(columns)
    names = []
    for column in columns:
        usual = by_lower.get(column.lower(), column)
        names.append(column if usual in taken else usual)
        taken.add(usual)
    return names


def decimal_comma(cells: list[str]) -> str:
    """Words for an error where a cell looks like a number with a decimal comma; else empty."""
    odd = next((cell for cell in cells if re.fullmatch(r"[-+]?\d+,\d+(e[-+]?\d+)?", cell)), None)
    return "" if odd is None else f" ({odd} has a decimal comma: write {odd.replace(',', '.')})"


def _all_records(path: Path, separator: str | None) -> Iterator[tuple[int, list[str], int]]:
    """First line, cells (none: an empty line) and number of lines of every record, comments too."""
    csv.field_size_limit(sys.maxsize)  # sequences are long
    held: list[str] = []
    for number, line in enumerate(text_lines(path), start=1):
        if not held and not line.strip(None if separator != "\t" else " "):
            yield number, [], 1
        elif separator != "," or (not held and ('"' not in line or line.startswith("#"))):
            yield number, line.split(separator), 1
        else:
            held.append(line)
            first = number - len(held) + 1
            if (cells := _quoted_cells(path, first, held)) is not None:
                yield first, cells, len(held)
                held = []
    if held:
        raise UserError(f'{path}, line {number - len(held) + 1}: a quote (") is opened and never closed')


def _quoted_cells(path: Path, first: int, lines: list[str]) -> list[str] | None:
    """Cells of one record of a ``.csv``; None while a quote is open."""
    try:
        (cells,) = csv.reader([f"{line}\n" for line in lines], strict=True)
    except csv.Error as error:
        if "end of data" in str(error) and len(lines) < _LONGEST_RECORD:
            return None
        raise UserError(
            f'{path}, line {first}: quotes (") do not pair ({error}); double those that are letters'
        ) from error
    # In a table of two columns a cell of two lines and one comma is no rare thing.
    enough = {1: _LONGEST_RECORD, 2: 3}.get(len(cells), 2)
    if len(lines) >= enough and all(line.count(",") + 1 == len(cells) for line in lines):
        raise UserError(
            f'{path}, lines {first} to {first + len(lines) - 1}: a quote (") swallows whole rows; close it, or double '
            "it if it is a letter"
        )
    return cells


def _is_header_above(cells: list[str], row: list[str]) -> bool:
    return len(cells) == len(row) > 1 and re.match(r"#[^\s#]", cells[0]) is not None


def _is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"'


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if _is_quoted(cell) else cell


def _columns(path: Path, line: int, cells: list[str]) -> tuple[list[str], int]:
    """Names of the columns, and how many cells before them are row numbers (0 or 1)."""
    names = [cells[0].removeprefix("#").strip(), *cells[1:]]
    while names and not names[-1]:
        names.pop()
    start = int(len(names) > 1 and not names[0])
    names = names[start:]
    if not names:
        raise UserError(f"{path}, line {line}: the header is empty")
    problems = [f"column {place} has no name" for place, name in enumerate(names, start=start + 1) if not name]
    problems += [f"the name {name!r} is there {n} times" for name, n in Counter(names).items() if name and n > 1]
    if problems:
        raise UserError(f"{path}, header (line {line}): {'; '.join(problems[:SHOWN])}; every column needs its own name")
    return names, start


def _part(rows: Iterator[Record], n_rows: int, n_letters: int | None) -> list[Record]:
    part, letters = [], 0
    for record in islice(rows, n_rows):
        part.append(record)
        letters += 0 if n_letters is None else sum(map(len, record[1]))
        if n_letters is not None and letters >= n_letters:
            break
    return part


def _refuse_lengths(path: Path, rows: list[Record], width: int) -> None:
    odd = [(line, len(cells)) for line, cells in rows if len(cells) < width or "".join(cells[width:]).strip()]
    if not odd:
        return
    lengths = Counter(n for _, n in odd)
    lines = ", ".join(str(line) for line, _ in odd[:SHOWN]) + (", ..." if len(odd) > SHOWN else "")
    why = (
        " (are the first cells row names? write the table without them)"
        if [*lengths] == [width + 1] and len(odd) == len(rows)
        else ""
    )
    if [*lengths] == [1]:
        why = " (is the separator another one there?)"
    words = ", ".join(f"{n} rows have {cells} cells" for cells, n in lengths.most_common(3))
    raise UserError(f"{path}: {words}, the header has {width}: line {lines}{why}")


def refuse_other_separator(path: Path, separator: str | None, header: list[str], first: list[Record]) -> None:
    """Refuse a table of one column whose first lines have the same other separator in common."""
    if separator is None or len(header) > 1:
        return
    for other, words in _SEPARATORS.items():
        n = header[0].count(other)
        if other != separator and n and (not first or separator.join(first[0][1]).count(other) >= n):
            advice = {
                "\t": "name it .tsv",
                ",": "name it .csv",
                ";": f"write it with {_WORDS[separator]} and decimal points",
            }[other]
            raise UserError(
                f"{path}: its cells stand between {words}, a file of this name has {_WORDS[separator]}: {advice}"
            )
