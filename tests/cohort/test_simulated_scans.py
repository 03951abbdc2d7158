from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from genebrain.cohort.simulate import simulate_cohort
from genebrain.cohort.simulated_scans import BrainModel, loudness_for, reliability, synthetic_connectome
from genebrain.cohort.simulated_volumes import LabelImage


def build(rel: float = 0.8, k: int = 4) -> tuple[BrainModel, np.random.Generator]:
    rng = np.random.default_rng(11)
    connectome = synthetic_connectome(40, rng)
    loudness = loudness_for(rel, 100)
    return BrainModel.build(connectome, k=k, n_active=12, loudness=loudness, tr=0.735, rng=rng), rng


def test_connectome_is_symmetric_with_strong_homologous_pairs() -> None:
    weights = synthetic_connectome(80, np.random.default_rng(0))
    np.testing.assert_array_equal(weights, weights.T)
    assert not np.diag(weights).any()
    assert weights[3, 43] == weights.max() / 2 or weights[3, 43] == weights.max()
    assert (weights >= 0).all()


def test_loading_is_orthonormal_and_carries_no_overall_power() -> None:
    model, _ = build()
    np.testing.assert_allclose(model.loading.T @ model.loading, np.eye(4), atol=1e-10)
    np.testing.assert_allclose(model.loading.sum(0), 0, atol=1e-10)
    assert not model.loading[0].any()
    assert not model.loading[13:].any()


def test_loudness_gives_the_wanted_reliability() -> None:
    assert reliability(loudness_for(0.8, 200), 200) == pytest.approx(0.8)
    assert reliability(loudness_for(0.8, 200), 200, 2) == pytest.approx(0.8 / (0.8 + 0.1))
    assert reliability(loudness_for(0.8, 200), 50) < 0.8


def test_two_scans_of_one_trait_agree_as_much_as_promised() -> None:
    model, rng = build()
    trait, shift = rng.normal(size=(800, 4)), 0.35 * rng.normal(size=(800, 40))
    readings = [model.read_trait(model.scans(trait, shift, 100, rng), shift) for _ in range(2)]
    retest = [np.corrcoef(readings[0][:, d], readings[1][:, d])[0, 1] for d in range(4)]
    assert np.mean(retest) == pytest.approx(0.8, abs=0.03)
    for reading in readings:
        assert np.abs((reading - trait).mean(0)).max() < 0.08
        assert (np.sqrt(0.8) * reading).var() == pytest.approx(1, abs=0.08)


def test_series_have_the_model_variance() -> None:
    model, rng = build()
    series = model.scans(np.zeros((200, 4)), np.zeros((200, 40)), 100, rng)
    powers = (series @ model.modes.astype(np.float32)).var(axis=(0, 1))
    np.testing.assert_allclose(powers, model.innovation / (1 - model.phi**2), rtol=0.15)


def test_volumes_return_the_parcel_series(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    series = rng.normal(size=(30, 20)).astype(np.float32)
    labels = LabelImage.build(20)
    labels.write_scan(tmp_path / "scan.nii.gz", series, 0.8, rng)
    image = nib.load(tmp_path / "scan.nii.gz")
    data = np.asarray(image.dataobj)
    assert image.header.get_zooms()[3] == pytest.approx(0.8)
    assert data.dtype == np.int16
    assert not data[labels.labels == 0].any()
    means = np.stack([data[labels.labels == parcel + 1].mean(axis=0) for parcel in range(20)], axis=1)
    agreement = [np.corrcoef(means[:, parcel], series[:, parcel])[0, 1] for parcel in range(20)]
    assert min(agreement) > 0.98
    with pytest.raises(ValueError, match="do not fit"):
        LabelImage.build(100_000)


def test_image_cohort_holds_images_and_atlas(tmp_path: Path) -> None:
    arguments = {"n_subjects": 12, "seed": 1, "n_windows": 3, "n_frames": 10, "n_parcels": 40, "n_genomewide": 50}
    folder = simulate_cohort(tmp_path / "c", "smoke", scans="nifti", **arguments).parent
    assert len(list((folder / "scans").glob("*.nii.gz"))) == 12
    atlas = np.asarray(nib.load(folder / "atlas.nii.gz").dataobj)
    assert set(np.unique(atlas)) == set(range(41))
