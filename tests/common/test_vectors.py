"""Files of vectors: every format gives the same table, and what is wrong is said by name."""

from __future__ import annotations

import pickle
import stat
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet
from scipy import sparse

from genebrain.common.types import UserError
from genebrain.common.vectors import read, read_vectors, windows_of, write_vectors

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


def test_what_was_changed_after_it_was_written_is_told(tmp_path):
    """Parquet has no checksum that its readers look at: a flipped bit would be another number."""
    path = tmp_path / "x.parquet"
    write_vectors(path, IDS, np.arange(300, dtype=np.float32).reshape(3, 100))
    whole, rng, told = path.read_bytes(), np.random.default_rng(0), 0
    for place in rng.choice(len(whole), 60, replace=False).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        read._read.cache_clear()
        try:
            found = read_vectors(path)
        except UserError:
            told += 1
            continue
        assert (found.ids, found.columns) == (IDS, [f"v{i}" for i in range(100)])
        assert found.values.tobytes() == np.arange(300, dtype=np.float32).tobytes()
    assert told > 10
    path.write_bytes(whole)
    parquet.write_table(parquet.read_table(path).slice(0, 2), path)
    with pytest.raises(UserError, match=r"x\.parquet did not stay as genebrain wrote it: export it again"):
        read_vectors(path)
    pd.read_parquet(path).to_parquet(path)  # written anew on purpose: without the checksum
    assert read_vectors(path).ids == IDS[:2]


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


ODD = {
    "pandas' row numbers": "\tparticipant_id\ta\tb\n0\tx\t1\t2\n1\ty\t3\t4\n",
    "trailing tabs": "participant_id\ta\tb\t\nx\t1\t2\t\ny\t3\t4\t\n",
    "trailing tabs below the header": "participant_id\ta\tb\nx\t1\t2\t\ny\t3\t4\t\n",
    "byte order mark and CRLF": "\ufeffparticipant_id\ta\tb\r\nx\t1\t2\r\ny\t3\t4\r\n",
    "quoted header": '"participant_id"\t"a"\t"b"\n"x"\t1\t2\n"y"\t3\t4\n',
    "comments": "# made by hand\nparticipant_id\ta\tb\nx\t1\t2\n# and more\ny\t3\t4\n",
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_tables_are_read_by_rule(tmp_path, kind):
    (tmp_path / "t.tsv").write_text(ODD[kind], newline="")
    table = read_vectors(tmp_path / "t.tsv")
    assert (table.ids, table.columns) == (["x", "y"], ["a", "b"])
    assert table.values.tolist() == [[1, 2], [3, 4]]


def test_ids_are_words_and_quotes_are_letters(tmp_path):
    """A person called NA is a person, and an open quote takes no rows with it."""
    names = ["NA", "None", "001", "1e5", "true", '"open', "x", 'y"', "nan"]
    (tmp_path / "t.tsv").write_text("id\ta\n" + "".join(f"{name}\t{i}\n" for i, name in enumerate(names)))
    table = read_vectors(tmp_path / "t.tsv")
    assert table.ids == names
    assert table.values[:, 0].tolist() == list(range(9))


def test_ids_beside_an_array_are_read_without_their_mark(tmp_path):
    np.save(tmp_path / "v.npy", VALUES)
    (tmp_path / "v.ids.tsv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(IDS).encode())
    assert read_vectors(tmp_path / "v.npy").ids == IDS
    (tmp_path / "v.ids.tsv").write_bytes("\n".join(IDS).encode("utf-16"))
    with pytest.raises(UserError, match="UTF-16"):
        read_vectors(tmp_path / "v.npy")


def test_a_large_table_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("genebrain.common.vectors.read._PART_LETTERS", 20)
    (tmp_path / "t.tsv").write_text(
        "id\ta\tb\n" + "".join(f"p{i}\t{i}.5\t{'n/a' if i == 7 else i}\n" for i in range(50))
    )
    table = read_vectors(tmp_path / "t.tsv")
    assert table.ids == [f"p{i}" for i in range(50)]
    assert table.values[:, 0].tolist() == [i + 0.5 for i in range(50)]
    assert np.flatnonzero(np.isnan(table.values[:, 1])).tolist() == [7]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("participant_id\ta\ta\nx\t1\t2\n", "'a' is there 2 times"),
        ("participant_id;a;b\nx;1;2\n", "semicolons"),
        ("participant_id\ta\nx\t1,5\n", "1 columns hold words or infinite numbers: a"),
        ("participant_id\ta\nx\t1\t2\n", "1 rows have 3 cells, the header has 2"),
        ("participant_id\ta\nx\n", "1 rows have 1 cells, the header has 2"),
        ("participant_id\ta\nx\t1\0\n", "a NUL byte"),
        ("participant_id\ta\nx\tone\n", "1 columns hold words or infinite numbers: a"),
        ("name\ta\nx\t1\n", "no column participant_id"),
        ("participant_id\ta\n\t1\n", "1 rows without an id"),
        ("participant_id\ta\n", "0 rows"),
        ("participant_id\nx\n", "0 columns"),
        ("participant_id\ta\nx\tinf\n", "1 columns hold words or infinite numbers: a"),
        ("participant_id\ta\tb\nx\t1\t2\ny\t1e300\t2\n", r"1 of 2 columns .* beyond 3\.4e38.*: a; in 1 of 2 rows: 2"),
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


@pytest.mark.parametrize(
    ("ids", "ending"), [("participant_id", "parquet"), ("participant_id", "csv"), (None, "parquet")]
)
def test_the_index_that_pandas_writes_is_no_column_of_numbers(tmp_path, ids, ending):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}, index=["x", "y", "z"])
    if ids:
        frame = frame.reset_index(names=ids).sample(frac=1, random_state=3)  # an index of shuffled numbers
    path = tmp_path / f"v.{ending}"
    frame.to_parquet(path) if ending == "parquet" else frame.to_csv(path)
    found = read_vectors(path)
    assert found.columns == ["a", "b"]
    assert dict(zip(found.ids, found.values[:, 0], strict=True)) == {"x": 1, "y": 2, "z": 3}


