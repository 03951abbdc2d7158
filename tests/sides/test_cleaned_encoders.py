"""Cleaning and scrubbing in front of a scan encoder: the same series as by hand, and no window across a gap."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from genebrain import config, tasks
from genebrain.brain.images.cleaning import Cleaning, clean
from genebrain.brain.pretraining.trainer import PretrainerSettings
from genebrain.brain.store.read_parcels import scaled
from genebrain.brain.windows.bank import WindowBank
from genebrain.brain.windows.policy import WindowPolicy
from genebrain.common.types import UserError
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.scans import EncoderSide
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort

SMALL = {"n_windows": 4, "window_bp": 6000, "n_genomewide": 200}
MOVED = {13: 1.2, 30: 0.6, 31: 0.9}
"""Frame -> framewise displacement, mm; all other frames move by 0.1 mm."""
CLEANING = Cleaning(confound_columns=("csf", "motion"), detrend=True, fd_threshold=0.5)


def with_confounds(cohort: Path, n_frames: int) -> Path:
    """Add a confounds table to every scan of a cohort."""
    table = pd.read_csv(cohort.parent / "scans.tsv", sep="\t")
    rng = np.random.default_rng(0)
    names = []
    for row in range(len(table)):
        displacement = np.full(n_frames, 0.1)
        displacement[0] = np.nan
        displacement[list(MOVED)] = list(MOVED.values())
        columns = {"framewise_displacement": displacement, "csf": rng.normal(size=n_frames)}
        columns["motion"] = rng.normal(size=n_frames).cumsum()
        names.append(f"confounds_{row}.tsv")
        pd.DataFrame(columns).to_csv(cohort.parent / names[-1], sep="\t", index=False, na_rep="n/a")
    table.assign(confounds=names).to_csv(cohort.parent / "scans.tsv", sep="\t", index=False)
    return cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("parcels") / "c"
    return with_confounds(simulate_cohort(folder, n_subjects=40, seed=5, n_frames=80, n_parcels=60, **SMALL), 80)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "c"
    settings = {**SMALL, "n_parcels": 40, "n_frames": 48, "scans": "nifti"}
    return with_confounds(simulate_cohort(folder, n_subjects=20, seed=6, **settings), 48)


def frames_of(bank: WindowBank, key: str) -> list[np.ndarray]:
    """Frames of the recording that each window holds (for scans that are not resampled)."""
    numbers = bank.store.frame_numbers(key)
    return [numbers[w.first + w.start : w.first + w.start + w.frames] for w in bank.windows(key)]


def test_windows_of_a_cleaned_cohort_are_those_cleaned_by_hand(cohort, capsys):
    side = EncoderSide("brainlm_vit", cleaning=CLEANING, windows=WindowPolicy(seconds=9, stride_seconds=3))
    workspace = Workspace(cohort, progress=False)
    report = workspace.ingest(side)
    assert report["n_with_gaps"] == 40
    assert "left out: 120 of 3,200 frames, in 40 of 40 scans" in capsys.readouterr().err
    encoder = side.build(workspace.cohort, workspace.store)
    bank = side.bank(encoder, workspace.cohort, workspace.store)
    scans = workspace.cohort.scans
    for row in (0, 17):
        scan = scans.iloc[row]
        table = pd.read_csv(scan["confounds"], sep="\t", na_values=["n/a"])
        raw = np.load(scan["path"])
        hand, numbers = clean(raw, CLEANING, tr=scan["tr"], confounds=scan["confounds"])
        assert set(range(80)) - set(numbers.tolist()) == set(MOVED)
        kept = table[["csf", "motion"]].to_numpy()[numbers]
        design = np.column_stack([kept, np.arange(80)[numbers], np.ones(len(numbers))])
        plain = raw[numbers] - design @ np.linalg.lstsq(design, raw[numbers], rcond=None)[0]
        assert np.corrcoef(plain[:, 3], hand[:, 3])[0, 1] > 0.99, "the regression sees the kept frames only"
        values, _ = scaled(hand, np.ones(hand.shape[1], bool))
        (key,) = bank.store.keys(scans.iloc[[row]])
        assert bank.windows(key)
        for window, frames in zip(bank.windows(key), frames_of(bank, key), strict=True):
            at = np.searchsorted(numbers, frames)
            np.testing.assert_array_equal(bank.read(key, window), values[at].astype(np.float32))
            assert (np.diff(frames) == 1).all(), "no window crosses a gap"
    # Connectome and encoder read the same folder.
    before = workspace.ingest(ConnectomeSide(cleaning=CLEANING))
    assert before["n_reused"] == 40
    (people,) = workspace.brain_inputs(side, np.arange(3))
    (raw_people,) = workspace.brain_inputs(EncoderSide("brainlm_vit", windows=side.windows), np.arange(3))
    assert np.abs(people - raw_people).max() > 1e-4


def test_a_fit_takes_cleaning_from_the_command_line_and_records_it(cohort, tmp_path):
    words = [
        "brain=brainlm_tiny", "brain.cleaning.detrend=true", "brain.cleaning.fd_threshold=0.5",
        "brain.cleaning.confound_columns=[csf]", "brain.windows.short=pad", "alignment=closed_form",
        f"cohort.path={cohort}", f"run={tmp_path / 'run'}",
    ]  # fmt: skip
    tasks.fit(**config.build(config.compose("fit", words)), progress=False)
    told = json.loads((tmp_path / "run" / "provenance.json").read_text())["brain"]["cleaning"]
    assert (told["detrend"], told["fd_threshold"], told["confound_columns"]) == (True, 0.5, ["csf"])


def test_pretraining_and_probes_read_the_cleaned_series(cohort, tmp_path, monkeypatch):
    windows = WindowPolicy(seconds=9)
    side = EncoderSide("brainlm_vit", cleaning=CLEANING, windows=windows)
    seen = []
    read = WindowBank.read
    monkeypatch.setattr(
        WindowBank, "read", lambda self, key, window: seen.append((self, key, window)) or read(self, key, window)
    )
    trainer = PretrainerSettings(max_epochs=1, passes=1, validation_passes=1, batch_size=16, accelerator="cpu")
    run = tasks.pretrain(cohort, run=tmp_path / "run", brain=side, trainer=trainer, progress=False)
    weights = replace(side, path=str(run / "encoder"))
    tasks.probe(cohort, "sex", brain=weights, n_bootstrap=20, n_permutations=20, progress=False)
    # The same without a cohort.
    alone = tasks.pretrain(
        input=cohort.parent / "scans.tsv", parcel_coordinates=cohort.parent / "parcel_coordinates.tsv",
        run=tmp_path / "alone", brain=side, trainer=trainer, progress=False,
    )  # fmt: skip
    assert (alone / "encoder" / "model.safetensors").is_file()
    assert len(seen) > 100
    for bank, key, window in seen:
        assert bank.store.settings["cleaning"] == json.loads(json.dumps(CLEANING.describe()))
        numbers = bank.store.frame_numbers(key)[window.first + window.start :][: window.frames]
        assert (np.diff(numbers) == 1).all(), "no look at a scan crosses a gap"


@pytest.mark.parametrize("name", ["swift", "brainmt"])
def test_volumes_lose_the_frames_of_motion_and_nothing_else(images, name):
    plain, still = (EncoderSide(name, cleaning=Cleaning(fd_threshold=limit)) for limit in (None, 0.5))
    everything, rest = Workspace(images, progress=False), Workspace(images, progress=False)
    everything.ingest(plain)
    # Stretches of 13, 16 and 16 frames: none holds a window of 20.
    with pytest.raises(
        UserError, match=r"20 of 20 scans: no whole window: it has 20 frames .*, the longest stretch 16 frames"
    ):
        rest.ingest(still)
    if name == "brainmt":
        return  # takes exactly 20 frames
    still = EncoderSide(name, cleaning=still.cleaning, windows=WindowPolicy(seconds=8 * rest.cohort.scans["tr"][0]))
    report = rest.ingest(still)
    assert report["n_with_gaps"] == 20
    encoder = still.build(rest.cohort, rest.store)
    bank = still.bank(encoder, rest.cohort, rest.store)
    key = bank.store.keys(rest.cohort.scans)[4]
    assert [f[0] for f in frames_of(bank, key)] == [0, 14, 22, 32, 40]
    assert all((np.diff(frames) == 1).all() for frames in frames_of(bank, key))
    # Scaled over the frames that are left: the same as of an image without the others.
    scan = rest.cohort.scans.iloc[4]
    image = np.asarray(nib.load(scan["path"]).dataobj, np.float64)
    kept = np.delete(image, list(MOVED), axis=3)
    brain = kept[(image != 0).any(axis=3)]
    by_hand = (kept - brain.mean()) / brain.std(ddof=1)
    stored = bank.store.read(key)
    assert len(stored) == 48 - len(MOVED)
    voxel = tuple(np.argwhere((image != 0).all(axis=3))[50])
    np.testing.assert_allclose(stored[(slice(None), *voxel)], by_hand[voxel], atol=0.01)
    assert rest.brain_inputs(still, np.arange(3))[0].shape[0] == 20


def test_scans_without_motion_figures_are_told_and_other_cleaning_of_volumes_is_refused(images, tmp_path):
    with pytest.raises(UserError, match=r"brain\.cleaning: swift reads volumes.*only fd_threshold"):
        EncoderSide("swift", cleaning=Cleaning(low_pass=0.1))
    with pytest.raises(UserError, match=r"swift reads volumes.*only fd_threshold"):
        tasks.embed_scans(
            images.parent / "scans.tsv", tmp_path / "a", EncoderSide("swift"), cleaning=Cleaning(detrend=True)
        )
    table = pd.read_csv(images.parent / "scans.tsv", sep="\t").drop(columns="confounds")
    table["path"] = [str(images.parent / path) for path in table["path"]]
    table.to_csv(tmp_path / "scans.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match=r"fd_threshold=0\.5 mm.*no confounds table"):
        tasks.embed_scans(
            tmp_path / "scans.tsv", tmp_path / "b", EncoderSide("swift"), cleaning=Cleaning(fd_threshold=0.5)
        )
    assert Cleaning().describe() == {k: v for k, v in CLEANING.describe().items() if k != "fd_threshold"} | {
        "confound_columns": (), "detrend": False,
    }  # fmt: skip
    with pytest.raises(UserError, match="fd_threshold=0 mm must be above 0"):
        Cleaning(fd_threshold=0)
