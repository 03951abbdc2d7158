"""Cells that a spreadsheet would run are written as words; numbers, strands and everything else stay."""

from __future__ import annotations

import pandas as pd
import pytest

from genebrain.common.private_table import harmless, write_table

CELLS = [
    ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
    ("+1+1", "'+1+1"),
    ("@SUM(A1)", "'@SUM(A1)"),
    ("-2+3", "'-2+3"),
    ("\tx", "'\tx"),
    ("-", "-"),
    ("+", "+"),
    ("-1.5e-3", "-1.5e-3"),
    ("+7", "+7"),
    ("sub-01", "sub-01"),
    ("a=b", "a=b"),
    ("", ""),
    (None, None),
]


@pytest.mark.parametrize(("cell", "written"), CELLS)
def test_cells(cell, written):
    shown = harmless(pd.DataFrame({"id": [cell], "n": [-1]}))
    assert shown["id"][0] == written or shown["id"].isna()[0]
    assert shown["n"][0] == -1


def test_tables_and_headers(tmp_path):
    write_table(pd.DataFrame({"=x()": ["=1+1"], "b": [-0.5], "n": pd.array([None], "Int8")}), tmp_path / "t.tsv")
    assert (tmp_path / "t.tsv").read_text() == "'=x()\tb\tn\n'=1+1\t-0.5\t\n"
