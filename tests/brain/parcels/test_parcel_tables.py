"""Which line of a table of parcel series is the header, and which columns are parcels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genebrain.brain.encoders.preflight import parcels_problem, refuse_other_parcels
from genebrain.brain.parcels.centres import read_centres
from genebrain.brain.parcels.series import read_parcel_table
from genebrain.common.types import UserError

SERIES = np.random.default_rng(0).normal(size=(30, 12)).round(6)
WHOLE = np.random.default_rng(1).integers(-500, 500, (30, 12)).astype(float)
HOLES = np.where(SERIES > 2, np.nan, SERIES)
NAMES = [f"Vis_{i}" for i in range(12)]
SECONDS = np.round(np.arange(30) * 0.735, 2)


def tabs(values: np.ndarray, **how: object) -> Callable[[Path], None]:
    options = {"sep": "\t", "index": False} | {k: v for k, v in how.items() if k != "columns"}
    return lambda path: pd.DataFrame(values, columns=how.get("columns")).to_csv(path, **options)


def indexed(values: np.ndarray, index: object, name: str, **how: object) -> Callable[[Path], None]:
    frame = pd.DataFrame(values, columns=NAMES, index=pd.Index(index))
    return lambda path: frame.to_csv(path, sep="\t", index_label=name, **how)


READ: dict[str, tuple[Callable[[Path], None], np.ndarray]] = {
    "no header": (tabs(SERIES, header=False), SERIES),
    "names": (tabs(SERIES, columns=NAMES), SERIES),
    "label ids above fractions": (tabs(SERIES, columns=range(1, 13)), SERIES),
    "label ids above whole numbers": (tabs(WHOLE.astype(int), columns=range(101, 113)), WHOLE),
    "label ids in no order": (tabs(SERIES, columns=[7, 3, *range(20, 30)]), SERIES),
    "label ids as floats": (tabs(SERIES, columns=np.arange(1.0, 13)), SERIES),
    "row numbers without name": (indexed(SERIES, range(30), ""), SERIES),
    "row numbers without header": (tabs(np.c_[np.arange(30), SERIES], header=False), SERIES),
    "seconds without header": (tabs(np.c_[SECONDS, SERIES], header=False), SERIES),
    "Frame": (indexed(SERIES, np.arange(30) * 2, "Frame"), SERIES),
    "TIME (s), uneven": (indexed(SERIES, np.arange(30) ** 2, "TIME (s)"), SERIES),
    "volume and seconds": (tabs(np.c_[np.arange(30), SECONDS, SERIES], columns=["Volume", "t", *NAMES]), SERIES),
    "numpy's comment": (lambda path: np.savetxt(path, SERIES, delimiter="\t", header="of\tsomebody"), SERIES),
    "byte order mark": (tabs(SERIES, header=False, encoding="utf-8-sig"), SERIES),
    "a tab behind every line": (lambda path: np.savetxt(path, SERIES, "%.6f", "\t", "\t\n"), SERIES),
    "missing words": (tabs(HOLES, columns=NAMES, na_rep="NA"), HOLES),
}  # fmt: skip

REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "few ids above whole numbers": (tabs(WHOLE[:, :3].astype(int), columns=[1, 2, 3]), "1 2 3. may be a header"),
    "decimal comma": (tabs(SERIES, decimal=",", header=False), "has a decimal comma: write"),
    "blanks": (lambda path: pd.DataFrame(SERIES).to_csv(path, sep=" ", index=False, header=False), "between blanks"),
    "row names of R": (lambda path: path.write_text("a\tb\nx\t1.5\t2\ny\t3\t4\n"), "row names"),
    "parcels in rows": (indexed(SERIES, [f"p{i}" for i in range(30)], "parcel"), "are the parcels in rows"),
    "a cut line": (lambda path: path.write_text("1.5\t2\n3.5\n4\t5.5\n"), "line 2 has 1"),
    "only a header": (lambda path: path.write_text("a\tb\n"), "a header and no frame"),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_header_and_counters_are_no_frame_and_no_parcel(case: str, tmp_path: Path) -> None:
    write, wanted = READ[case]
    write(tmp_path / "s.tsv")
    np.testing.assert_array_equal(read_parcel_table(tmp_path / "s.tsv"), wanted.astype(np.float32))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_ambiguous_is_refused_by_name(case: str, tmp_path: Path) -> None:
    write, message = REFUSED[case]
    write(tmp_path / "sub-007.tsv")
    with pytest.raises(UserError, match=message) as error:
        read_parcel_table(tmp_path / "sub-007.tsv")
    assert "sub-007" not in str(error.value)


def test_semicolons_and_decimal_commas_are_named(tmp_path: Path) -> None:
    for header in (True, False):
        pd.DataFrame(SERIES).to_csv(tmp_path / "s.csv", sep=";", decimal=",", index=False, header=header)
        with pytest.raises(UserError, match="between semicolons"):
            read_parcel_table(tmp_path / "s.csv")


def test_an_array_with_row_numbers_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.c_[np.arange(30), SERIES])
    with pytest.raises(UserError, match="first column counts frames"):
        read_parcel_table(tmp_path / "a.npy")


def test_scans_have_a_column_for_each_row_of_the_coordinates(tmp_path: Path) -> None:
    pd.DataFrame(np.ones((12, 3)), columns=list("xyz")).to_csv(tmp_path / "c.tsv", sep="\t", index=False)
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.npy")
        np.save(paths[-1], SERIES[: 20 + i].T)
    with pytest.raises(UserError, match=r"scans have 2\d columns, c.tsv .* has 12 rows, and 12 frames: are they trans"):
        refuse_other_parcels(pd.DataFrame({"path": paths}), tmp_path / "c.tsv", None)
    for path in paths:
        np.save(path, SERIES)
    refuse_other_parcels(pd.DataFrame({"path": paths}), tmp_path / "c.tsv", None)
    assert "has 5 rows; each column" in parcels_problem(Counter({(99, 6): 3}), 5, "c.tsv")
    assert parcels_problem(Counter({(99, 6): 3, (99, 5): 1}), 5, "c.tsv") == ""  # said scan by scan


COORDINATES = {
    "c.tsv": "name\tX\ty\tz\nLeft Amygdala\t1\t2\t3\nV1\t4\t5\t6\n",
    "c.csv": 'label,x,y,z\n"a, b",1,2,3\nc,4,5,6\n',
    "c.dat": "1  1.0 2.0   3.0\n2 4.0 5.0 6.0\n",
    "d.tsv": "\tx\ty\tz\n0\t1\t2\t3\n1\t4\t5\t6\n",
    "e.tsv": "\ufeff# mm\nx y z\n1 2 3\n4 5 6\n",
}


@pytest.mark.parametrize("name", COORDINATES)
def test_centres_are_read_from_the_usual_tables(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(COORDINATES[name])
    assert read_centres(tmp_path / name).tolist() == [[1, 2, 3], [4, 5, 6]]
