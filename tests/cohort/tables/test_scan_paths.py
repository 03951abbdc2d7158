"""Paths of scan tables that lead astray, and scans that are there twice, are told."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.brain.store.fill import fill_store
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.report import worth_telling
from genebrain.brain.store.scan_table import read_scan_table
from genebrain.cli import main
from genebrain.cohort.tables.problems import Problems
from genebrain.cohort.tables.sources import read_scans


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "cohort"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.npy", "deep/b.npy", "../c.npy"):
        np.save(folder / name, rng.normal(size=(60, 4)).astype(np.float32))
    return folder


def written(folder, paths):
    rows = "".join(f"p{i}\t{one}\t1\n" for i, one in enumerate(paths))
    (folder / "scans.tsv").write_text(f"participant_id\tpath\ttr\n{rows}")
    return folder / "scans.tsv"


@pytest.mark.parametrize(
    ("paths", "outside"),
    [
        (["a.npy", "deep/b.npy"], None),
        (["deep/../a.npy"], None),
        (["a.npy", "../c.npy"], "1 of 2 scans lie outside"),
        (["../../{here}/c.npy", "deep/../../c.npy"], "2 of 2 scans lie outside"),
        (["{absolute}/c.npy"], None),  # whoever writes it means it
    ],
)
def test_paths_that_climb_out_are_told(place, paths, outside):
    names = {"here": place.parent.name, "absolute": str(place.parent)}
    problems = Problems()
    table = read_scans(written(place, [one.format(**names) for one in paths]), problems)
    assert table is not None
    told = [one.message for one in problems.warnings if "outside" in one.message]
    assert (outside in told[0]) if outside else not told


@pytest.mark.parametrize("name", ["x" * 5000 + ".npy", "a" * 300 + "/b.npy", "deep", "a.npy/b.npy"])
def test_paths_that_cannot_be_are_files_that_do_not_exist(place, name):
    problems = Problems()
    read_scans(written(place, ["a.npy", name]), problems)
    assert "1 of 2 files do not exist" in problems.errors[0].message


@pytest.mark.parametrize("words", [["report", "run=" + "x" * 300], ["store", "list", "store=" + "y" * 5000]])
def test_a_name_that_no_file_can_have_is_said(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_scans_with_the_numbers_of_another_are_told(place):
    (place / "d.npy").write_bytes((place / "a.npy").read_bytes())
    table = read_scan_table(written(place, ["a.npy", "deep/b.npy", "d.npy"]))
    report = fill_store(table, place / "store", ReadingOptions(min_frames=10, min_seconds=0), progress=False).summary()
    assert report["n_copies"] == 1
    assert worth_telling(report) == [
        "1 of 3 scans hold the very numbers of another one: is a file there under two names?"
    ]
