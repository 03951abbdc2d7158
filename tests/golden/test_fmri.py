"""Parcel series against nilearn's answers, read from the manifest of the golden folder."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from genebrain.brain.connectome.features import moments_from_store
from genebrain.brain.images.atlas import Atlas
from genebrain.brain.images.cleaning import Cleaning, clean
from genebrain.brain.images.nifti import open_image
from genebrain.brain.models.scaling import CohortScaling
from genebrain.brain.parcels.series import usable_part
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.read_volumes import VolumeOptions
from genebrain.brain.store.scan_table import read_scan_table, repetition_time
from genebrain.brain.store.store import ScanStore, fill_store
from genebrain.common.types import UserError
from tests.oracles.parcel_scaling import robust_scale
from tests.oracles.volume_scaling import normalise_volumes

FOLDER = Path(os.environ.get("GENEBRAIN_GOLDEN", Path(__file__).parent)) / "fmri"
MANIFEST: dict[str, Any] = (
    json.loads((FOLDER / "manifest.json").read_text()) if (FOLDER / "manifest.json").is_file() else {}
)
CASES: dict[str, dict[str, Any]] = {case["id"]: case for case in MANIFEST.get("cases", [])}
TOLERANCE = MANIFEST.get("tolerance", {})

pytestmark = pytest.mark.skipif(not MANIFEST, reason="no manifest in the golden folder")


def bold_of(case: dict[str, Any]) -> Path:
    if "bold_in_package" not in case:
        return FOLDER / case["bold"]
    package, _, inside = case["bold_in_package"].partition(": ")[2].partition("/")
    path = Path(str(resources.files(package))) / inside
    if not path.is_file():
        pytest.skip(f"{case['bold_in_package']} is not installed")
    return path


def parcel_series(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The project's answer to one masker case, and the label id of each column."""
    settings = dict(case["masker"])
    path = bold_of(case)
    scan = open_image(path)
    mask = settings.pop("mask_img", None)
    result = Atlas.load(FOLDER / case["atlas"]).extract(
        scan,
        strategy=settings.pop("strategy", "mean"),
        mask=FOLDER / mask if mask else None,
        largest_loss=0.2,
    )
    settings.pop("resampling_target", None)
    tr = settings.pop("t_r", MANIFEST["TR_s"])
    cleaning = Cleaning(load_confounds=case.get("load_confounds"), **settings)
    there = ~result.lost
    assert np.isnan(result.series[:, result.lost]).all()
    series, kept = clean(result.series[:, there], cleaning, tr=tr, scan=path)
    if "sample_mask" in case:
        assert kept.tolist() == case["sample_mask"]
    return series, result.label_ids[there]


def close(case: dict[str, Any], got: np.ndarray) -> None:
    expected = np.load(FOLDER / case["expected"])
    atol = case.get("atol", TOLERANCE.get("atol", 1e-5))
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE.get("rtol", 1e-5), atol=atol)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if "masker" in c])
def test_series_equal_nilearn(name):
    case = CASES[name]
    series, ids = parcel_series(case)
    close(case, series)
    if "columns_label_ids" in case:
        assert ids.tolist() == case["columns_label_ids"]
    scan = open_image(bold_of(case))
    plain = not any(case["masker"].get(k) for k in ("standardize", "detrend", "low_pass", "high_pass"))
    if plain and scan.slope == 1 and scan.header.get_data_dtype().kind in "iu":
        np.testing.assert_array_equal(series, np.load(FOLDER / case["expected"]))  # exact on integers


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if "from" in c])
def test_robust_scaling(name):
    case = CASES[name]
    series, _ = parcel_series(CASES[case["from"]])
    _, _, names = case["formula"].partition("training scans (")
    if names:
        training = names.partition(")")[0].split(", ")
        close(case, CohortScaling.fit(parcel_series(CASES[n])[0] for n in training).apply(series))
    else:
        close(case, robust_scale(series))


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if "target_shape" in c])
def test_normalised_volume(name):
    case = CASES[name]
    data = np.asarray(nib.load(bold_of(case)).dataobj)
    close(case, normalise_volumes(data, tuple(case["target_shape"]))[case["frame"]])


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if "target_shape" in c])
def test_normalised_volume_through_the_store(name, tmp_path):
    case = CASES[name]
    table = read_scan_table(FOLDER / "bids")
    own = [p.relative_to(FOLDER).as_posix() == case["bold"] for p in table.path]
    options = VolumeOptions(box=tuple(case["target_shape"]), mask="zeros", axes="RAS")
    fill_store(table[own], tmp_path / "store", options, jobs=1, progress=False)
    store = ScanStore(tmp_path / "store")
    (key,) = store.keys(table[own])
    close(case, store.read(key, case["frame"], case["frame"] + 1)[0])


