"""What an encoder or a filter cannot take is said before the first scan is read, whatever the verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from genebrain import tasks
from genebrain.brain.encoders.build import build_encoder
from genebrain.brain.encoders.files import save_encoder
from genebrain.brain.encoders.settings import EncoderSettings, VolumeSettings
from genebrain.brain.images.cleaning import Cleaning
from genebrain.brain.store import fill as ingest
from genebrain.brain.store.scan_table import known_steps, read_scan_table
from genebrain.brain.windows.policy import WindowPolicy
from genebrain.common.types import UserError
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.scans import EncoderSide
from tests.cohort.small_cohort import SmallCohort

VERBS: dict[str, Callable[[Path, EncoderSide, Path], object]] = {
    "fit": lambda cohort, brain, out: tasks.fit(cohort, out, brain=brain, progress=False),
    "embed": lambda cohort, brain, out: tasks.embed(cohort, brain=brain),
    "probe": lambda cohort, brain, out: tasks.probe(cohort, brain=brain, progress=False),
    "pretrain": lambda cohort, brain, out: tasks.pretrain(cohort, out, brain=brain, progress=False),
    "pretrain on scans": lambda cohort, brain, out: tasks.pretrain(
        run=out, brain=brain, input=cohort.parent / "scans.tsv", progress=False
    ),
    "embed-scans": lambda cohort, brain, out: tasks.embed_scans(
        cohort.parent / "scans.tsv", out, brain, progress=False
    ),
}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallCohort:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("a scan was read")

    monkeypatch.setattr(ingest, "read_scans", read)
    cohort = SmallCohort(tmp_path / "c")
    cohort.keys["parcel_coordinates"] = "parcel_coordinates.tsv"
    write_centres(cohort, 6)
    return cohort


def write_centres(cohort: SmallCohort, n: int) -> None:
    cohort.folder.mkdir(exist_ok=True)
    lines = ["x\ty\tz", *(f"{i}\t0\t0" for i in range(n))]
    (cohort.folder / "parcel_coordinates.tsv").write_text("\n".join(lines))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of BrainLM whose windows have 40 frames of 0.735 s."""
    centres = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    encoder = build_encoder(EncoderSettings("brainlm"), n_parcels=6, coordinates=centres)
    encoder.tr = 0.735
    return save_encoder(encoder, tmp_path / "weights")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_a_window_before_reading(verb: str, small: SmallCohort, tmp_path: Path) -> None:
    cohort = small.write()
    wrong = EncoderSide("brainlm", windows=WindowPolicy(seconds=24))
    with pytest.raises(
        UserError,
        match=r"24 of 24 scans: windows of 30 frames; brainlm takes multiples of 20 up to 100,000 "
        r"\(brain\.windows\.seconds=24 at 0\.8 s per frame\): choose brain\.windows\.seconds=16 or 32$",
    ):
        VERBS[verb](cohort, wrong, tmp_path / "out")
    assert not (tmp_path / "out" / "provenance.json").exists()
    with pytest.raises(AssertionError, match="a scan was read"):
        # The folder is free for the mended command.
        VERBS[verb](cohort, EncoderSide("brainlm", windows=WindowPolicy(seconds=16)), tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "seconds", "taken"),
    [
        ("brainlm", 0.8 * 100_020, "multiples of 20 up to 100,000 .*choose brain.windows.seconds=80000$"),
        ("brainlm_vit", 32.8, "windows of 41 frames; brainlm_vit takes 1 to 40 .*choose brain.windows.seconds=32$"),
        ("swift", 16.8, "windows of 21 frames; swift takes 1 to 20 "),
        ("brainmt", 15.2, "windows of 19 frames; brainmt takes exactly 20 .*choose brain.windows.seconds=16$"),
    ],
)
def test_what_each_encoder_takes(name: str, seconds: float, taken: str, small: SmallCohort) -> None:
    with pytest.raises(UserError, match=taken):
        tasks.embed(small.write(), brain=EncoderSide(name, windows=WindowPolicy(seconds=seconds)))


def test_scans_of_several_time_steps_are_told_together(small: SmallCohort) -> None:
    for row in small.scans[:5]:
        row["tr"] = 2.0
    small.scans[5]["tr"] = ""
    with pytest.raises(UserError) as caught:
        tasks.embed(small.write(), brain=EncoderSide("brainlm", windows=WindowPolicy(seconds=20)))
    said = str(caught.value)
    assert "5 of 24 scans: windows of 10 frames" in said
    assert "18 of 24 scans: windows of 25 frames" in said
    assert "1 of 24 scans: no known time step, and windows in seconds need it" in said


def test_weights_with_a_time_step_know_their_windows_whatever_the_scans(small: SmallCohort, weights: Path) -> None:
    small.scans[5]["tr"] = ""
    cohort = small.write()
    policy = WindowPolicy(seconds=20, resample="none")
    with pytest.raises(UserError) as caught:
        tasks.embed(cohort, brain=EncoderSide("brainlm", str(weights), windows=policy))
    said = str(caught.value)
    assert "24 of 24 scans: windows of 27 frames" in said
    assert "0.735 s per frame): choose brain.windows.seconds=14.7 or 29.4" in said
    assert "23 of 24 scans: a time step of 0.8 s, the encoder was trained at 0.735 s" in said
    assert "1 of 24 scans: no known time step, and brainlm was trained at 0.735 s per frame" in said


