from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from genebrain.brain.encoders.build import build_encoder
from genebrain.brain.encoders.files import save_encoder
from genebrain.brain.encoders.published import SCAN_ENCODERS
from genebrain.brain.images.cleaning import Cleaning
from genebrain.brain.windows.policy import WindowPolicy
from genebrain.cohort.checks.scans import check_scans
from genebrain.cohort.tables.problems import Problems
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.scans import EncoderSide


def series(n_frames: int = 400, n_parcels: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_frames, n_parcels)).astype(np.float32)


class Scans:
    """Scans on disk and their table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, object]] = []

    def add(self, values: np.ndarray, tr: float = 0.8, person: str | None = None, session: str = "1") -> Path:
        path = self.folder / f"scan{len(self.rows)}.npy"
        np.save(path, values)
        self.row(path, tr, person, session)
        return path

    def row(self, path: Path, tr: float, person: str | None = None, session: str = "1") -> None:
        name = person or f"p{len(self.rows)}"
        self.rows.append({"participant_id": name, "session": session, "path": path, "tr": tr})

    def problems(self, most: int | None = None, needs_time_step: bool = False) -> Problems:
        problems = Problems()
        check_scans(pd.DataFrame(self.rows), problems, most=most, needs_time_step=needs_time_step)
        return problems

    def check(self, most: int | None = None) -> dict[str, dict[str, float]]:
        problems = self.problems(most)
        return {problem.kind: problem.counts for problem in problems}


@pytest.fixture
def scans(tmp_path: Path) -> Scans:
    made = Scans(tmp_path)
    for seed in range(4):
        made.add(series(seed=seed))
    return made


def test_good_scans_have_no_problem(scans):
    assert scans.check() == {}


def test_each_flaw_is_counted(scans):
    constant, gap = series(seed=5), series(seed=6)
    constant[:, 2] = 1.0
    gap[17, 3] = np.nan
    scans.add(constant)
    scans.add(gap)
    scans.add(series(100, seed=7))
    scans.add(series(seed=8), tr=np.nan)
    scans.add(series(seed=9), tr=0.0)
    scans.add(series(seed=10), tr=2.0)
    scans.add(series(n_parcels=7, seed=11))
    scans.add(series(seed=0))  # the values of scan 0 under another person
    scans.add(np.zeros((3, 3, 3)))
    found = scans.check()
    assert found["flawed parcels"] == {"scans": 2, "parcels": 2}
    assert found["short scans"] == {"scans": 1, "of": 13}
    assert found["mixed time steps"] == {"steps": 2}
    assert found["parcels differ"] == {"widths": 2}
    assert found["one scan, several people"] == {"people": 2, "scans": 1}
    assert found["unreadable scans"] == {"scans": 1, "of": 13}
    assert "time step" in found


def test_a_repeat_scan_of_one_person_is_no_duplicate_but_two_of_one_visit_are_named(scans):
    scans.add(series(seed=0), person="p0", session="2")
    assert scans.check() == {}
    scans.add(series(seed=20), person="p0", session="2")
    assert scans.check() == {"one visit twice": {"visits": 1}}


def test_a_sample_reads_headers_of_all_and_values_of_some(scans):
    for seed in range(10, 20):
        scans.add(series(seed=seed))
    problems = Problems()
    assert check_scans(pd.DataFrame(scans.rows), problems, most=3) == {"headers": 14, "values": 3}


def test_volumes_are_read_to_the_end(scans, tmp_path):
    random = np.random.default_rng(0)
    image = nib.Nifti1Image(random.normal(size=(8, 8, 8, 320)).astype(np.float32), np.eye(4))
    image.header.set_zooms((1, 1, 1, 0.8))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "whole.nii.gz")
    scans.row(tmp_path / "whole.nii.gz", np.nan)
    assert scans.check() == {}
    content = gzip.decompress((tmp_path / "whole.nii.gz").read_bytes())
    (tmp_path / "cut.nii").write_bytes(content[:-1000])
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "whole.nii.gz").read_bytes()[:-1000])
    scans.row(tmp_path / "cut.nii", 0.8)
    scans.row(tmp_path / "cut.nii.gz", 0.8)
    flat = nib.Nifti1Image(np.zeros((8, 8, 8), np.float32), np.eye(4))
    nib.save(flat, tmp_path / "three.nii")
    scans.row(tmp_path / "three.nii", 0.8)
    holes = np.asarray(image.dataobj).copy()
    holes[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(holes, np.eye(4), image.header), tmp_path / "holes.nii.gz")
    scans.row(tmp_path / "holes.nii.gz", np.nan)
    assert scans.check() == {
        "unreadable scans": {"scans": 2, "of": 9},  # a file that is smaller than its header says needs no reading
        "unreadable values": {"scans": 1, "of": 9},
        "non-finite voxels": {"scans": 1},
    }


def test_damage_that_only_shows_at_the_end_is_counted_among_those_read_to_the_end(scans):
    for seed in range(4, 12):
        scans.add(series(seed=seed))
    last = scans.folder / "cut.nii"  # its header is whole; evenly spaced scans include the last
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4, 400), np.float32), np.eye(4)), last)
    last.write_bytes(last.read_bytes()[:-1])
    scans.row(last, 0.8)
    (problem,) = [p for p in scans.problems(most=2) if p.kind == "unreadable values"]
    assert problem.counts == {"scans": 1, "of": 2}
    assert "1 of the 2 scans that were read to the end" in problem.message
    assert "of the 11 others only the header was read (most_scans=null reads all)" in problem.message


def test_an_unknown_time_step_forbids_only_what_needs_it(scans):
    scans.add(series(seed=4), tr=np.nan)
    (problem,) = scans.problems()
    assert problem in scans.problems().warnings
    assert "1 of 5 scans have no known time step" in problem.message
    assert [p.kind for p in scans.problems(needs_time_step=True).errors] == ["time step"]
    assert ConnectomeSide(cleaning=Cleaning(high_pass=0.01)).needs_time_step
    assert not ConnectomeSide().needs_time_step


@pytest.mark.parametrize("name", tuple(SCAN_ENCODERS))
def test_an_encoder_needs_the_time_step_that_it_was_trained_at_and_no_other(name, tmp_path):
    free = EncoderSide(name)
    assert not free.needs_time_step
    assert replace(free, windows=WindowPolicy(stride_seconds=10)).needs_time_step
    trained = build_encoder(free.settings, n_parcels=4, coordinates=np.eye(4, 3, dtype=np.float32), grid=(8, 8, 8))
    for step in (None, 0.8):
        trained.tr = step
        weights = save_encoder(trained, tmp_path / str(step))
        assert EncoderSide(name, str(weights)).needs_time_step == (step is not None)
    if free.settings.reads == "parcels":
        if free.settings.family.published:
            assert EncoderSide(name, size="published").needs_time_step
        assert replace(free, cleaning=Cleaning(low_pass=0.1)).needs_time_step
