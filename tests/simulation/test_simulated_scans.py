from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from genebrain.brain.parcels.a424 import a424_coordinates
from genebrain.cohort.participants import load_cohort
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.known_answer import FILE, read_known_answer, read_truth
from genebrain.simulation.scans import BrainModel, Parcels, loudness_for, reliability, synthetic_connectome
from genebrain.simulation.volumes import LabelImage


def build(rel: float = 0.8, k: int = 4) -> tuple[BrainModel, np.random.Generator]:
    rng = np.random.default_rng(11)
    connectome = synthetic_connectome(Parcels.random(40, rng), rng)
    loudness = loudness_for(rel, 100)
    return BrainModel.build(connectome, k=k, n_active=12, loudness=loudness, tr=0.735, rng=rng), rng


def test_connectome_is_symmetric_with_strong_homologous_pairs() -> None:
    rng = np.random.default_rng(0)
    weights = synthetic_connectome(Parcels.random(80, rng), rng)
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
    labels = LabelImage.build(Parcels.random(20, rng).points)
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
        LabelImage.build(np.zeros((100_000, 3)))


def test_image_cohort_holds_images_and_atlas(tmp_path: Path) -> None:
    arguments = {"n_subjects": 12, "seed": 1, "n_windows": 3, "n_frames": 10, "n_parcels": 40, "n_genomewide": 50}
    folder = simulate_cohort(tmp_path / "c", "smoke", scans="nifti", **arguments).parent
    assert len(list((folder / "scans").glob("*.nii.gz"))) == 12
    atlas = np.asarray(nib.load(folder / "atlas.nii.gz").dataobj)
    assert set(np.unique(atlas)) == set(range(41))
    cohort = load_cohort(folder)
    table = pd.read_csv(cohort.parcel_coordinates, sep="\t")
    affine = nib.load(folder / "atlas.nii.gz").affine
    for parcel, centre in enumerate(table.to_numpy(), start=1):
        voxels = np.argwhere(atlas == parcel)
        np.testing.assert_allclose(centre, nib.affines.apply_affine(affine, voxels).mean(axis=0), atol=0.01)


def test_parcels_of_the_image_are_equal_and_lie_as_their_points_do() -> None:
    points = Parcels.a424().points
    image = LabelImage.build(points)
    sizes = np.bincount(image.labels.ravel())[1:]
    assert len(sizes) == 424
    assert sizes.max() - sizes.min() <= 1
    centres = image.centres()
    for axis in range(3):
        assert np.corrcoef(centres[:, axis], points[:, axis])[0, 1] > 0.9
    # Neighbours stay neighbours: the nearest parcel by points is among the nearest in the image.
    distance = np.linalg.norm(points[:, None] - points, axis=2) + np.diag(np.full(424, np.inf))
    in_image = np.linalg.norm(centres[:, None] - centres, axis=2)
    rank = (in_image < in_image[np.arange(424), distance.argmin(1)][:, None]).sum(1)
    assert np.median(rank) < 15


def test_a424_cohort_lies_where_a424_does_and_keeps_its_ceiling(tmp_path: Path) -> None:
    arguments = {"seed": 3, "n_windows": 6, "n_genomewide": 200, "n_frames": 200}
    small, large = (
        simulate_cohort(tmp_path / str(n), "smoke", 400, n_parcels=n, **arguments).parent for n in (80, 424)
    )
    table = pd.read_csv(load_cohort(large).parcel_coordinates, sep="\t")
    np.testing.assert_allclose(table, a424_coordinates(), atol=0.01)
    assert np.load(next((large / "scans").glob("*.npy")), mmap_mode="r").shape == (200, 424)
    answers = [read_known_answer(folder / FILE) for folder in (small, large)]
    assert answers[0]["ceiling"] == answers[1]["ceiling"]
    # The statistic that reads the trait is as good with five times the parcels: the trait acts on the same modes.
    truths = [read_truth(folder / FILE) for folder in (small, large)]
    agreement = [np.mean([np.corrcoef(truth["z"][:, d], truth["u"][:, d])[0, 1] for d in range(8)]) for truth in truths]
    np.testing.assert_allclose(agreement, np.sqrt(answers[0]["rel"]), atol=0.01)