def test_a_box_that_the_encoder_does_not_have_is_refused(small: SmallCohort) -> None:
    side = EncoderSide("swift", size="published", volumes=VolumeSettings(box=(100, 96, 96)))
    with pytest.raises(UserError, match=r"box=\[100, 96, 96\]: swift takes up to \[96, 96, 96\] voxels"):
        tasks.embed(small.write(), brain=side)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_other_parcels(verb: str, small: SmallCohort, weights: Path, tmp_path: Path) -> None:
    write_centres(small, 5)
    with pytest.raises(UserError, match=r"coordinates are \[5, 3\], the scans have 6 parcels"):
        VERBS[verb](small.write(), EncoderSide("brainlm"), tmp_path / "out")
    write_centres(small, 7)
    small.series = {name: np.c_[series, series[:, 0]] for name, series in small.series.items()}
    trained = EncoderSide("brainlm", str(weights))
    with pytest.raises(UserError, match="were trained on 6 parcels, the scans have 7"):
        VERBS[verb](small.write(), trained, tmp_path / "out")
    (small.folder / "parcel_coordinates.tsv").unlink()
    del small.keys["parcel_coordinates"]
    with pytest.raises(UserError, match="nothing says where these 7 lie"):
        VERBS[verb](small.write(), trained, tmp_path / "out")


def test_scans_that_differ_among_themselves_are_left_to_the_reading(small: SmallCohort) -> None:
    write_centres(small, 5)
    small.series["003"] = small.series["003"][:, :4]
    with pytest.raises(AssertionError, match="a scan was read"):
        tasks.embed(small.write(), brain=EncoderSide("brainlm"))


def test_steps_are_known_from_table_sidecar_and_header(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2, 3), np.int16), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((1, 1, 1, 2.5))
    for name in ("header", "sidecar", "stated", "broken"):
        nib.save(image, tmp_path / f"{name}.nii.gz")
    (tmp_path / "sidecar.json").write_text('{"RepetitionTime": 0.9}')
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    np.save(tmp_path / "table.npy", np.zeros((3, 2)))
    files = {"header.nii.gz": "", "sidecar.nii.gz": "", "stated.nii.gz": 0.8, "broken.nii.gz": "", "table.npy": ""}
    rows = [f"{i}\t{name}\t{tr}" for i, (name, tr) in enumerate(files.items())]
    (tmp_path / "scans.tsv").write_text("\n".join(["participant_id\tpath\ttr", *rows]))
    table = read_scan_table(tmp_path / "scans.tsv")
    assert known_steps(table) == {2.5: 1, 0.9: 1, 0.8: 1, None: 1}
    assert known_steps(table, headers=False) == {0.9: 1, 0.8: 1, None: 1}


CONNECTOMES: dict[str, Callable[[Path, Path, Cleaning], object]] = {
    "fit": lambda cohort, out, cleaning: tasks.fit(cohort, out, brain=ConnectomeSide(cleaning=cleaning)),
    "embed an encoder": lambda cohort, out, cleaning: tasks.embed(
        cohort, brain=EncoderSide("brainlm", cleaning=cleaning)
    ),
    "embed-scans": lambda cohort, out, cleaning: tasks.embed_scans(
        cohort.parent / "scans.tsv", out, ConnectomeSide(), cleaning=cleaning
    ),
}


@pytest.mark.parametrize("verb", CONNECTOMES)
def test_a_pass_band_above_the_nyquist_frequency_is_refused_before_reading(
    verb: str, small: SmallCohort, tmp_path: Path
) -> None:
    for row in small.scans[:5]:
        row["tr"] = 2.5
    small.scans[5]["tr"] = ""
    cohort = small.write()
    with pytest.raises(UserError) as caught:
        CONNECTOMES[verb](cohort, tmp_path / "out", Cleaning(low_pass=0.7))
    said = str(caught.value)
    assert "low_pass 0.7 Hz must lie below the Nyquist frequency of 18 of 24 scans, 0.625 Hz at 0.8 s per frame" in said
    assert "low_pass 0.7 Hz must lie below the Nyquist frequency of 5 of 24 scans, 0.2 Hz at 2.5 s per frame" in said
    assert "1 of 24 scans: no known time step, and a band-pass needs it" in said
    with pytest.raises(
        UserError, match=r"low_pass 0\.3 Hz and high_pass 0\.2 Hz must lie below .* of 5 of 24 scans, 0\.2 Hz"
    ):
        CONNECTOMES[verb](cohort, tmp_path / "out", Cleaning(low_pass=0.3, high_pass=0.2))
    small.scans[5]["tr"] = 0.8
    with pytest.raises(AssertionError, match="a scan was read"):
        CONNECTOMES[verb](small.write(), tmp_path / "out", Cleaning(low_pass=0.19, high_pass=0.01))
