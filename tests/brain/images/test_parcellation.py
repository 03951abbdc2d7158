"""Parcellation by affines, bounded memory, honest failures; nilearn is the reference."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nilearn.maskers import NiftiLabelsMasker

from genebrain.brain.images import atlas as parcellation
from genebrain.brain.images.atlas import Atlas
from genebrain.brain.images.nifti import open_image
from genebrain.common.types import UserError

AFFINE = np.array([[3.0, 0, 0, -15], [0, 3, 0, -18], [0, 0, 3, -12], [0, 0, 0, 1]])


def save(path, data, affine=AFFINE):
    image = nib.Nifti1Image(data, affine)
    image.header.set_zooms((*image.header.get_zooms()[:3], *([0.8] * (data.ndim - 3))))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


@pytest.fixture
def scan(tmp_path):
    data = np.random.default_rng(0).integers(500, 1500, size=(10, 12, 8, 15)).astype(np.int16)
    return save(tmp_path / "scan.nii.gz", data)


@pytest.fixture
def labels() -> np.ndarray:
    coarse = np.random.default_rng(1).integers(0, 9, size=(5, 6, 4))
    coarse[coarse == 4] = 300  # a gap in the ids, and an id beyond one byte
    return np.kron(coarse, np.ones((2, 2, 2), int)).astype(np.int16)


@pytest.fixture
def atlas(tmp_path, labels):
    return save(tmp_path / "atlas.nii.gz", labels)


def flipped(path, axis: int):
    """The same image stored the other way round along one axis, with the affine that says so."""
    image = nib.load(path)
    flip = np.eye(4)
    flip[axis, axis], flip[axis, 3] = -1, image.shape[axis] - 1
    new = path.with_name(f"flip{axis}_{path.name}")
    nib.save(nib.Nifti1Image(np.flip(np.asarray(image.dataobj), axis), image.affine @ flip), new)
    return new


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_storage_order_does_not_matter(scan, atlas, axis):
    plain = Atlas.load(atlas).extract(open_image(scan)).series
    for a, s in [(flipped(atlas, axis), scan), (atlas, flipped(scan, axis))]:
        np.testing.assert_array_equal(Atlas.load(a).extract(open_image(s)).series, plain)


@pytest.mark.parametrize("strategy", ["mean", "median"])
@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32, np.float64, ">i2"])
def test_equal_to_nilearn_for_every_stored_type(tmp_path, atlas, kind, strategy):
    data = np.random.default_rng(2).integers(0, 250, size=(10, 12, 8, 6)).astype(kind)
    path = save(tmp_path / "scan.nii", data)
    expected = NiftiLabelsMasker(atlas, strategy=strategy, standardize=None).fit_transform(str(path))
    got = Atlas.load(atlas).extract(open_image(path), strategy=strategy)
    np.testing.assert_allclose(got.series, expected, rtol=1e-6)
    assert got.label_ids.tolist() == np.unique(nib.load(atlas).dataobj)[1:].tolist()


def test_an_oblique_atlas_on_another_grid_equals_nilearn(tmp_path, scan, labels):
    angle = 0.2
    turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = 3.3 * turned, [-14.2, -19.1, -12.7]
    path = save(tmp_path / "oblique.nii.gz", labels, affine)
    masker = NiftiLabelsMasker(path, standardize=None, resampling_target="data")
    got = Atlas.load(path).extract(open_image(scan))
    np.testing.assert_allclose(got.series, masker.fit_transform(str(scan)), rtol=1e-9)


def test_a_lost_label_keeps_its_column(tmp_path, scan, labels):
    many = np.arange(1, 961).reshape(10, 12, 8).astype(np.int32)
    wide = np.zeros((11, 12, 8), np.int32)
    wide[:10] = many
    wide[10] = 2000  # beyond the scan
    atlas = Atlas.load(save(tmp_path / "wide.nii.gz", wide))
    got = atlas.extract(open_image(scan))
    assert got.series.shape == (15, 961)
    assert got.lost.tolist() == [False] * 960 + [True]
    assert np.isnan(got.series[:, -1]).all()
    assert np.isfinite(got.series[:, :-1]).all()


def test_too_many_lost_labels_are_an_error(tmp_path, scan, labels):
    half = labels.copy()
    half[0] = 50
    shifted = AFFINE.copy()
    shifted[0, 3] -= 3 * 2
    path = save(tmp_path / "shifted.nii.gz", half, shifted)
    with pytest.raises(UserError, match=r"1 of 9 labels have no voxel in the scan \(for example 50\)"):
        Atlas.load(path).extract(open_image(scan))
    assert Atlas.load(path).extract(open_image(scan), largest_loss=0.2).lost.sum() == 1


def test_labels_must_be_whole_numbers(tmp_path, labels):
    assert Atlas.load(save(tmp_path / "float.nii.gz", labels.astype(np.float32))).ids[-1] == 300
    blurred = labels.astype(np.float32)
    blurred[0, 0, 0] = 1.4
    for bad in (blurred, -labels, np.zeros_like(labels)):
        with pytest.raises(UserError, match="label"):
            Atlas.load(save(tmp_path / "bad.nii.gz", bad))


def test_a_mask_removes_voxels_of_its_own_grid(tmp_path, scan, atlas, labels):
    mask = np.zeros(labels.shape, np.uint8)
    mask[2:8, 2:10] = 1
    path = save(tmp_path / "mask.nii.gz", mask)
    masker = NiftiLabelsMasker(atlas, mask_img=path, standardize=None)
    got = Atlas.load(atlas).extract(open_image(scan), mask=flipped(path, 0))
    np.testing.assert_allclose(got.series, masker.fit_transform(str(scan)), rtol=1e-9)


def test_the_atlas_is_resampled_once_per_grid(monkeypatch, scan, atlas):
    calls = []
    real = parcellation.nearest
    monkeypatch.setattr(parcellation, "nearest", lambda *a: calls.append(1) or real(*a))
    loaded = Atlas.load(atlas)
    for path in (scan, scan, flipped(scan, 0), flipped(scan, 0)):
        loaded.extract(open_image(path))
    assert len(calls) == 2


def test_an_image_without_orientation_is_refused(tmp_path, scan):
    image = nib.load(scan)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "lost.nii.gz")
    with pytest.raises(UserError, match="no affine"):
        open_image(tmp_path / "lost.nii.gz")


def test_a_damaged_checksum_is_noticed(scan):
    content = bytearray(scan.read_bytes())
    content[-6] ^= 0xFF  # in the CRC behind the data
    scan.write_bytes(bytes(content))
    with pytest.raises(UserError, match="cannot be read beyond frame"):
        list(open_image(scan).volumes())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux memory counters")
def test_one_volume_is_in_memory_at_a_time(tmp_path):
    """A scan of 50 MB costs less than 20 MB beyond what the imports cost."""
    rng = np.random.default_rng(0)
    data = np.tile(rng.integers(0, 99, size=(64, 64, 32, 1), dtype=np.int16), (1, 1, 1, 200))
    save(tmp_path / "scan.nii.gz", data)
    save(tmp_path / "atlas.nii.gz", rng.integers(0, 100, size=(64, 64, 32)).astype(np.float32))
    program = """
        import pathlib, sys
        from genebrain.brain.images.nifti import open_image
        from genebrain.brain.images.atlas import Atlas
        def peak():
            # Not ru_maxrss: that of a child starts at the size of its parent.
            status = pathlib.Path("/proc/self/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0]) / 1024
        before = peak()
        Atlas.load(sys.argv[2]).extract(open_image(sys.argv[1]))
        print(peak() - before)
    """
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(program),
        tmp_path / "scan.nii.gz",
        tmp_path / "atlas.nii.gz",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(answer.stdout) < 20
