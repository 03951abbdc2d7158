"""Files of vectors: every format gives the same table, and what is wrong is said by name."""

from __future__ import annotations

import pickle
import stat

import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from genebrain.common.types import UserError
from genebrain.common.vectors import read_vectors, windows_of, write_vectors

IDS = ["007", "1e5", "sub-3"]
VALUES = np.array([[1.5, -2], [0, 1e-7], [3, 4]], np.float32)


def written(folder, kind):
    path = folder / f"genes.{kind}"
    frame = pd.DataFrame(VALUES, columns=["a", "b"])
    frame.insert(0, "participant_id", IDS)
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind in ("tsv", "csv"):
        frame.assign(split="train").to_csv(path, sep="\t" if kind == "tsv" else ",", index=False)
    elif kind == "npz":
        np.savez(path, ids=np.array(IDS), vectors=VALUES, columns=np.array(["a", "b"]))
    else:
        np.save(path, VALUES)
        (folder / "genes.ids.tsv").write_text("participant_id\n" + "\n".join(IDS))
    return path


@pytest.mark.parametrize("kind", ["parquet", "tsv", "csv", "npz", "npy"])
def test_every_format_gives_the_same_table(tmp_path, kind):
    table = read_vectors(written(tmp_path, kind))
    assert table.ids == IDS
    assert np.allclose(table.values, VALUES, rtol=1e-6)
    assert table.columns == (["v0", "v1"] if kind == "npy" else ["a", "b"])


def test_what_is_written_is_private_and_read_back_to_the_bit(tmp_path):
    write_vectors(tmp_path / "x.parquet", IDS, VALUES, labels={"split": ["train", "test", "test"]})
    table = read_vectors(tmp_path / "x.parquet")
    assert table.ids == IDS
    assert table.values.tobytes() == VALUES.tobytes()
    assert stat.S_IMODE((tmp_path / "x.parquet").stat().st_mode) == 0o600


def test_a_column_of_lists_and_a_third_axis_are_blocks(tmp_path):
    lists = pyarrow.table({"id": IDS, "BRCA2": VALUES.tolist()})
    parquet.write_table(lists, tmp_path / "l.parquet")
    assert read_vectors(tmp_path / "l.parquet").columns == ["BRCA2:0", "BRCA2:1"]
    np.savez(tmp_path / "b.npz", ids=np.array(IDS), x=np.arange(18).reshape(3, 3, 2), windows=np.array(["p", "q", "r"]))
    table = read_vectors(tmp_path / "b.npz")
    assert table.columns == ["p:0", "p:1", "q:0", "q:1", "r:0", "r:1"]
    assert table.values[1].tolist() == [6, 7, 8, 9, 10, 11]


def test_windows_and_pieces_come_from_the_names_of_columns():
    plain = windows_of(["a", "b"], "x")
    assert (plain.names, [c.tolist() for c in plain.columns]) == (["all"], [[0, 1]])
    mixed = windows_of(["A/1", "B/1", "A/2"], "x")
    assert (mixed.names, [c.tolist() for c in mixed.columns]) == (["A", "B"], [[0, 2], [1]])
    pieces = windows_of(["A:c0:0", "A:c1:0", "A:c0:1", "A:c1:1", "B:c0:0", "B:c0:1"], "x")
    assert pieces.item_width == 2
    assert [c.tolist() for c in pieces.columns] == [[0, 2, 1, 3], [4, 5]]
    assert windows_of(["A:c0:0", "A:c0:1", "B:c0:0"], "x").item_width is None
    with pytest.raises(UserError, match=r"x: 1 of 2 columns are named window:column and 1 are not \(b\)"):
        windows_of(["A:1", "b"], "x")


def test_pickled_objects_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.savez(tmp_path / "x.npz", ids=np.array(IDS), vectors=np.array([Trap(), 1, 2], dtype=object))
    np.save(tmp_path / "y.npy", np.array([Trap(), 1, 2], dtype=object))
    (tmp_path / "y.ids.tsv").write_text("\n".join(IDS))
    (tmp_path / "z.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("x.npz", "y.npy", "z.npy"):
        with pytest.raises(UserError, match=f"{name} holds pickled Python objects"):
            read_vectors(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("participant_id\ta\nx\tone\n", "1 columns hold words and not numbers: a"),
        ("name\ta\nx\t1\n", "no column participant_id"),
        ("participant_id\ta\n\t1\n", "1 rows without an id"),
        ("participant_id\ta\n", "0 rows"),
        ("participant_id\nx\n", "0 columns"),
        ("participant_id\ta\nx\tinf\n", "1 of 1 columns hold infinite numbers: a"),
        ("participant_id\ta\nx\t1e300\n", "infinite"),
    ],
)
def test_tables_that_are_none(tmp_path, content, words):
    (tmp_path / "t.tsv").write_text(content)
    with pytest.raises(UserError, match=words):
        read_vectors(tmp_path / "t.tsv")


def test_other_files(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no file"):
        read_vectors(tmp_path / "none.parquet")
    for name, words in (("x.xlsx", "ends in '.xlsx'"), ("x.parquet", "cannot be read"), ("x.npz", "pickled|damaged")):
        (tmp_path / name).write_text("nothing")
        with pytest.raises(UserError, match=words):
            read_vectors(tmp_path / name)
    np.save(tmp_path / "lone.npy", VALUES)
    with pytest.raises(UserError, match=r"needs a list of ids, one a line, in lone\.ids\.tsv"):
        read_vectors(tmp_path / "lone.npy")
    np.savez(tmp_path / "two.npz", ids=np.array(IDS), a=VALUES, b=VALUES)
    with pytest.raises(UserError, match="holds a, b, ids; wanted"):
        read_vectors(tmp_path / "two.npz")
    np.savez(tmp_path / "short.npz", ids=np.array(IDS[:2]), a=VALUES)
    with pytest.raises(UserError, match="2 ids for 3 rows"):
        read_vectors(tmp_path / "short.npz")


def test_anndata_is_named_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "x.h5ad").write_text("")
    with pytest.raises(UserError, match="pip install anndata"):
        read_vectors(tmp_path / "x.h5ad")
