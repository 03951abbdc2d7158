"""Every way in which a scan can be broken or odd, through the store of parcels and the store of volumes.

A scan is either stored with the right values or in quarantine with a reason that says what to do; a good scan beside it
is stored in any case.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.read_volumes import VolumeOptions
from genebrain.brain.store.scan_table import read_scan_table
from genebrain.brain.store.store import IngestReport, ScanStore, fill_store
from genebrain.common.types import UserError

SHAPE, FRAMES, N_LABELS = (8, 9, 7), 40, 24
AFFINE = np.array([[3.0, 0, 0, -12], [0, 3, 0, -13], [0, 0, 3, -9], [0, 0, 0, 1]])
Change = Callable[[nib.Nifti1Image], nib.Nifti1Image]


def labels() -> np.ndarray:
    image = np.zeros(SHAPE, np.int16)
    inside = np.zeros(SHAPE, bool)
    inside[1:7, 1:7, 1:6] = True
    image[inside] = 1 + np.arange(inside.sum()) * N_LABELS // inside.sum()
    image[image > 12] += 300  # ids above 256 and a gap between them
    return image


def scan(dtype: Any = np.int16) -> nib.Nifti1Image:
    rng = np.random.default_rng(0)
    ids = labels()
    columns = np.searchsorted(np.unique(ids[ids > 0]), ids)
    series = rng.normal(0, 30, size=(N_LABELS + 1, FRAMES))
    data = 1000 + series[np.minimum(columns, N_LABELS)] + rng.normal(0, 10, size=(*SHAPE, FRAMES))
    data = np.rint(data * (ids > 0)[..., None])
    image = nib.Nifti1Image(data.astype(dtype), AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((3, 3, 3, 0.8))
    return image


def with_data(image: nib.Nifti1Image, data: np.ndarray) -> nib.Nifti1Image:
    made = nib.Nifti1Image(data, image.affine, image.header)
    made.set_data_dtype(data.dtype)
    return made


def header(**fields: Any) -> Change:
    def change(image: nib.Nifti1Image) -> nib.Nifti1Image:
        if "unit" in fields:
            image.header.set_xyzt_units("mm", fields["unit"])
        if "tr" in fields:
            image.header["pixdim"][4] = fields["tr"]
        return image

    return change


def turned(axes: str) -> Change:
    own = nib.orientations.io_orientation(AFFINE)
    return lambda image: image.as_reoriented(
        nib.orientations.ornt_transform(own, nib.orientations.axcodes2ornt(tuple(axes)))
    )


def voxels(value: float, *where: Any) -> Change:
    def change(image: nib.Nifti1Image) -> nib.Nifti1Image:
        data = np.asarray(image.dataobj).astype(np.float32)
        data[where] = value
        return with_data(image, data)

    return change


def no_affine(image: nib.Nifti1Image) -> nib.Nifti1Image:
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    image.header["sform_code"] = image.header["qform_code"] = 0
    return nib.Nifti1Image(image.dataobj, None, image.header)


def moved(image: nib.Nifti1Image) -> nib.Nifti1Image:
    affine = AFFINE.copy()
    affine[0, 3] = 400
    return nib.Nifti1Image(np.asarray(image.dataobj), affine, image.header)


def scaled(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """The same values, as smaller integers with a slope."""
    made = nib.Nifti1Image(np.asarray(image.dataobj) * 0.25, image.affine, image.header)
    made.set_data_dtype(np.int16)
    return made


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.7)])


class Case:
    """A change to a good image, and what each store says: None (stored as if it were good) or a part of a reason."""

    def __init__(
        self, change: Change | None, parcels: str | None, volumes: str | None, *, file: Any = None, suffix=".nii.gz"
    ) -> None:
        self.change, self.parcels, self.volumes, self.file, self.suffix = change, parcels, volumes, file, suffix


def both(change: Change | None, reason: str | None, **more: Any) -> Case:
    return Case(change, reason, reason, **more)


CASES = {
    "stored LAS": both(turned("LAS"), None),
    "stored PIR": both(turned("PIR"), None),
    "int16 with a slope": both(scaled, None),
    "float64": both(lambda image: with_data(image, np.asarray(image.dataobj).astype(np.float64)), None),
    "big endian": both(lambda image: nib.Nifti1Image(image.dataobj, None, image.header.as_byteswapped(">")), None),
    "uncompressed": both(None, None, suffix=".nii"),
    "fifth axis of length 1": both(lambda image: with_data(image, np.asarray(image.dataobj)[..., None]), None),
    "time step in milliseconds": both(header(unit="msec", tr=800), None),
    "time step in microseconds": both(header(unit="usec", tr=800_000), None),
    "three axes": both(lambda image: with_data(image, np.asarray(image.dataobj)[..., 0]), "four axes"),
    "five axes": both(lambda image: with_data(image, np.stack([np.asarray(image.dataobj)] * 2, 4)), "four axes"),
    "complex numbers": both(lambda image: nib.Nifti1Image(np.asarray(image.dataobj) * 1j, AFFINE), "real numbers"),
    "no affine": both(no_affine, "no affine"),
    "truncated, compressed": both(None, "cut or damaged", file=cut),
    "truncated": both(None, "cut or damaged", file=cut, suffix=".nii"),
    "not gzip": both(None, "not a readable NIfTI", file=lambda path: path.write_bytes(b"no image at all" * 50)),
    "empty file": both(None, "not a readable NIfTI", file=lambda path: path.write_bytes(b"")),
    "text instead of an image": both(
        None, "not a readable NIfTI", file=lambda path: path.write_text("x\t1\n" * 200), suffix=".nii"
    ),
    "time step 0": both(header(tr=0), "time step of the image header is 0 s"),
    "time step 735 without unit": both(header(unit="unknown", tr=735), "at most 10 s"),
    "time step that nobody set": both(header(unit="unknown", tr=1.0), "1.0 of unknown unit"),
    "outside of the atlas": Case(moved, "do not overlap", None),
    "nothing but zeros": both(lambda image: with_data(image, np.zeros_like(np.asarray(image.dataobj))), ""),
    "nothing but NaN": both(voxels(np.nan, ...), ""),
}


def store_both(folder: Path, work: Path) -> dict[str, tuple[IngestReport, ScanStore, list[str | None]]]:
    table = read_scan_table(folder / "scans.tsv")
    options = {
        "parcels": ReadingOptions(atlas=folder / "atlas.nii.gz", min_frames=20),
        "volumes": VolumeOptions(box=(8, 9, 7), mask="zeros", min_frames=20),
    }
    made = {}
    for kind, one in options.items():
        report = fill_store(table, work / kind, one, short="skip", jobs=1, progress=False)
        store = ScanStore(work / kind)
        made[kind] = (report, store, store.keys(table))
    return made


def write(folder: Path, *names: str) -> None:
    nib.save(nib.Nifti1Image(labels(), AFFINE), folder / "atlas.nii.gz")
    rows = [f"person{i}\t{name}" for i, name in enumerate(names)]
    (folder / "scans.tsv").write_text("\n".join(["participant_id\tpath", *rows]))


@pytest.mark.parametrize("name", CASES)
def test_odd_scans_are_stored_right_or_refused_with_a_reason(name, tmp_path):
    case = CASES[name]
    nib.save(scan(), tmp_path / "good.nii.gz")
    image = scan() if case.change is None else case.change(scan())
    path = tmp_path / f"odd{case.suffix}"
    nib.save(image, path)
    if case.file:
        case.file(path)
    write(tmp_path, "good.nii.gz", path.name)
    for kind, (report, store, (good, odd)) in store_both(tmp_path, tmp_path).items():
        reason = getattr(case, kind)
        if reason is None:
            assert report.quarantine == []
            atol = 0.02 if name == "int16 with a slope" else 0
            np.testing.assert_allclose(store.read(odd), store.read(good), atol=atol)
            assert store.index.tr[odd] == pytest.approx(0.8)
        else:
            assert odd is None
            (entry,) = report.quarantine
            assert entry["row"] == 1
            assert reason in entry["reason"]
            assert "odd" not in entry["reason"]  # no file names
        assert good is not None
        assert np.isfinite(store.read(good)).all()


def test_one_nan_voxel_does_not_pull_its_parcel_down_and_is_counted(tmp_path):
    nib.save(scan(), tmp_path / "good.nii.gz")
    nib.save(voxels(np.nan, 3, 3, 3, 7)(scan()), tmp_path / "odd.nii.gz")
    write(tmp_path, "good.nii.gz", "odd.nii.gz")
    made = store_both(tmp_path, tmp_path)
    _, store, (good, odd) = made["parcels"]
    assert store.index.missing_voxels[[good, odd]].tolist() == [0, 1]
    difference = store.read(odd) * store.index.scale[odd] - store.read(good) * store.index.scale[good]
    assert np.abs(difference).max() < 6  # as a zero it would cost 1000 / 8 voxels
    _, store, (good, odd) = made["volumes"]
    assert store.index.missing_voxels[[good, odd]].tolist() == [0, 1]
    others = np.ones(SHAPE, bool)
    others[3, 3, 3] = False
    np.testing.assert_allclose(store.read(odd)[:, others], store.read(good)[:, others], atol=0.02)


def test_volumes_with_too_many_voxels_missing_are_refused_and_a_missing_frame_is_dropped(tmp_path):
    nib.save(scan(), tmp_path / "good.nii.gz")
    nib.save(voxels(np.nan, slice(2, 6), slice(2, 6), slice(2, 5), 3)(scan()), tmp_path / "hole.nii.gz")
    nib.save(voxels(np.nan, ..., 3)(scan()), tmp_path / "frame.nii.gz")
    write(tmp_path, "good.nii.gz", "hole.nii.gz", "frame.nii.gz")
    made = store_both(tmp_path, tmp_path)
    report, store, (_, hole, frame) = made["volumes"]
    assert hole is None
    assert "48 of 180 brain voxels are not always finite" in report.quarantine[0]["reason"]
    assert 3 not in store.frame_numbers(frame)
    _, store, (_, hole, frame) = made["parcels"]
    assert store.index.missing_voxels[hole] == 48  # counted; each parcel still has voxels in that frame
    assert store.index.n_frames[frame] == FRAMES - 1


def frames(change: Callable[[np.ndarray], object]) -> Callable[[nib.Nifti1Image], nib.Nifti1Image]:
    def changed(image: nib.Nifti1Image) -> nib.Nifti1Image:
        values = np.array(image.dataobj)
        change(values)
        return with_data(image, values)

    return changed


NOT_MEASURED = {
    "censored frames set to zero": (lambda v: v.__setitem__((..., [3, 8]), 0), [3, 8]),
    "zeros at the end": (lambda v: v.__setitem__((..., slice(-5, None)), 0), list(range(FRAMES - 5, FRAMES))),
    "one value everywhere": (lambda v: v.__setitem__((..., 6), 700), [6]),
    "the last frame again": (
        lambda v: v.__setitem__((..., slice(-4, None)), v[..., [-5]]),
        [*range(FRAMES - 4, FRAMES)],
    ),
    "a frame twice": (lambda v: v.__setitem__((..., 9), v[..., 8]), [9]),
}


@pytest.mark.parametrize("name", NOT_MEASURED)
def test_frames_that_were_not_measured_are_dropped_and_counted(name, tmp_path):
    change, gone = NOT_MEASURED[name]
    nib.save(frames(change)(scan()), tmp_path / "odd.nii.gz")
    write(tmp_path, "odd.nii.gz")
    for report, store, (key,) in store_both(tmp_path, tmp_path).values():
        assert report.quarantine == []
        assert np.setdiff1d(np.arange(FRAMES), store.frame_numbers(key)).tolist() == gone
        assert report.n_dropped == len(gone)


def test_a_constant_parcel_is_masked_and_nothing_becomes_infinite(tmp_path):
    nib.save(voxels(500, labels() == 3)(scan()), tmp_path / "odd.nii.gz")
    write(tmp_path, "odd.nii.gz")
    _, store, (key,) = store_both(tmp_path, tmp_path)["parcels"]
    assert np.flatnonzero(~store.valid(key)).tolist() == [2]
    assert np.isfinite(store.read(key)).all()


def test_vanished_labels_keep_the_width_and_too_many_are_refused(tmp_path):
    image = labels()
    image[image == 5] = 0  # one of 24 labels: below 5 %
    grid = nib.Nifti1Image(np.asarray(scan().dataobj), AFFINE, scan().header)
    nib.save(grid, tmp_path / "odd.nii.gz")
    mask = (image > 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(mask, AFFINE), tmp_path / "mask.nii.gz")
    write(tmp_path, "odd.nii.gz")
    (tmp_path / "scans.tsv").write_text("participant_id\tpath\tmask\np\todd.nii.gz\tmask.nii.gz\n")
    table = read_scan_table(tmp_path / "scans.tsv")
    options = ReadingOptions(atlas=tmp_path / "atlas.nii.gz", use_masks=True)
    fill_store(table, tmp_path / "store", options, jobs=1, progress=False)
    store = ScanStore(tmp_path / "store")
    (key,) = store.keys(table)
    assert store.read(key).shape[1] == N_LABELS
    assert np.flatnonzero(~store.valid(key)).tolist() == [4]
    assert store.index.n_lost[key] == 1
    mask[(image > 0) & (image < 4)] = 0
    nib.save(nib.Nifti1Image(mask, AFFINE), tmp_path / "mask.nii.gz")
    with pytest.raises(UserError, match=r"4 of 24 labels have no voxel.*at most 5%"):
        fill_store(table, tmp_path / "other", options, jobs=1, progress=False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda values: values + 0.4 * (values > 0), "without a whole number"),
        (lambda values: -values, "without a whole number"),
        (lambda values: values * 0, "no label above 0"),
    ],
    ids=["interpolated", "negative", "empty"],
)
def test_atlases_that_are_none_are_refused(tmp_path, change, reason):
    nib.save(scan(), tmp_path / "good.nii.gz")
    write(tmp_path, "good.nii.gz")
    nib.save(nib.Nifti1Image(change(labels().astype(np.float32)), AFFINE), tmp_path / "atlas.nii.gz")
    with pytest.raises(UserError, match=reason):
        store_both(tmp_path, tmp_path)


def test_float_atlas_on_another_grid_gives_the_same_series(tmp_path):
    """Labels stored as float32, on a grid of half the voxel size: brought over by the affines."""
    nib.save(scan(), tmp_path / "good.nii.gz")
    write(tmp_path, "good.nii.gz")
    _, store, (key,) = store_both(tmp_path, tmp_path / "a")["parcels"]
    fine = np.repeat(np.repeat(np.repeat(labels(), 2, 0), 2, 1), 2, 2).astype(np.float32)
    affine = AFFINE @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 0.5, -0.25], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(fine, affine), tmp_path / "atlas.nii.gz")
    _, other, (again,) = store_both(tmp_path, tmp_path / "b")["parcels"]
    np.testing.assert_array_equal(other.read(again), store.read(key))


def test_mixed_short_and_endless_scans(tmp_path):
    image = scan()
    for name, tr, n in (("a", 0.8, FRAMES), ("b", 2.5, FRAMES), ("c", 0.8, 10)):
        one = nib.Nifti1Image(np.asarray(image.dataobj)[..., :n], AFFINE, image.header)
        one.header["pixdim"][4] = tr
        nib.save(one, tmp_path / f"{name}.nii.gz")
    write(tmp_path, "a.nii.gz", "b.nii.gz", "c.nii.gz")
    for report, _, keys in store_both(tmp_path, tmp_path).values():
        assert report.time_steps == {"0.8": 1, "2.5": 1}
        assert report.summary()["mixed_time_steps"]
        assert [key is None for key in keys] == [False, False, True]
        assert [entry["row"] for entry in report.short] == [2]
    # 1,500 frames of 9 s: a wrong time step, not four hours in a scanner.
    np.save(tmp_path / "long.npy", np.random.default_rng(0).normal(size=(1500, 4)))
    (tmp_path / "long.tsv").write_text("participant_id\tpath\ttr\np\tlong.npy\t9\n")
    with pytest.raises(UserError, match=r"would be 3\.8 hours: the time step is wrong"):
        fill_store(read_scan_table(tmp_path / "long.tsv"), tmp_path / "long", ReadingOptions(), progress=False)


GOLDEN = Path(os.environ.get("GENEBRAIN_GOLDEN", Path(__file__).parents[2] / "golden")) / "fmri"
BAD = json.loads((GOLDEN / "manifest.json").read_text())["bad"] if (GOLDEN / "manifest.json").is_file() else []
FINE_AS_VOLUMES = {"constant", "outside"}  # what is wrong there is about an atlas


@pytest.mark.skipif(not BAD, reason="no broken scans in the golden folder")
def test_broken_scans_of_the_golden_folder_never_harm_a_good_one(tmp_path):
    manifest = json.loads((GOLDEN / "manifest.json").read_text())
    rows = [f"good\t{GOLDEN / manifest['bold'][0]}"]
    rows += [f"bad{i}\t{GOLDEN / bad['file']}" for i, bad in enumerate(BAD)]
    (tmp_path / "scans.tsv").write_text("\n".join(["participant_id\tpath", *rows]))
    table = read_scan_table(tmp_path / "scans.tsv")
    atlas = next(GOLDEN / case["atlas"] for case in manifest["cases"] if "atlas" in case)
    for kind, options in {
        "parcels": ReadingOptions(atlas=atlas, min_frames=5),
        "volumes": VolumeOptions(box=(20, 20, 20), mask="zeros", min_frames=5, allow_cut=True),
    }.items():
        report = fill_store(table, tmp_path / kind, options, short="skip", jobs=1, progress=False)
        good, *bad = ScanStore(tmp_path / kind).keys(table)
        assert good is not None
        assert report.n_stored + len(report.quarantine) + len(report.short) == len(table)
        for key, entry in zip(bad, BAD, strict=True):
            refused = entry["expect"].startswith("error") and "squeeze" not in entry["expect"]
            if kind == "volumes" and Path(entry["file"]).name.split("_")[0] in FINE_AS_VOLUMES:
                refused = False
            assert (key is None) == refused or "squeeze" in entry["expect"], (kind, entry)
