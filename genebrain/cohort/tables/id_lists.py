"""Lists of people that must be obeyed: who is named in them, in any of the usual ways of writing such a list.

One person a line. Of a line with several words (``FID IID``, an id and a reason) the first or the second is the id; a
header line (``participant_id``, ``#IID``, ``FID IID``, ``eid`` ...) says which. Quotes around words are taken off;
empty lines, and what follows a ``#``, are left out. Who is found nowhere is told, never passed over.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genebrain.cohort.tables.names import match_names
from genebrain.common.text_lines import text_lines

ID_NAMES = (
    *("participant_id", "genotype_id", "iid", "eid", "subject_id", "sample_id", "person_id", "individual_id"),
    *("participant", "subject", "sample", "person", "individual", "id", "sub", "ids", "fid"),
)
"""Names of a column of ids, any case; of several in one header the first of these counts."""
CERTAIN = ID_NAMES[:8]
"""Names that make a header wherever they stand."""

UNKNOWN, ELSEWHERE = -1, -2


@dataclass
class Found:
    """People of a list.

    Attributes
    ----------
    rows
        Rows of the participants table.
    unknown
        Lines (their first word) of which no word is an id of the table, nor of any other file of the cohort.
    ambiguous
        Lines whose first two words are ids of different people, or where some lines have the id first and others
        second.
    """

    rows: set[int] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)


def read_id_list(path: Path) -> list[tuple[str, ...]]:
    """Words of each line that may be its id: one where a header says which, else the whole line and its first two.

    Raises
    ------
    UserError
        The file is no text.
    """
    column: int | None = None
    lines: list[tuple[str, ...]] = []
    is_first = True
    for line in text_lines(path):
        words = _words(line.strip().removeprefix("#") if is_first else line)
        if not words:
            continue
        names = [word.lower() for word in words]
        if is_first and (names[0] in ID_NAMES or any(name in CERTAIN for name in names)):
            column = min(range(len(names)), key=lambda at: ID_NAMES.index(names[at]) if names[at] in ID_NAMES else 99)
        elif not line.lstrip().startswith("#"):
            if column is not None:
                lines.append((words[min(column, len(words) - 1)],))
            else:
                whole = line.partition("#")[0].strip().strip("\"'").strip()
                lines.append((words[0],) if len(words) == 1 else (whole, *words[:2]))
        # Comments may stand above a header.
        is_first = is_first and line.lstrip().startswith("#") and column is None
    return lines


def find_people(
    lines: Sequence[tuple[str, ...]], listed: Iterable[Sequence[str]], elsewhere: Iterable[Sequence[str]] = ()
) -> Found:
    """Find the people of a list.

    Parameters
    ----------
    lines
        Of :func:`read_id_list`.
    listed
        Columns of ids of the participants table.
    elsewhere
        Ids of other files: who is there is known, though not in the table.
    """
    listed, elsewhere = list(listed), list(elsewhere)
    # One rule of spelling per place of the word: a family id must not decide how ids are read.
    places = [
        _places([line[at] for line in lines if len(line) > at], listed, elsewhere)
        for at in range(max(map(len, lines), default=0))
    ]
    found = Found()
    first_only, second_only = [], []
    for line in lines:
        whole, *words = (places[at][word] for at, word in enumerate(line))
        known = {place for place in words if place != UNKNOWN}
        if whole != UNKNOWN or len(words) < 2:
            known = {whole} - {UNKNOWN}
        elif len(known) == 2:
            found.ambiguous.append(line[0])
            continue
        elif words[0] == UNKNOWN and known:
            second_only.append(line[0])
        elif words[1] == UNKNOWN and known:
            first_only.append(line[0])
        if not known:
            found.unknown.append(line[0] if len(line) == 1 else line[1])
        found.rows |= {place for place in known if place >= 0}
    if first_only and second_only:
        found.ambiguous += first_only if len(first_only) <= len(second_only) else second_only
    return found


def _places(words: Sequence[str], listed: list[Sequence[str]], elsewhere: list[Sequence[str]]) -> dict[str, int]:
    """Row of the table of each word, or :data:`ELSEWHERE` or :data:`UNKNOWN`."""
    distinct = list(dict.fromkeys(words))
    places = dict.fromkeys(distinct, UNKNOWN)
    for ids, is_table in [*((ids, True) for ids in listed), *((ids, False) for ids in elsewhere)]:
        rows = match_names(distinct, list(dict.fromkeys(ids)) if not is_table else list(ids)).rows
        for word, row in zip(distinct, rows.tolist(), strict=True):
            if row >= 0 and places[word] == UNKNOWN:
                places[word] = row if is_table else ELSEWHERE
    return places


def _words(line: str) -> list[str]:
    """Words of a line: between tabs, commas or semicolons if it has any, else between blanks."""
    line = line.partition("#")[0].strip()
    separator = next((mark for mark in "\t,;" if mark in line), None)
    if separator is None:
        cells = line.split()
    elif separator == "\t" or '"' not in line:
        cells = line.split(separator)
    else:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    return [word for cell in cells if (word := cell.strip().strip("\"'").strip())]