def test_anndata_gives_people_and_windows(tmp_path, monkeypatch):
    """The parts of an AnnData object that are read; the package itself is not among the requirements of the tests."""
    data = SimpleNamespace(
        X=sparse.csr_matrix(np.arange(12.0).reshape(3, 4)), obs_names=pd.Index(["c0", "c1", "c2"]),
        var_names=pd.Index(["u", "v", "w", "x"]), obs=pd.DataFrame(index=["c0", "c1", "c2"]),
        var=pd.DataFrame({"window": pd.Categorical(["G1", "G1", "G2", "G2"])}, index=["u", "v", "w", "x"]),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "anndata", SimpleNamespace(read_h5ad=lambda _: data, __spec__=object()))
    (tmp_path / "a.h5ad").write_text("")
    found = read_vectors(tmp_path / "a.h5ad")
    assert (found.ids, found.columns) == (["c0", "c1", "c2"], ["G1:0", "G1:1", "G2:0", "G2:1"])
    assert np.array_equal(found.values, np.arange(12.0).reshape(3, 4))
    data.obs["participant_id"], data.var, data.X = ["p", "p", "q"], data.var.drop(columns="window"), data.X.toarray()
    (tmp_path / "b.h5ad").write_text("")
    found = read_vectors(tmp_path / "b.h5ad")
    assert (found.ids, found.columns) == (["p", "p", "q"], ["u", "v", "w", "x"])
    data.X = None
    (tmp_path / "c.h5ad").write_text("")
    with pytest.raises(UserError, match="has no X"):
        read_vectors(tmp_path / "c.h5ad")


def test_anndata_is_named_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "x.h5ad").write_text("")
    with pytest.raises(UserError, match="pip install anndata"):
        read_vectors(tmp_path / "x.h5ad")


def test_arrays_that_unpack_to_far_more_than_the_file_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", ids=np.array(IDS), x=np.zeros((3, 12_000_000), np.float64))
    with pytest.raises(UserError, match=r"bomb\.npz has .* would unpack to 288,"):
        read_vectors(tmp_path / "bomb.npz")
