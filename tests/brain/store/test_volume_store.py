"""The store of volumes: masks, axes, box, scaling, what is dropped, and the same guarantees as for parcels."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from genebrain.brain.images.orientation import Turn
from genebrain.brain.images.volume_scaling import block_mean
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.read_volumes import VolumeOptions
from genebrain.brain.store.scan_table import read_scan_table
from genebrain.brain.store.store import ScanStore, fill_store
from genebrain.common.types import UserError
from tests.oracles.volume_scaling import normalise_volumes, scale_volumes

SHAPE, FRAMES = (9, 11, 8), 12
AFFINE = np.array([[3.0, 0, 0, -12], [0, 3, 0, -15], [0, 0, 3, -9], [0, 0, 0, 1]])


def brain_scan(seed: int = 0, base: float = 900.0) -> np.ndarray:
    """[X, Y, Z, T], an uneven ellipsoid on exact zeros, so that any flip shows."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    inside = ((grid - np.array([0.15, 0, 0.1]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 0.6
    anatomy = base + 200 * rng.random(SHAPE)
    data = anatomy[..., None] + rng.normal(0, 10, size=(*SHAPE, FRAMES))
    return np.rint(data * inside[..., None]).astype(np.int16)


class Folder:
    """Images and their table."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, ["participant_id\tpath\ttr\tmask"]
        path.mkdir()

    def add(self, name: str, data, affine=AFFINE, mask=None, edit=None) -> Folder:
        image = nib.Nifti1Image(data, affine)
        if edit:
            edit(image)
        nib.save(image, self.path / f"{name}.nii.gz")
        if mask is not None:
            nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), self.path / f"{name}_mask.nii.gz")
        self.rows.append(f"p{name}\t{name}.nii.gz\t0.735\t{'' if mask is None else f'{name}_mask.nii.gz'}")
        return self

    def table(self) -> pd.DataFrame:
        (self.path / "scans.tsv").write_text("\n".join(self.rows))
        return read_scan_table(self.path / "scans.tsv")


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path / "in")


def fill(table, out, *, short="error", jobs=1, min_frames=5, **options):
    options = {"box": SHAPE, **options}
    report = fill_store(
        table, out, VolumeOptions(min_frames=min_frames, **options), short=short, jobs=jobs, progress=False
    )
    store = ScanStore(out)
    return report, store, store.keys(table)


@pytest.mark.parametrize("method", ["z-norm", "minmax", "voxel"])
def test_stored_frames_are_the_published_scaling_of_the_whole_scan(folder, tmp_path, method):
    data = brain_scan()
    _, store, (key,) = fill(folder.add("a", data).table(), tmp_path / "store", normalisation=method)
    expected = scale_volumes(torch.from_numpy(data.astype(np.float64)), method).permute(3, 0, 1, 2).numpy()
    np.testing.assert_allclose(store.read(key), expected, atol=2e-3)
    np.testing.assert_allclose(normalise_volumes(data, SHAPE, method=method), expected, atol=2e-6)
    assert (store.kind, store.shape, store.settings["normalisation"]) == ("volumes", SHAPE, method)
    assert store.index.loc[key, ["n_frames", "tr", "recorded"]].tolist() == [FRAMES, 0.735, FRAMES]
    np.testing.assert_array_equal(store.read(key, 3, 7), store.read(key)[3:7])
    with pytest.raises(ValueError, match="no parcels"):
        store.valid(key)


def test_scans_are_scaled_before_they_are_rounded(folder, tmp_path):
    """At 30,000 the steps of float16 are 16 wide: raw values would be rounded to nothing."""
    data = brain_scan(base=30_000)
    _, store, (key,) = fill(folder.add("a", data).table(), tmp_path / "store", normalisation="voxel")
    voxel = data[4, 5, 4].astype(np.float64)
    assert np.corrcoef(store.read(key)[:, 4, 5, 4], voxel)[0, 1] > 0.99999


@pytest.mark.parametrize("axes", ["LAS", "PIR", "SLA", "RPI"])
def test_the_order_in_the_file_does_not_matter(folder, tmp_path, axes):
    data = brain_scan()
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(AFFINE), nib.orientations.axcodes2ornt(tuple(axes))
    )
    turned = nib.Nifti1Image(data, AFFINE).as_reoriented(turn)
    folder.add("a", data).add("b", np.asarray(turned.dataobj), turned.affine)
    _, store, (a, b) = fill(folder.table(), tmp_path / "store", box=(10, 12, 8))
    np.testing.assert_array_equal(store.read(a), store.read(b))
    assert store.index.stored_axes[b] == axes


def test_axes_can_be_those_that_weights_were_trained_with(folder, tmp_path):
    folder.add("a", brain_scan())
    _, ras, (a,) = fill(folder.table(), tmp_path / "ras")
    _, las, (b,) = fill(folder.table(), tmp_path / "las", axes="LAS")
    np.testing.assert_array_equal(las.read(b), ras.read(a)[:, ::-1])
    with pytest.raises(UserError, match="one letter of each"):
        VolumeOptions(axes="RLS")


def test_a_given_mask_decides_and_zeros_inside_it_count(folder, tmp_path):
    data = brain_scan()
    mask = np.zeros(SHAPE, bool)
    mask[2:7, 3:8, 2:6] = True
    data[4, 5, 4] = 0
    _, store, (key,) = fill(folder.add("a", data, mask=mask).table(), tmp_path / "store")
    values = data[mask].astype(np.float64)
    got = store.read(key)
    np.testing.assert_allclose(got[:, mask], ((values - values.mean()) / values.std(ddof=1)).T, atol=2e-3)
    assert (got[:, ~mask] == got.min()).all()
    assert store.index.loc[key, ["mask_source", "n_brain"]].tolist() == ["given", mask.sum()]


def test_without_mask_and_zeros_the_mask_is_computed_and_noted(folder, tmp_path):
    with_skull = brain_scan().astype(np.float32) + np.random.default_rng(1).uniform(1, 30, (*SHAPE, FRAMES))
    report, store, (key,) = fill(folder.add("a", with_skull.astype(np.float32)).table(), tmp_path / "store")
    truth = brain_scan().any(axis=3)
    stored = store.read(key)
    found = (stored != stored.min()).any(axis=0)
    assert (found & truth).sum() / (found | truth).sum() > 0.8
    assert store.index.mask_source[key] == "computed"
    assert any("computed" in note and n == 1 for note, n in report.notes.items())
    # Asked to take zeros, it does not look for anything else.
    report, _, _ = fill(folder.table(), tmp_path / "zeros", mask="zeros")
    assert report.notes == {}


def test_brain_is_not_cut_without_a_word(folder, tmp_path):
    data = np.zeros((*SHAPE, FRAMES), np.int16)
    data[:5, :6, :4] = brain_scan()[2:7, 3:9, 2:6]
    table = folder.add("a", data).table()
    with pytest.raises(UserError, match=r"brain voxels lie outside a box of 5 x 6 x 4 .*centre=brain would fit"):
        fill(table, tmp_path / "store", box=(5, 6, 4))
    _, store, (key,) = fill(table, tmp_path / "brain", box=(5, 6, 4), centre="brain")
    np.testing.assert_array_equal(
        store.read(key), fill(table, tmp_path / "all")[1].read(key_of(tmp_path / "all", table))[:, :5, :6, :4]
    )
    with pytest.raises(UserError, match="choose a larger box"):
        fill(table, tmp_path / "small", box=(3, 3, 3), centre="brain")
    report, store, (key,) = fill(table, tmp_path / "cut", box=(3, 3, 3), allow_cut=True)
    assert store.index.n_cut[key] > 0
    assert report.notes == {"brain voxels were cut off by the box": 1}


def key_of(folder, table):
    return ScanStore(folder).keys(table)[0]


def test_coarser_grid_is_the_block_mean_of_brain_voxels(folder, tmp_path):
    data = brain_scan()
    _, store, (key,) = fill(folder.add("a", data).table(), tmp_path / "store", downsample=2, box=(5, 6, 4))
    frames = [block_mean(f.astype(np.float64), f != 0, 2) for f in np.moveaxis(data, 3, 0)]
    assert frames[0][0].shape == (5, 6, 4)
    values = np.concatenate([frame[inside] for frame, inside in frames])
    expected = [(frame - values.mean()) / values.std(ddof=1) for frame, _ in frames]
    for got, want, (_, inside) in zip(store.read(key), expected, frames, strict=True):
        np.testing.assert_allclose(got[inside], want[inside], atol=2e-3)


def test_block_mean_leaves_background_out():
    frame = np.zeros((4, 4, 4))
    frame[:2, :2, :2] = 10
    frame[0, 0, 0] = 0  # seven of eight voxels
    frame[2, 2, 2] = 99  # one of eight
    coarse, inside = block_mean(frame, frame != 0, 2)
    assert coarse[0, 0, 0] == 10
    assert inside.sum() == 1
    same, _ = block_mean(frame, frame != 0, 1)
    np.testing.assert_array_equal(same, frame)
    assert block_mean(np.ones((5, 4, 7)), np.ones((5, 4, 7), bool), 3)[0].shape == (2, 2, 3)


def test_slope_and_intercept_are_applied(folder, tmp_path):
    data = brain_scan()

    def slope(image):
        image.header.set_slope_inter(0.5, 0)

    folder.add("a", data).add("b", data)
    nib.save(nib.Nifti1Image(data * 0.5, AFFINE), folder.path / "b.nii.gz")
    _, store, (a, b) = fill(folder.table(), tmp_path / "store")
    np.testing.assert_allclose(store.read(a), store.read(b), atol=2e-3)


def test_frames_and_voxels_without_values_are_dropped_and_counted(folder, tmp_path):
    data = brain_scan().astype(np.float32)
    data[..., 4] = np.nan
    data[..., 7] = 0
    data[4, 5, 4, 2] = np.nan
    report, store, (key,) = fill(folder.add("a", data).table(), tmp_path / "store")
    assert store.frame_numbers(key).tolist() == [0, 1, 2, 3, 5, 6, 8, 9, 10, 11]
    assert store.index.missing_voxels[key] == 1
    got = store.read(key)
    assert np.isfinite(got).all()
    assert (got[:, 4, 5, 4] == got.min()).all()
    assert (report.n_with_gaps, list(report.notes.values())) == (1, [1])
    clean = data.copy()[..., store.frame_numbers(key)]
    clean[4, 5, 4] = 0
    np.testing.assert_allclose(got, normalise_volumes(clean, SHAPE), atol=2e-3)


def test_bad_scans_go_to_quarantine_and_the_rest_is_stored(folder, tmp_path):
    data = brain_scan()
    for name in "abcdef":
        folder.add(name, data)
    path = folder.path
    nib.save(nib.Nifti1Image(data[..., 0], AFFINE), path / "b.nii.gz")
    (path / "c.nii.gz").write_bytes((path / "c.nii.gz").read_bytes()[:-3000])
    nib.save(nib.Nifti1Image(np.zeros_like(data), AFFINE), path / "d.nii.gz")
    nib.save(nib.Nifti1Image(data[..., :3], AFFINE), path / "e.nii.gz")
    many = data.astype(np.float32)
    many[4:6, 4:7, 3:5, 1] = np.nan
    nib.save(nib.Nifti1Image(many, AFFINE), path / "f.nii.gz")
    report, store, keys = fill(folder.table(), tmp_path / "store", short="skip")
    assert [key is not None for key in keys] == [True] + [False] * 5
    reasons = [entry["reason"] for entry in report.quarantine]
    for reason, part in zip(
        reasons, ["four axes", "cannot be read beyond", "values that differ", "not always finite"], strict=True
    ):
        assert part in reason
    assert [entry["reason"] for entry in report.short] == ["fewer than 5 frames"]
    np.testing.assert_allclose(store.read(keys[0]), normalise_volumes(data, SHAPE), atol=2e-3)
    left = {p.name for p in (tmp_path / "store").rglob(".*") if p.is_file()}
    assert left <= {".used"}  # nothing half-written is left


def test_parcel_tables_and_wrong_settings_are_refused(folder, tmp_path):
    np.save(folder.path / "x.npy", np.zeros((40, 5)))
    folder.rows.append("px\tx.npy\t1\t")
    with pytest.raises(UserError, match="table of parcel series"):
        fill(folder.table(), tmp_path / "store")
    with pytest.raises(UserError, match=r"box=\[1, 2\].*normalisation=none.*downsample=0"):
        VolumeOptions(box=(1, 2), normalisation="none", downsample=0)


def test_two_processes_resumption_and_privacy(folder, tmp_path):
    for seed in range(4):
        folder.add(f"person{seed}", brain_scan(seed))
    table = folder.table()
    _, one, keys = fill(table, tmp_path / "one")
    _, two, others = fill(table, tmp_path / "two", jobs=2)
    for a, b in zip(keys, others, strict=True):
        np.testing.assert_array_equal(one.read(a), two.read(b))
    # One array is lost: only that scan is read again.
    before = {key: (tmp_path / "one" / key[:2] / f"{key}.npy").stat().st_mtime_ns for key in keys[1:]}
    (tmp_path / "one" / keys[0][:2] / f"{keys[0]}.npy").unlink()
    report, again, _ = fill(table, tmp_path / "one")
    assert (report.n_stored, report.n_reused) == (4, 3)
    assert {key: (tmp_path / "one" / key[:2] / f"{key}.npy").stat().st_mtime_ns for key in keys[1:]} == before
    assert again.verify() == []
    for path in (p for p in (tmp_path / "one").rglob("*") if p.is_file()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"person" not in path.read_bytes()
    with pytest.raises(UserError, match=r"other settings .*box"):
        fill(table, tmp_path / "one", box=(12, 12, 12))
    with pytest.raises(UserError, match=r"other settings .*kind"):
        fill_store(table, tmp_path / "one", ReadingOptions(), progress=False)
    provenance = json.loads((tmp_path / "one" / "provenance.json").read_text())
    assert provenance["report"]["shape"] == list(SHAPE)
    assert provenance["settings"]["order"][-1] == "float16"


def test_a_tilted_scan_is_told():
    angle = np.radians(20)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn = Turn.between(affine)
    assert (turn.stored, round(turn.tilt)) == ("RAS", 20)
    assert Turn.between(AFFINE).tilt == 0


def test_a_real_scan_becomes_volumes(tmp_path):
    """nibabel's functional.nii: int16 with a slope, stored left to right reversed, no zeros, three slices."""
    path = Path(nib.__file__).parent / "tests" / "data" / "functional.nii"
    if not path.is_file():
        pytest.skip("this build of nibabel has no test data")
    table = pd.DataFrame(
        [{"participant_id": "real", "session": "", "path": path, "tr": np.nan, "mask": None, "confounds": None}]
    )
    report, store, (key,) = fill(table, tmp_path / "store", box=(24, 24, 8))
    image = nib.load(path)
    assert report.time_steps == {f"{image.header.get_zooms()[3]:g}": 1}
    assert store.index.loc[key, ["stored_axes", "mask_source", "n_frames"]].tolist() == [
        "LAS",
        "computed",
        image.shape[3],
    ]
    got = store.read(key)
    assert 0.2 < (got != got.min()).any(axis=0).sum() / np.prod(image.shape[:3]) < 0.95
    # Flipped by the affine, centred, an affine function of the values inside the mask.
    mean = np.asarray(image.dataobj)[::-1].mean(axis=3)
    stored = got.mean(axis=0)[3:20, 1:22, 2:5]
    inside = (got != got.min()).any(axis=0)[3:20, 1:22, 2:5]
    assert np.corrcoef(mean[inside], stored[inside])[0, 1] > 0.9999
