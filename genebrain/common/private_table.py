"""Tables for the eyes of people: whole or not at all, private, and harmless in a spreadsheet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from genebrain.common.files import write_private

STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write an individual-level table as TSV; floats keep the digits that float32 has."""
    text = harmless(table).to_csv(sep="\t", index=False, float_format="%.9g")
    write_private(path, text.encode("utf-8"))


def harmless(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before words that a spreadsheet would take for a formula and run.

    Words come from files of other people (ids, names of columns and arms, messages). Numbers stay, also those written
    as words, and so do single characters, such as a strand.
    """
    words = [name for name in table if not pd.api.types.is_numeric_dtype(table[name].dtype)]
    shown = table.assign(**{str(name): table[name].map(_harmless) for name in words if isinstance(name, str)})
    return shown.rename(columns=_harmless)


def _harmless(cell: object) -> object:
    if not isinstance(cell, str) or len(cell) < 2 or not cell.startswith(STARTS_A_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
