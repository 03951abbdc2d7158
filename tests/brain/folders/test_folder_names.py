"""Names of the files of a scan folder: which are scans, whose, and which of several versions of one is taken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from genebrain.brain.folders.names import entities, read_choice
from genebrain.brain.store.scan_table import read_scan_table
from genebrain.common.types import UserError

MNI = "space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def people(folder: Path, *versions: str, labels: tuple[str, ...] = ("01", "02", "03"), extra: str = "") -> None:
    """One file of each version for every person."""
    touch(folder, *(f"sub-{s}/func/sub-{s}_task-rest{extra}_{version}" for s in labels for version in versions))


def read(folder: Path, choose: str | None = None) -> pd.DataFrame:
    return read_scan_table(folder, choose=choose)


def test_labels_are_what_stands_between_hyphen_and_underscore():
    name = "sub-SITE-000_ses-pre.op_task-rest_space-MNI152NLin6Asym_res-2.5_desc-preproc_bold.nii.gz"
    assert entities(name) == {
        "sub": "SITE-000", "ses": "pre.op", "task": "rest", "space": "MNI152NLin6Asym", "res": "2.5", "desc": "preproc",
    }  # fmt: skip
    assert entities("sub-1_task-rest_bold.dtseries.nii") == {"sub": "1", "task": "rest"}
    assert entities("s6sub-1_task-rest_bold.nii")["task"] == "rest"
    assert read_choice("space-MNI_res-none") == {"space": "MNI", "res": "none"}
    assert read_choice(["desc-denoised", "ptseries"]) == {"desc": "denoised", "kind": "ptseries"}
    with pytest.raises(UserError, match="res twice"):
        read_choice("res-1_res-2")


VERSIONS = {
    "res": ("space-MNI_res-2_desc-preproc_bold.nii.gz", "space-MNI_desc-preproc_bold.nii.gz"),
    "space": ("space-MNI_desc-preproc_bold.nii.gz", "space-T1w_desc-preproc_bold.nii.gz"),
    "desc": ("space-MNI_desc-denoised_bold.nii.gz", "space-MNI_desc-denoisedSmoothed_bold.nii.gz"),
    "echo": ("echo-1_desc-preproc_bold.nii.gz", "echo-2_desc-preproc_bold.nii.gz"),
    "part": ("part-mag_bold.nii.gz", "part-phase_bold.nii.gz"),
    "rec": ("rec-norm_" + MNI, "rec-raw_" + MNI),
    "cohort": (
        "space-MNIPediatricAsym_cohort-1_desc-preproc_bold.nii.gz",
        "space-MNIPediatricAsym_cohort-2_desc-preproc_bold.nii.gz",
    ),
    "den": ("space-fsLR_den-91k_bold.dtseries.nii", "space-fsLR_den-170k_bold.dtseries.nii"),
    "hemi": ("hemi-L_bold.dtseries.nii", "hemi-R_bold.dtseries.nii"),
    "ce": ("ce-first_" + MNI, "ce-second_" + MNI),
    "trc": ("trc-a_" + MNI, "trc-b_" + MNI),
    "anything": ("anything-x_" + MNI, MNI),
    "seg": (
        "space-MNI_seg-Glasser_stat-mean_timeseries.tsv",
        "space-MNI_seg-Tian_stat-mean_timeseries.tsv",
    ),
}  # fmt: skip


@pytest.mark.parametrize("key", VERSIONS)
def test_two_versions_of_a_recording_are_an_error_that_says_what_to_type(tmp_path, key):
    people(tmp_path, *VERSIONS[key])
    with pytest.raises(UserError, match=rf"several values of {key} \(") as error:
        read(tmp_path)
    values = [entities(version).get(key, "none") for version in VERSIONS[key]]
    for value, version in zip(values, VERSIONS[key], strict=True):
        assert f"choose={key}-{value} (3 scans)" in str(error.value)
        table = read(tmp_path, f"{key}-{value}")
        assert [path.name for path in table.path] == [f"sub-{s}_task-rest_{version}" for s in ("01", "02", "03")]


def test_versions_of_one_person_alone_are_found(tmp_path):
    people(tmp_path, MNI)
    people(tmp_path, "space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz", labels=("02",))
    with pytest.raises(UserError, match=r"res \(none, 2\): choose one, choose=res-none \(3 scans\)"):
        read(tmp_path)
    assert len(read(tmp_path, "res-none")) == 3


def test_several_keys_are_named_together_with_pairs_that_exist(tmp_path, capsys):
    people(tmp_path, "space-A_res-2_desc-preproc_bold.nii.gz", "space-B_desc-preproc_bold.nii.gz")
    touch(tmp_path, "sub-04/func/sub-04_task-rest_space-B_desc-preproc_bold.nii.gz")
    with pytest.raises(UserError, match=r"space \(A, B\) and res \(none, 2\)") as error:
        read(tmp_path)
    assert "choose=space-B_res-none (4 scans) or choose=space-A_res-2 (3 scans)" in str(error.value)
    assert len(read(tmp_path, "space-A")) == 3
    assert "1 recording without a version space-A left out" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"has space-C; there are: A, B"):
        read(tmp_path, "space-C")


def test_what_tells_recordings_apart_is_no_version(tmp_path):
    touch(tmp_path, *(f"sub-01/ses-{s}/func/sub-01_ses-{s}_task-rest_dir-{d}_run-{r}_{MNI}"
                      for s in (1, 2) for d in ("AP", "PA") for r in (1, 2)))  # fmt: skip
    assert len(read(tmp_path)) == 8


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "label of another folder": (("sub-01/func/sub-02_task-rest_bold.nii.gz",), "another sub- or ses- than the folder"),
    "underscore in a label": (("sub-SITE_000/func/sub-SITE_000_task-rest_bold.nii.gz",), "ends at the next underscore"),
    "session of another folder": (("sub-01/ses-1/func/sub-01_ses-2_task-rest_bold.nii.gz",), "another sub- or ses-"),
    "session in the folder only": (("sub-01/ses-1/func/sub-01_task-rest_bold.nii.gz",), "another sub- or ses-"),
    "folder in capitals": (("sub-AB/func/sub-ab_task-rest_bold.nii.gz",), "another sub- or ses-"),
    "people in capitals": (("sub-a1_task-rest_bold.nii.gz", "sub-A1_task-rest_bold.nii.gz"), "one person or two"),
    "people with other zeros": (("sub-1_task-rest_bold.nii.gz", "sub-01_task-rest_bold.nii.gz"), "one person or two"),
    "people with an accent of their own": (
        ("sub-Zo\u00eb_task-rest_bold.nii.gz", "sub-Zoe\u0308_task-rest_bold.nii.gz"),
        "one person or two",
    ),
    "people in wide digits": (("sub-1_task-rest_bold.nii.gz", "sub-\uff11_task-rest_bold.nii.gz"), "one person or two"),
    "people of a site with other zeros": (
        ("sub-B07x1_task-rest_bold.nii.gz", "sub-B7x1_task-rest_bold.nii.gz"),
        "one person or two",
    ),
    "tasks in capitals": (("sub-1_task-rest_bold.nii.gz", "sub-2_task-REST_bold.nii.gz"), r"task \(REST, rest\)"),
    "SUB-": (("sub-1_task-rest_bold.nii.gz", "SUB-2_task-rest_bold.nii.gz"), "but for small and capital letters"),
    ".NII.GZ": (("sub-1_task-rest_bold.nii.gz", "sub-2_task-rest_bold.NII.GZ"), "but for small and capital letters"),
    "one person with and without session": (
        ("sub-01/func/sub-01_task-rest_bold.nii.gz", "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz"),
        "with and without ses- of one person",
    ),
    "two pipelines": (
        ("a/sub-01/func/sub-01_task-rest_bold.nii.gz", "b/sub-01/func/sub-01_task-rest_bold.nii.gz"),
        "1 recording with several files",
    ),
    "run-1 and run-01": (("sub-1_task-rest_run-1_bold.nii.gz", "sub-1_task-rest_run-01_bold.nii.gz"), "several files"),
    "words without hyphen": (("sub-1_rest_bold.nii.gz", "sub-1_nback_bold.nii.gz"), "several files"),
    "a smoothed copy": (
        ("sub-1_task-rest_desc-residual_bold.nii.gz", "sub-1_task-rest_desc-residual_smooth_bold.nii.gz"),
        "several files",
    ),
    "preprocessed and denoised": (
        ("f/sub-1_task-rest_desc-preproc_bold.nii.gz", "x/sub-1_task-rest_desc-denoised_bold.nii.gz"),
        r"desc \(denoised, preproc\)",
    ),
    "twins of a biobank visit": (
        tuple(f"{p}/fMRI/rfMRI.ica/filtered_func_data_clean.nii.gz" for p in ("1000018_20227_2_0", "1000018")),
        "1 recording with several files",
    ),
    "two high-pass versions of the Connectome Project": (
        tuple(f"100307/MNINonLinear/Results/rfMRI_REST1_LR/rfMRI_REST1_LR_hp{n}_clean.nii.gz" for n in (0, 2000)),
        "1 recording with several files",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_names_that_do_not_say_whose_scan_it_is_are_refused(tmp_path, case):
    names, words = REFUSED[case]
    touch(tmp_path, *names)
    if len(list(tmp_path.rglob("*.nii*")) + list(tmp_path.rglob("*.NII*"))) < len(names):
        pytest.skip("this disk does not tell capital letters")
    with pytest.raises(UserError, match=words):
        read(tmp_path)


def test_zeros_inside_a_number_tell_people_apart(tmp_path):
    touch(tmp_path, *(f"sub-{label}_task-rest_bold.nii.gz" for label in ("1", "10", "100", "1007", "17", "A10", "A1")))
    assert len(read(tmp_path)) == 7


def twin(folder: Path) -> None:
    touch(folder, f"sub-01/func/sub-01_task-rest_{MNI.removesuffix('.gz')}")


def linked_twin(folder: Path) -> None:
    """The file with .gz was not fetched."""
    whole = folder / f"sub-01/func/sub-01_task-rest_{MNI}"
    whole.unlink()
    whole.symlink_to("../../../annex/none")
    twin(folder)


def linked_folder(folder: Path) -> None:
    (folder / "again").mkdir()
    (folder / "again" / f"sub-01_task-rest_{MNI}").symlink_to(folder / f"sub-01/func/sub-01_task-rest_{MNI}")


def loop(folder: Path) -> None:
    (folder / "sub-01" / "loop").symlink_to(folder)


def prefixed(*prefixes: str) -> Callable[[Path], None]:
    return lambda folder: touch(folder, *(f"sub-01/func/{prefix}sub-01_task-rest_{MNI}" for prefix in prefixes))


HARMLESS: dict[str, tuple[Callable[[Path], None], str]] = {
    "SPM's copies": (prefixed("s6", "w", "swra"), "3 images whose names do not begin with sub-"),
    "resource forks and dot files": (prefixed("._", "."), "2 images whose names do not begin with sub-"),
    "dot folders": (lambda f: touch(f, f".trash/sub-01/func/sub-01_task-rest_{MNI}"), ""),
    "raw scans": (lambda f: touch(f, "raw/sub-09_task-rest_bold.nii.gz"), "1 raw scan .* 1 person without another"),
    "reference images and masks": (lambda f: touch(f, "sub-01/func/sub-01_task-rest_desc-coreg_boldref.nii.gz"), ""),
    "unfinished copies": (lambda f: touch(f, f"sub-01/func/sub-01_task-rest_{MNI}.part"), ""),
    "copies of browsers and of people": (
        lambda f: touch(f, f"a/sub-01_task-rest_{MNI[:-7]} (1).nii.gz", f"b/sub-02_task-rest_{MNI[:-7]}_smooth.nii.gz"),
        r"2 images whose names go on after bold \(_bold \(1\)\.nii\.gz, _bold_smooth\.nii\.gz\)",
    ),
    "no label": (lambda f: touch(f, "sub-_task-rest_bold.nii.gz"), ""),
    "surfaces": (lambda f: touch(f, "sub-01/func/sub-01_task-rest_hemi-L_space-fsaverage_bold.func.gii"), ""),
    "grayordinates": (
        lambda f: people(f, "space-fsLR_den-91k_bold.dtseries.nii"), r"files of the same people as 3 \.dtseries"
    ),
    "a twin without compression": (twin, r"1 scan stored as \.nii and as \.nii\.gz.*sub-01_task-rest"),
    "a second way to one file": (linked_folder, "1 scan reached by links on two ways"),
    "a loop of links": (loop, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", HARMLESS)
def test_other_files_are_left_alone_and_counted(tmp_path, capsys, case):
    people(tmp_path, MNI)
    change, words = HARMLESS[case]
    change(tmp_path)
    table = read(tmp_path)
    assert table.participant_id.tolist() == ["sub-01", "sub-02", "sub-03"]
    assert {path.name.partition("task-rest_")[2] for path in table.path} == {MNI}
    assert pd.Series([capsys.readouterr().out]).str.contains(words).all()


def test_links_that_point_nowhere_stay_scans_until_they_are_read(tmp_path, capsys):
    """Whoever was not fetched is quarantined and counted, not lost."""
    people(tmp_path, MNI)
    path = tmp_path / f"sub-02/func/sub-02_task-rest_{MNI}"
    path.unlink()
    path.symlink_to("../../.git/annex/objects/none")
    os.symlink("a", tmp_path / "b")  # a loop of two files
    os.symlink("b", tmp_path / "a")
    assert len(read(tmp_path)) == 3
    assert "1 scan cannot be read: links that point nowhere" in capsys.readouterr().out
    linked_twin(tmp_path)
    assert read(tmp_path).path[0].name.endswith("bold.nii")
    (tmp_path / f"sub-03/func/sub-03_task-rest_{MNI}").unlink()
    (tmp_path / f"sub-03/func/sub-03_task-rest_{MNI}").mkdir()  # a folder that is named like a scan
    assert len(read(tmp_path)) == 3
    assert "2 scans cannot be read" in capsys.readouterr().out


def test_a_folder_that_was_never_fetched_is_an_error(tmp_path):
    (tmp_path / "sub-01_task-rest_bold.nii.gz").symlink_to("none")
    with pytest.raises(UserError, match=r"none of 1 scan is a file.*datalad get"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("scan", "confounds"),
    [
        ("space-MNI_res-2_desc-preproc_bold.nii.gz", "desc-confounds_timeseries.tsv"),
        ("echo-1_part-mag_desc-preproc_bold.nii.gz", "desc-confounds_timeseries.tsv"),
        ("space-MNI_desc-preproc_bold.nii.gz", "desc-confounds_regressors.tsv"),
        ("space-MNIPediatricAsym_cohort-1_desc-preproc_bold.nii.gz", "desc-confounds_timeseries.tsv"),
        ("space-MNI_desc-denoised_bold.nii.gz", "motion.tsv"),
        ("space-fsLR_den-91k_desc-denoised_bold.dtseries.nii", "desc-filtered_motion.tsv"),
        ("space-MNI_seg-4S156Parcels_stat-mean_timeseries.tsv", "motion.tsv"),
    ],
)
def test_confounds_and_motion_belong_to_their_recording(tmp_path, scan, confounds):
    for run in ("1", "2"):
        start = f"sub-01/func/sub-01_task-rest_run-{run}_"
        touch(tmp_path, start + scan, start + confounds, start + "outliers.tsv")
    table = read(tmp_path)
    assert [path.name for path in table.confounds] == [f"sub-01_task-rest_run-{run}_{confounds}" for run in "12"]


def test_grayordinates_of_the_connectome_project(tmp_path):
    results = "100307/MNINonLinear/Results/rfMRI_REST1_LR/rfMRI_REST1_LR"
    touch(tmp_path, f"{results}_hp2000_clean.nii.gz", f"{results}_Atlas_MSMAll_hp2000_clean.dtseries.nii")
    assert [path.name for path in read(tmp_path).path] == ["rfMRI_REST1_LR_hp2000_clean.nii.gz"]
    dense = read(tmp_path, "dtseries")
    assert [path.name for path in dense.path] == ["rfMRI_REST1_LR_Atlas_MSMAll_hp2000_clean.dtseries.nii"]
    assert dense.session.tolist() == ["REST1_LR"]
    with pytest.raises(UserError, match="there are: nii, dtseries"):
        read(tmp_path, "ptseries")
    (tmp_path / f"{results}_hp2000_clean.nii.gz").unlink()
    assert len(read(tmp_path)) == 1
    touch(tmp_path, f"{results}_Atlas_hp2000_clean.dtseries.nii")
    with pytest.raises(UserError, match="1 recording with several files"):
        read(tmp_path)


def test_files_of_xcpd_are_one_scan_per_run(tmp_path, capsys):
    people(
        tmp_path,
        "space-MNI_res-2_desc-denoised_bold.nii.gz",
        "space-fsLR_den-91k_desc-denoised_bold.dtseries.nii",
        "space-MNI_seg-Glasser_stat-mean_timeseries.tsv",
        "space-MNI_seg-Glasser_stat-alff_bold.tsv",
        "space-fsLR_seg-Glasser_den-91k_stat-mean_timeseries.ptseries.nii",
        "space-MNI_stat-reho_boldmap.nii.gz",
        "outliers.tsv",
        "motion.tsv",
    )
    assert len(read(tmp_path)) == 3
    assert "layout of XCP-D" in capsys.readouterr().out
    for kind, end in (("dtseries", "dtseries.nii"), ("ptseries", "ptseries.nii"), ("tsv", "stat-mean_timeseries.tsv")):
        table = read(tmp_path, kind)
        assert len(table) == 3
        assert all(path.name.endswith(end) for path in table.path)
    with pytest.raises(UserError, match="choose=gifti"):
        read(tmp_path, "gifti")
