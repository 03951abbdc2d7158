"""Names of columns that say which window, and which piece of it, a number belongs to.

``BRCA2:17`` is a number of window ``BRCA2``; ``BRCA2:c3:17`` one of its piece ``c3``. The separator is ``:`` or ``/``.
Names without one belong to a single window. ``lag0-25|3`` is a number of the reading ``lag0-25``: a table may hold
several readings of the same people, which are fitted as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genebrain.common.types import IntArray, UserError

SEPARATORS = (":", "/")
WHOLE = "all"
READING = "|"
"""Between the name of a reading and that of a column."""


@dataclass(frozen=True)
class Windows:
    """Columns of each window.

    Attributes
    ----------
    names : list of str
        Windows in the order in which they first appear.
    columns : list of int arrays
        Columns of each window; those of one piece lie side by side.
    item_width : int or None
        Numbers per piece, where all windows are made of pieces of equal width.
    """

    names: list[str]
    columns: list[IntArray]
    item_width: int | None = None


def windows_of(columns: Sequence[str], where: str) -> Windows:
    """Group columns by their prefix.

    Parameters
    ----------
    where : str
        Name of the file, for messages.

    Raises
    ------
    UserError
        Some columns have a prefix and others have none.
    """
    for separator in SEPARATORS:
        parts = [str(name).split(separator, 2) for name in columns]
        without = [str(name) for name, part in zip(columns, parts, strict=True) if len(part) == 1]
        if not without:
            return _grouped(parts)
        if len(without) < len(parts):
            raise UserError(
                f"{where}: {len(parts) - len(without)} of {len(parts)} columns are named window{separator}column and "
                f"{len(without)} are not ({', '.join(without[:5])}): name all of them so, or none"
            )
    return Windows([WHOLE], [np.arange(len(columns))])


def readings_of(columns: Sequence[str], where: str) -> dict[str, IntArray]:
    """Columns of each reading, in the order in which they first appear; empty where columns name none.

    Raises
    ------
    UserError
        Some columns name a reading and others do not.
    """
    parts = [str(name).partition(READING) for name in columns]
    without = [name for name, mark, _ in parts if not mark]
    if len(without) == len(parts):
        return {}
    if without:
        raise UserError(
            f"{where}: {len(parts) - len(without)} of {len(parts)} columns are named reading{READING}column and "
            f"{len(without)} are not ({', '.join(without[:5])}): name all of them so, or none"
        )
    found: dict[str, list[int]] = {}
    for column, (name, _, _) in enumerate(parts):
        found.setdefault(name, []).append(column)
    return {name: np.array(numbers, np.int64) for name, numbers in found.items()}


def _grouped(parts: list[list[str]]) -> Windows:
    found: dict[str, dict[str, list[int]]] = {}
    for column, part in enumerate(parts):
        piece = part[1] if len(part) == 3 else ""
        found.setdefault(part[0], {}).setdefault(piece, []).append(column)
    widths = {len(columns) for pieces in found.values() for columns in pieces.values()}
    has_pieces = all(len(part) == 3 for part in parts)
    return Windows(
        list(found),
        [np.array([c for piece in pieces.values() for c in piece], np.int64) for pieces in found.values()],
        widths.pop() if has_pieces and len(widths) == 1 else None,
    )