def test_every_case_of_the_manifest_is_covered():
    kinds = ("masker", "from", "target_shape")
    assert [n for n, c in CASES.items() if sum(k in c for k in kinds) != 1] == []


@pytest.mark.skipif(not (FOLDER / "bids").is_dir(), reason="no BIDS tree in the golden folder")
def test_discovery_finds_the_scans_of_the_manifest():
    table = read_scan_table(FOLDER / "bids")
    assert {p.relative_to(FOLDER).as_posix() for p in table.path} == set(MANIFEST["bold"])
    assert (table.tr == MANIFEST["TR_s"]).all()
    assert all(Path(p).is_file() for p in [*table["mask"], *table["confounds"]])


@pytest.mark.skipif(not (FOLDER / "bids").is_dir(), reason="no BIDS tree in the golden folder")
def test_scrubbed_scans_go_through_the_store_with_their_gaps(tmp_path):
    case = next(c for c in CASES.values() if c.get("load_confounds", {}).get("fd_threshold"))
    table = read_scan_table(FOLDER / "bids")
    settings = dict(case["masker"])
    cleaning = Cleaning(load_confounds=case["load_confounds"], **settings)
    report = fill_store(
        table,
        tmp_path / "store",
        ReadingOptions(atlas=FOLDER / case["atlas"], cleaning=cleaning),
        jobs=1,
        progress=False,
    )
    assert report.n_stored == len(MANIFEST["bold"])
    assert report.n_with_gaps == len(MANIFEST["bold"])  # the first frame is dropped everywhere
    store = ScanStore(tmp_path / "store")
    keys = store.keys(table)
    row = [p.relative_to(FOLDER).as_posix() for p in table.path].index(case["bold"])
    assert store.frame_numbers(keys[row]).tolist() == case["sample_mask"]
    expected = np.load(FOLDER / case["expected"])
    np.testing.assert_allclose(store.read(keys[row]) * store.index.scale[keys[row]], expected, atol=5e-3)
    moments = moments_from_store(store, keys)
    unbroken = 1 + int((np.diff(case["sample_mask"]) > 1).sum())
    assert moments.frames[row].tolist() == [len(expected), len(expected) - unbroken]


def small_series(path: Path) -> np.ndarray:
    """Series of a broken input, as ingest would read it with a minimum of 5 frames."""
    scan = open_image(path)
    repetition_time(path, scan.header)
    atlas = next(c["atlas"] for c in CASES.values() if "atlas" in c)
    series = Atlas.load(FOLDER / atlas).extract(scan).series
    if len(series) < 5:
        raise UserError("too short")
    return series


@pytest.mark.parametrize("bad", MANIFEST.get("bad", []), ids=lambda b: Path(b["file"]).name)
def test_broken_inputs(bad):
    path, wanted = FOLDER / bad["file"], bad["expect"]
    if wanted.startswith("error"):
        with pytest.raises(UserError):
            small_series(path)
    elif wanted.startswith("TR read as"):
        assert repetition_time(path, open_image(path).header) == pytest.approx(float(wanted.split()[3]))
    elif "flagged invalid" in wanted:
        label = int(wanted.split()[1])
        atlas = Atlas.load(FOLDER / CASES["mean_int16"]["atlas"])
        got = usable_part(atlas.extract(open_image(path)).series)
        assert atlas.ids[~got.valid].tolist() == [label]
        assert np.isfinite(robust_scale(got.series)).all()
    elif wanted.startswith("value: NaN-aware mean"):
        words = wanted.replace(" at t=", " ").split()
        label, frame = int(words[words.index("label") + 1]), int(words[words.index("label") + 2])
        atlas = Atlas.load(FOLDER / CASES["mean_int16"]["atlas"])
        got = atlas.extract(open_image(path))
        column = atlas.ids.tolist().index(label)
        image = np.asarray(nib.load(path).dataobj, np.float64)
        expected = np.nanmean(image[atlas.labels == label, frame])
        np.testing.assert_allclose(got.series[frame, column], expected)
        assert got.missing_voxels.tolist() == [int(i == column) for i in range(len(atlas.ids))]
        assert np.isfinite(got.series).all()
    else:
        pytest.fail(f"the manifest wants something new of {bad['file']}: {wanted}")
