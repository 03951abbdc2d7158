"""Motion of the scans of a folder: the mean framewise displacement of its confounds tables, under their usual names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genebrain.cohort.tables.problems import Problems
from genebrain.cohort.tables.sources import read_scans

FD = [0.1, 0.3, 0.2]
MEAN = 0.2


def write(path: Path, column: str = "framewise_displacement", values: object = None, first: str = "n/a") -> None:
    lines = [first, *map(str, FD if values is None else values)]  # type: ignore[call-overload]
    path.write_text("\n".join([f"csf\t{column}\trot_x", *(f"1\t{value}\t0" for value in lines)]) + "\n")


def scan(folder: Path, person: str, desc: str = "preproc") -> Path:
    func = folder / f"sub-{person}" / "func"
    func.mkdir(parents=True, exist_ok=True)
    path = func / f"sub-{person}_task-rest_space-MNI_desc-{desc}_bold.nii.gz"
    path.touch()
    return func / f"sub-{person}_task-rest_"


def read(folder: Path, **more: object) -> tuple[pd.DataFrame, Problems]:
    problems = Problems()
    table = read_scans(folder, problems, **more)
    assert table is not None
    return table, problems


@pytest.mark.parametrize(
    ("name", "desc", "column"),
    [
        ("desc-confounds_timeseries.tsv", "preproc", "framewise_displacement"),
        ("desc-confounds_regressors.tsv", "preproc", "framewise_displacement"),
        ("desc-confounds_timeseries.tsv", "preproc", "FramewiseDisplacement"),
        ("motion.tsv", "denoised", "framewise_displacement"),
        ("desc-filtered_motion.tsv", "denoisedSmoothed", "framewise_displacement"),
        ("desc-confounds_timeseries.tsv", "preproc", "FD"),
    ],
)
def test_motion_is_filled_from_the_tables_of_a_folder(tmp_path, name, desc, column):
    for person in ("01", "02"):
        start = scan(tmp_path, person, desc)
        write(Path(f"{start}{name}"), column)
        # Zeros and ones under the same column name are no millimetres.
        write(Path(f"{start}outliers.tsv"), values=[1, 0, 1])
    table, problems = read(tmp_path)
    np.testing.assert_allclose(table["mean_fd"], MEAN)
    assert not problems


def test_scans_of_unknown_motion_are_told(tmp_path):
    write(Path(f"{scan(tmp_path, '01')}desc-confounds_timeseries.tsv"))
    scan(tmp_path, "02")
    write(Path(f"{scan(tmp_path, '03')}desc-confounds_timeseries.tsv"), column="std_dvars")
    Path(f"{scan(tmp_path, '04')}desc-confounds_timeseries.tsv").write_bytes(b"\xff\xfe\x00")
    write(Path(f"{scan(tmp_path, '05')}desc-confounds_timeseries.tsv"), values=["n/a"] * 3)
    table, problems = read(tmp_path)
    assert table["mean_fd"].isna().tolist() == [False, True, True, True, True]
    (problem,) = problems
    assert (problem.severity, problem.counts) == ("warning", {"known": 1, "of": 5})


def test_without_tables_there_is_no_column(tmp_path):
    scan(tmp_path, "01")
    table, problems = read(tmp_path)
    assert "mean_fd" not in table.columns
    assert not problems


def test_what_a_table_states_is_kept_and_what_it_does_not_is_filled(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    write(tmp_path / "c.tsv")
    (tmp_path / "scans.tsv").write_text("participant_id\tpath\tconfounds\tmean_fd\n1\ta.npy\tc.tsv\t0.7\n")
    assert read(tmp_path / "scans.tsv")[0]["mean_fd"].tolist() == [0.7]
    (tmp_path / "scans.tsv").write_text("participant_id\tpath\tconfounds\n1\ta.npy\tc.tsv\n")
    np.testing.assert_allclose(read(tmp_path / "scans.tsv")[0]["mean_fd"], MEAN)


def test_the_version_that_cohort_yaml_chooses(tmp_path):
    for desc in ("denoised", "denoisedSmoothed"):
        scan(tmp_path, "01", desc)
    problems = Problems()
    assert read_scans(tmp_path, problems) is None
    assert "choose=desc-denoised (1 scan)" in problems.errors[0].message
    table, _ = read(tmp_path, choose="desc-denoised")
    assert [path.name for path in table["path"]] == ["sub-01_task-rest_space-MNI_desc-denoised_bold.nii.gz"]


def test_links_to_nowhere_are_told_before_anything_runs(tmp_path):
    scan(tmp_path, "01")
    start = scan(tmp_path, "02")
    path = Path(f"{start}space-MNI_desc-preproc_bold.nii.gz")
    path.unlink()
    path.symlink_to("nowhere")
    table, problems = read(tmp_path)
    assert len(table) == 2
    assert [(p.kind, p.counts["missing"]) for p in problems] == [("missing path", 1)]
