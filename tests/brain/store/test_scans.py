"""Scan tables, discovery in BIDS-like folders, time steps."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from genebrain.brain.store.scan_table import read_scan_table, repetition_time
from genebrain.common.types import UserError


def write_table(folder: Path, *rows: str, header: str = "participant_id\tsession\tpath\ttr") -> Path:
    path = folder / "scans.tsv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_paths_are_relative_to_the_table_and_optional_columns_may_lack(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 3)))
    np.save(tmp_path / "b.npy", np.zeros((5, 3)))
    table = read_scan_table(write_table(tmp_path, "007\tses-1\ta.npy\t0.72", "008\t\tb.npy\tn/a"))
    assert list(table.columns) == ["participant_id", "session", "path", "tr", "mask", "confounds"]
    assert table.participant_id.tolist() == ["007", "008"]  # leading zeros kept
    assert table.path[0] == tmp_path / "a.npy"
    assert table.tr[0] == 0.72
    assert np.isnan(table.tr[1])
    assert table["mask"].tolist() == [None, None]


def test_all_problems_are_named_at_once(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 3)))
    rows = ["1\t\ta.npy\t735", "2\t\ta.npy\t", "3\t\tmissing.npy\t2", "\t\ta.npy\tfast", "5\t\tx.mat\t2"]
    with pytest.raises(UserError) as error:
        read_scan_table(write_table(tmp_path, *rows))
    text = str(error.value)
    for part in ("do not exist", "more than once", "735", "fast", "without participant_id", "x.mat"):
        assert part in text


def test_missing_columns_and_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"lacks the column\(s\) path"):
        read_scan_table(write_table(tmp_path, "1\tx", header="participant_id\tfile"))
    with pytest.raises(UserError, match="does not exist"):
        read_scan_table(tmp_path / "none.tsv")


@pytest.fixture
def derivatives(tmp_path) -> Path:
    for subject, session, space in [("01", "1", "A"), ("01", "2", "A"), ("02", "", "A")]:
        folder = tmp_path / f"sub-{subject}" / (f"ses-{session}" if session else "") / "func"
        folder.mkdir(parents=True)
        run = f"sub-{subject}" + (f"_ses-{session}" if session else "") + "_task-rest"
        (folder / f"{run}_space-{space}_res-2_desc-preproc_bold.nii.gz").touch()
        (folder / f"{run}_space-{space}_res-2_desc-brain_mask.nii.gz").touch()
        (folder / f"{run}_desc-confounds_timeseries.tsv").touch()
        (folder / f"{run}_bold.nii.gz").touch()  # raw scan beside the preprocessed one
    (tmp_path / "task-rest_bold.json").write_text(json.dumps({"RepetitionTime": 0.8}))
    return tmp_path


def test_discovery_takes_preprocessed_scans_with_their_files_and_inherited_time_step(derivatives):
    table = read_scan_table(derivatives)
    assert table.participant_id.tolist() == ["sub-01", "sub-01", "sub-02"]
    assert table.session.tolist() == ["ses-1", "ses-2", ""]
    assert table.tr.tolist() == [0.8] * 3
    assert all("desc-preproc" in p.name for p in table.path)
    assert all(p.is_file() for p in [*table["mask"], *table["confounds"]])


def test_several_spaces_are_not_guessed(derivatives):
    func = derivatives / "sub-02" / "func"
    (func / "sub-02_task-rest_space-B_desc-preproc_bold.nii.gz").touch()
    with pytest.raises(UserError, match=r"several values of space \(A, B\)"):
        read_scan_table(derivatives)
    assert len(read_scan_table(derivatives, space="A")) == 3
    with pytest.raises(UserError, match=r"no scan .* has space-C"):
        read_scan_table(derivatives, space="C")


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no scan in a known layout.*fMRIPrep.*UK Biobank.*Connectome.*0 other images"):
        read_scan_table(tmp_path)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def biobank(tmp_path) -> Path:
    folder = tmp_path / "bulk"
    for visit in ("1000018_20227_2_0/fMRI", "1000018_20227_3_0/fMRI", "1000027/fMRI"):
        touch(folder, f"{visit}/rfMRI.ica/filtered_func_data_clean.nii.gz", f"{visit}/rfMRI.ica/mask.nii.gz")
        touch(folder, f"{visit}/rfMRI.nii.gz", f"{visit}/rfMRI.ica/reg/example_func2standard.nii.gz")
    (folder / "1000027" / "fMRI" / "rfMRI.json").write_text('{"RepetitionTime": 0.735}')
    return folder


def test_biobank_folders_are_found_with_visits_and_told_to_be_native(biobank, capsys):
    table = read_scan_table(biobank)
    assert table.participant_id.tolist() == ["1000018", "1000018", "1000027"]
    assert table.session.tolist() == ["ses-2", "ses-3", "ses-2"]
    assert [p.name for p in table["mask"]] == ["mask.nii.gz"] * 3
    assert np.isnan(table.tr[0])
    assert table.tr[2] == 0.735
    printed = capsys.readouterr().out
    assert "3 scans of 2 people, layout of UK Biobank" in printed
    assert "each person's own space" in printed


def test_biobank_scans_in_template_space_come_first_and_spaces_are_not_mixed(biobank, capsys):
    touch(biobank, "1000018_20227_2_0/fMRI/rfMRI.ica/filtered_func_data_clean_MNI.nii.gz")
    with pytest.raises(UserError, match=r"2 scans .* have no version in space MNI, 1 have"):
        read_scan_table(biobank)
    assert len(read_scan_table(biobank, space="native")) == 3
    for visit in ("1000018_20227_3_0", "1000027"):
        touch(biobank, f"{visit}/fMRI/rfMRI.ica/filtered_func_data_clean_MNI.nii.gz")
    capsys.readouterr()
    table = read_scan_table(biobank)
    assert {p.name for p in table.path} == {"filtered_func_data_clean_MNI.nii.gz"}
    assert table["mask"].tolist() == [None] * 3  # the mask beside it is on another grid
    assert "own space" not in capsys.readouterr().out


def test_connectome_folders_are_found_run_by_run_without_surfaces(tmp_path):
    results = "100307/MNINonLinear/Results"
    for run in ("rfMRI_REST1_LR", "rfMRI_REST2_RL"):
        touch(tmp_path, *(f"{results}/{run}/{run}{end}" for end in (
            ".nii.gz", "_hp2000_clean.nii.gz", "_Atlas_hp2000_clean.dtseries.nii", "_SBRef.nii.gz")))  # fmt: skip
    touch(tmp_path, f"{results}/rfMRI_REST1_LR/brainmask_fs.2.nii.gz", "100307/MNINonLinear/T1w.nii.gz")
    touch(tmp_path, f"{results}/tfMRI_WM_LR/tfMRI_WM_LR_hp2000_clean.nii.gz")
    late = "HCA6002236_V1_MR/MNINonLinear/Results/rfMRI_REST1_AP/rfMRI_REST1_AP"
    touch(tmp_path, f"{late}_hp0_clean.nii.gz", f"{late}_hp0_clean_rclean_tclean.nii.gz")
    table = read_scan_table(tmp_path)
    assert table.participant_id.tolist() == ["100307", "100307", "HCA6002236_V1_MR"]
    assert table.session.tolist() == ["REST1_LR", "REST2_RL", "REST1_AP"]
    assert table.path[2].name == "rfMRI_REST1_AP_hp0_clean_rclean_tclean.nii.gz"
    assert [m is None for m in table["mask"]] == [False, True, True]
    with pytest.raises(UserError, match="task=nback"):
        read_scan_table(tmp_path, task="nback")


def test_two_layouts_in_one_folder_are_named(biobank):
    touch(biobank, "sub-01/func/sub-01_task-rest_desc-preproc_bold.nii.gz")
    with pytest.raises(UserError, match=r"1 in the layout of fMRIPrep and 3 in the layout of UK Biobank"):
        read_scan_table(biobank)


def test_zipped_bulk_files_are_to_be_unpacked(tmp_path):
    touch(tmp_path, "1000018_20227_2_0.zip")
    with pytest.raises(UserError, match="1 zip files of UK Biobank must be unpacked"):
        read_scan_table(tmp_path)


def test_linked_folders_are_entered_once(derivatives, tmp_path_factory):
    subset = tmp_path_factory.mktemp("subset")
    (subset / "sub-01").symlink_to(derivatives / "sub-01")
    (subset / "loop").symlink_to(subset)
    assert len(read_scan_table(subset)) == 2


def header(step: float, unit: str) -> nib.Nifti1Header:
    image = nib.Nifti1Image(np.zeros((2, 2, 2, 3), np.int16), np.eye(4))
    image.header.set_zooms((1, 1, 1, step))
    image.header.set_xyzt_units("mm", unit)
    return image.header


def test_time_step_order_table_sidecar_header(tmp_path):
    scan = tmp_path / "sub-1_task-rest_bold.nii.gz"
    assert repetition_time(scan, header(735, "msec")) == pytest.approx(0.735)
    assert repetition_time(scan, header(2.5, "unknown")) == 2.5
    (tmp_path / "sub-1_task-rest_bold.json").write_text('{"RepetitionTime": 0.72}')
    assert repetition_time(scan, header(2.0, "sec")) == 0.72
    assert repetition_time(scan, header(2.0, "sec"), stated=3.0) == 3.0
    assert np.isnan(repetition_time(tmp_path / "x.npy"))


@pytest.mark.parametrize(("step", "unit"), [(0.0, "sec"), (735.0, "sec"), (1.0, "unknown"), (735.0, "unknown")])
def test_impossible_time_steps_are_refused(tmp_path, step, unit):
    with pytest.raises(UserError, match="state tr"):
        repetition_time(tmp_path / "scan.nii.gz", header(step, unit))


def test_both_readers_of_the_scan_table_see_the_same(tmp_path):
    from genebrain.cohort.tables.problems import Problems
    from genebrain.cohort.tables.sources import read_scans

    for name in ("a.npy", "b.npy", "c.mat"):
        (tmp_path / name).touch()
    rows = ["1\t\ta.npy\t-1\t0.1", "2\t\tc.mat\t2\t0.2", "NA\tNA\tb.npy\t2\tmuch"]
    path = write_table(tmp_path, *rows, header="participant_id\tsession\tpath\ttr\tmean_fd")
    problems = Problems()
    table = read_scans(path, problems)
    assert table.participant_id.tolist() == ["1", "2", "NA"]  # a person may be called so
    assert table.session.tolist() == ["", "", ""]
    assert table.mean_fd.tolist()[:2] == [0.1, 0.2]
    assert [p.kind for p in problems] == ["unknown kind of scan", "time step", "not a number"]
    with pytest.raises(UserError) as error:
        read_scan_table(path)
    assert all(p.message.removeprefix("scans.tsv: ") in str(error.value) for p in problems)
    table = read_scan_table(write_table(tmp_path, rows[0].replace("-1", "2"), header=path.read_text().split("\n")[0]))
    assert table.mean_fd.tolist() == [0.1]
