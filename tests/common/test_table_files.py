"""Delimited tables: what is read as typed, and what is refused with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from genebrain.common.table_files import read_table, usual_names
from genebrain.common.text_lines import count_lines, text_lines
from genebrain.common.types import UserError

READ = {
    "ids stay as typed": ("a.tsv", "id\tn\n001\tNA\n1e5\tTRUE\nNone\t0x10\n", ["001 NA", "1e5 TRUE", "None 0x10"]),
    "open quotes in a TSV are letters": ("a.tsv", 'id\tn\n1\t"left\n2\tx\n3\t"y\n', ['1 "left', "2 x", '3 "y']),
    "R quotes header and cells": ("a.tsv", '"id"\t"n"\n"001"\t"a ""b"""\n', [["001", 'a "b"']]),
    "a line end in a quoted cell": ("a.csv", 'id,n\n1,"two\nlines, a"\n2,x\n', [["1", "two\nlines, a"], ["2", "x"]]),
    "inches in a CSV": ("a.csv", 'id,n\n1,5" tall\n2,6" tall\n', [["1", '5" tall'], ["2", '6" tall']]),
    "byte order mark": ("a.tsv", b"\xef\xbb\xbfid\tn\n1\tx\n", [["1", "x"]]),
    "CRLF": ("a.tsv", "id\tn\r\n1\tx\r\n", [["1", "x"]]),
    "CR": ("a.tsv", "id\tn\r1\tx\r2\ty", [["1", "x"], ["2", "y"]]),
    "other line ends of Unicode are letters": ("a.tsv", "id\tn\n1\tx\u2028\x0by\n", [["1", "x\u2028\x0by"]]),
    "tabs behind rows": ("a.tsv", "id\tn\n1\tx\t\n2\ty\t\n", [["1", "x"], ["2", "y"]]),
    "tabs behind the header": ("a.tsv", "id\tn\t\t\n1\tx\n", [["1", "x"]]),
    "row numbers of pandas": ("a.tsv", "\tid\tn\n0\t1\tx\n", [["1", "x"]]),
    "comments": ("a.tsv", "# made\n## by\nid\tn\n1\tx\n# end\n", [["1", "x"]]),
    "a header that begins with #": ("a.tsv", "##v1\n#id\tn\n1\tx\n", [["1", "x"]]),
    "gzip": ("a.tsv.gz", gzip.compress(b"id\tn\n1\tx\n"), [["1", "x"]]),
    "gzip under another name": ("a.tsv", gzip.compress(b"id\tn\n1\tx\n"), [["1", "x"]]),
    "only a header": ("a.tsv", "id\tn\n", []),
}  # fmt: skip

REFUSED = {
    "empty": ("a.tsv", "", "is empty"),
    "UTF-16": ("a.tsv", "id\tn\n1\tx\n".encode("utf-16"), "UTF-16 text: save it as UTF-8"),
    "UTF-16 without mark": ("a.tsv", "id\tn\n1\tx\n".encode("utf-16-le"), "UTF-16 text"),
    "Latin-1": ("a.tsv", "id\tn\n1\tM\xfcller\n".encode("latin-1"), "line 2, byte 4: 0xfc is not UTF-8"),
    "NUL": ("a.tsv", b"id\tn\n1\tx\n2\t\0\n", "line 3: a NUL byte"),
    "Excel": ("a.csv", b"PK\x03\x04....", "is an Excel or zip file"),
    "cut gzip": ("a.tsv.gz", gzip.compress(b"id\tn\n1\tx\n" * 99)[:-9], "cannot be read to its end"),
    "semicolons": ("a.csv", "id;n\n1;2,5\n", "between semicolons"),
    "commas in a TSV": ("a.tsv", "id,n\n1,2\n", "name it .csv"),
    "tabs in a CSV": ("a.csv", "id\tn\n1\t2\n", "name it .tsv"),
    "a name twice": ("a.tsv", "id\tn\tid\n1\t2\t3\n", "the name 'id' is there 2 times"),
    "a name missing": ("a.tsv", "id\t\tn\n1\t2\t3\n", "column 2 has no name"),
    "long rows": ("a.tsv", "id\tn\n1\t2\n3\t4\t5\n", "1 rows have 3 cells, the header has 2: line 3"),
    "short rows": ("a.tsv", "id\tn\tm\n1\t2\t3\n4\t5\n", "1 rows have 2 cells, the header has 3: line 3"),
    "row names of R": ("a.tsv", "id\tn\na\t1\t2\nb\t3\t4\n", "are the first cells row names"),
    "quote never closed": ("a.csv", 'id,n\n1,"a\n2,b\n', "line 2: a quote"),
    "quote closed rows later": ("a.csv", 'id,n\n1,"a\n2,b\n3,c"\n', "lines 2 to 4: a quote"),
    "quotes that do not pair": ("a.csv", 'id,n\n1,"a\n2,"b"\n', "line 2: quotes"),
    "a row that looks like a comment": ("a.tsv", "id\tn\n1\tx\n#2\ty\n", "line 3 begins with #"),
}  # fmt: skip


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("case", READ)
def test_cells_are_read_as_typed(case: str, tmp_path: Path) -> None:
    name, content, rows = READ[case]
    table = read_table(written(tmp_path, name, content))
    assert list(table.columns) == ["id", "n"]
    assert table.values.tolist() == [row.split() if isinstance(row, str) else row for row in rows]


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused_with_its_line(case: str, tmp_path: Path) -> None:
    name, content, message = REFUSED[case]
    with pytest.raises(UserError) as error:
        read_table(written(tmp_path, name, content))
    assert message in str(error.value)
    assert name in str(error.value)


def test_lines_across_blocks_are_whole_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a\r\nbcd\r\n\r\nefgh\ri\n\nlast"
    path = written(tmp_path, "a.txt", text)
    for size in range(1, 9):
        monkeypatch.setattr("genebrain.common.text_lines._BLOCK", size)
        assert list(text_lines(path)) == ["a", "bcd", "", "efgh", "i", "", "last"]
        assert count_lines(path) == 7


def test_capitals_do_not_decide_but_take_no_name_twice() -> None:
    assert usual_names(["Age", "AGE", "Other"], ["age"]) == ["age", "AGE", "Other"]
    assert usual_names(["Age", "age"], ["age"]) == ["Age", "age"]
