"""The quality report: right numbers, no ids, all pictures, and honest gaps."""

from __future__ import annotations

import base64
import re
import stat
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from genebrain.brain.images.cleaning import Cleaning
from genebrain.brain.images.motion import framewise_displacement, motion_facts
from genebrain.brain.quality.numbers import scan_quality
from genebrain.brain.quality.page import write_scan_report
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.read_volumes import VolumeOptions
from genebrain.brain.store.scan_table import read_scan_table
from genebrain.brain.store.store import ScanStore, fill_store
from genebrain.cli import main
from genebrain.common.types import UserError

FRAMES = 60


@pytest.fixture
def cohort(tmp_path) -> Path:
    """Six people: five images with a four-label atlas and motion, one file that is damaged."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "cohort"
    folder.mkdir()
    labels = np.zeros((8, 8, 8), np.int16)
    for number, corner in enumerate([(1, 1), (1, 4), (4, 1), (4, 4)], start=1):
        labels[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3, 1:7] = number
    affine = np.diag([-3.0, 3, 3, 1])  # stored left to right reversed
    nib.save(nib.Nifti1Image(labels, affine), folder / "atlas.nii.gz")
    lines = ["participant_id\tpath\ttr\tconfounds"]
    for i in range(6):
        series = rng.normal(size=(4, FRAMES))
        data = np.zeros((8, 8, 8, FRAMES), np.int16)
        data[labels > 0] = np.rint(1000 + 20 * series[labels[labels > 0] - 1] + rng.normal(size=(216, FRAMES)))
        if i == 4:
            data[labels == 2] = 7  # constant: an invalid parcel
        nib.save(nib.Nifti1Image(data, affine), folder / f"secret{i}.nii.gz")
        displacement = ["n/a", *(0.1 * (i + 1) * np.ones(FRAMES - 1)).round(3).astype(str)]
        (folder / f"secret{i}.tsv").write_text("\n".join(["framewise_displacement", *displacement]))
        lines.append(f"person{i}\tsecret{i}.nii.gz\t{0.8 if i else 2.0}\tsecret{i}.tsv")
    (folder / "secret5.nii.gz").write_bytes(b"no image")
    (folder / "scans.tsv").write_text("\n".join(lines))
    return folder


def pictures(page: str) -> list[bytes]:
    return [base64.b64decode(text) for text in re.findall(r"data:image/png;base64,([^\"]+)", page)]


def test_the_folder_of_a_cohort_names_its_people_with_sub_and_its_store_without(cohort, tmp_path):
    table = read_scan_table(cohort / "scans.tsv")
    fill_store(table, tmp_path / "store", ReadingOptions(atlas=cohort / "atlas.nii.gz"), progress=False, jobs=1)
    named = table.assign(participant_id="sub-" + table.participant_id)
    assert scan_quality(tmp_path / "store", named).n_people == 6
    with pytest.raises(UserError, match="none of the scans"):
        scan_quality(tmp_path / "store", table.assign(participant_id="other-" + table.participant_id))


def test_report_of_parcels(cohort, tmp_path):
    table = read_scan_table(cohort / "scans.tsv")
    atlas = cohort / "atlas.nii.gz"
    fill_store(table, tmp_path / "store", ReadingOptions(atlas=atlas), progress=False, jobs=1)
    quality = scan_quality(tmp_path / "store", table, atlas)
    assert (quality.n_listed, quality.n_people, len(quality.scans)) == (6, 6, 5)
    assert list(quality.failed.values()) == [1]
    np.testing.assert_allclose(quality.coverage, [1, 0.8, 1, 1])
    np.testing.assert_allclose(quality.scans.mean_fd, [0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-4)
    np.testing.assert_allclose(quality.level, 1, atol=0.2)
    assert [c.name for c in quality.carpets] == ["least motion", "motion at 50% of the cohort", "most motion"]
    assert quality.carpets[0].seconds == 120
    assert np.nanmax(quality.carpets[2].displacement) == pytest.approx(0.5)
    assert len(quality.carpets[2].values) == 3  # the constant parcel has no row
    # Painted by the affine: parcel 3 (index 4.. along the reversed axis) lies on the left.
    assert (quality.labels[1, 2, 3], quality.labels[6, 2, 3]) == (3, 1)

    page_path = write_scan_report(tmp_path / "store", tmp_path / "out" / "scans.html", table=table, atlas=atlas)
    assert stat.S_IMODE(page_path.stat().st_mode) == 0o600
    page = page_path.read_text()
    assert "person" not in re.sub("naming a person|nothing here names a person", "", page)
    assert "secret" not in page
    assert "http" not in page
    assert "<script" not in page
    for text in (
        "5</b><span>of 6 scans",
        "1 scan could not be used",
        "2 different time steps",
        "1 of 4 parcels",
        " min</b><span>of recording",
    ):
        assert text in page
    assert len(pictures(page)) == 6
    assert all(picture.startswith(b"\x89PNG") for picture in pictures(page))


@pytest.mark.parametrize("kind", ["parcels", "volumes"])
def test_after_scrubbing_the_page_says_whose_motion_it_shows_and_who_lost_most_of_the_frames(cohort, tmp_path, kind):
    for i, moved in ((3, 20), (4, 45)):
        displacement = np.where(np.arange(1, FRAMES) <= moved, 3.0, 0.1).round(3).astype(str)
        (cohort / f"secret{i}.tsv").write_text("\n".join(["framewise_displacement", "n/a", *displacement]))
    table = read_scan_table(cohort / "scans.tsv")
    how = {"progress": False, "jobs": 1}
    if kind == "volumes":
        fill_store(table, tmp_path / "s", VolumeOptions(box=(8, 8, 8), fd_threshold=0.5, min_frames=1), **how)
    else:
        still = Cleaning(fd_threshold=0.5)
        fill_store(
            table, tmp_path / "s", ReadingOptions(atlas=cohort / "atlas.nii.gz", cleaning=still, min_frames=1), **how
        )
    page = write_scan_report(tmp_path / "s", tmp_path / "scans.html", table=table).read_text()
    assert "2 scans with a mean displacement above 0.5 mm" in page
    assert "frames above 0.5 mm are left out here" in page
    assert "1 scan lost more than 50% of the recorded frames" in page


def test_report_of_volumes_without_table_or_motion(cohort, tmp_path):
    table = read_scan_table(cohort / "scans.tsv").assign(confounds=None)
    fill_store(table, tmp_path / "store", VolumeOptions(box=(8, 8, 8)), progress=False, jobs=1)
    quality = scan_quality(tmp_path / "store")
    truth = np.asarray(nib.load(cohort / "atlas.nii.gz").dataobj)[::-1] > 0
    np.testing.assert_array_equal(quality.coverage >= 0.8, truth)
    assert quality.n_people is None
    assert not quality.level[~truth].any()
    assert quality.level[truth].std() > 0
    assert [c.name for c in quality.carpets] == ["example 1", "example 2", "example 3"]
    page = write_scan_report(tmp_path / "store", tmp_path / "scans.html").read_text()
    assert "Motion is unknown" in page
    assert len(pictures(page)) == 4


def test_the_verb_writes_the_page_beside_the_store(cohort, tmp_path, capsys):
    fill_store(
        read_scan_table(cohort / "scans.tsv"),
        tmp_path / "store" / "scans",
        ReadingOptions(atlas=cohort / "atlas.nii.gz"),
        progress=False,
        jobs=1,
    )
    arguments = [f"store={tmp_path}/store/scans", f"input={cohort}/scans.tsv", f"atlas={cohort}/atlas.nii.gz"]
    assert main(["scan-report", *arguments, "n_carpets=1"]) == 0
    page = tmp_path / "store" / "scans.html"
    assert f"wrote {page}" in capsys.readouterr().out
    assert len(pictures(page.read_text())) == 6
    assert main(["scan-report", f"store={tmp_path}/nothing"]) == 2
    assert "no finished scan store" in capsys.readouterr().err


def test_dropped_frames_are_gaps_in_the_carpet(tmp_path):
    series = np.random.default_rng(0).normal(size=(50, 6))
    series[[5, 6]] = np.nan
    np.save(tmp_path / "a.npy", series)
    (tmp_path / "scans.tsv").write_text("participant_id\tpath\ttr\n1\ta.npy\t2\n")
    table = read_scan_table(tmp_path / "scans.tsv")
    fill_store(table, tmp_path / "store", ReadingOptions(), progress=False)
    (carpet,) = scan_quality(tmp_path / "store", table).carpets
    assert np.isnan(carpet.values).all(axis=0).nonzero()[0].tolist() == [5, 6]
    assert carpet.values.shape == (6, 50)


def test_another_atlas_or_another_table_is_refused(cohort, tmp_path):
    table = read_scan_table(cohort / "scans.tsv")
    fill_store(table, tmp_path / "store", ReadingOptions(atlas=cohort / "atlas.nii.gz"), progress=False, jobs=1)
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.int16), np.eye(4)), tmp_path / "other.nii.gz")
    with pytest.raises(UserError, match="not the atlas that the store was filled with"):
        scan_quality(tmp_path / "store", table, tmp_path / "other.nii.gz")
    with pytest.raises(UserError, match="none of the scans of the table"):
        scan_quality(tmp_path / "store", table.assign(participant_id="somebody else"))


def test_reasons_that_differ_in_numbers_only_are_one(cohort, tmp_path):
    table = read_scan_table(cohort / "scans.tsv")
    for i, size in ((1, 900), (2, 1200)):
        path = cohort / f"secret{i}.nii.gz"
        path.write_bytes(path.read_bytes()[: size * 10])
    fill_store(table, tmp_path / "store", ReadingOptions(atlas=cohort / "atlas.nii.gz"), progress=False, jobs=1)
    assert sorted(scan_quality(tmp_path / "store", table).failed.values()) == [1, 2]


def test_motion_is_read_from_the_usual_columns_and_may_lack(tmp_path):
    path = tmp_path / "confounds.tsv"
    pd.DataFrame({"framewise_displacement": [np.nan, 0.2, 0.8]}).to_csv(path, sep="\t", na_rep="n/a")
    assert motion_facts(path) == {"mean_fd": 0.5, "moved": 0.5}
    path.write_text("trans_x\n1\n")
    assert framewise_displacement(path) is None
    assert motion_facts(None) == {}
    assert motion_facts(tmp_path / "none.tsv") == {}
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(40, 3)))
    (tmp_path / "scans.tsv").write_text("participant_id\tpath\n1\ta.npy\n")
    fill_store(read_scan_table(tmp_path / "scans.tsv"), tmp_path / "store", ReadingOptions(), progress=False)
    assert ScanStore(tmp_path / "store").index.mean_fd.isna().all()
