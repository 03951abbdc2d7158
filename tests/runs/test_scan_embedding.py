"""A folder of scans becomes embeddings of every encoder: rows told, interruptions survived, nobody named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from genebrain import config, tasks
from genebrain.brain.encoders.build import build_encoder
from genebrain.brain.encoders.files import read_encoder, save_encoder
from genebrain.brain.encoders.settings import EncoderSettings
from genebrain.brain.windows.policy import WindowPolicy
from genebrain.common.types import UserError
from genebrain.common.vectors import read_vectors
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.scans import EncoderSide

NAMES = ("brainlm", "brainlm_vit", "swift", "brainmt")
FUNCTIONAL = Path(nib.__file__).parent / "tests" / "data" / "functional.nii"


def side(name: str, **changes) -> EncoderSide | ConnectomeSide:
    return ConnectomeSide(kind="correlation") if name == "connectome" else EncoderSide(name, **changes)


@pytest.fixture(scope="module")
def bids(golden) -> Path:
    folder = golden / "fmri" / "bids"
    if not folder.is_dir():
        pytest.skip("no BIDS-like tree in the golden folder")
    return folder


@pytest.fixture(scope="module")
def atlas(golden) -> Path:
    return golden / "fmri" / "atlas" / "labels.nii.gz"


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.mark.parametrize("name", [*NAMES, "connectome"])
def test_a_tree_of_scans_becomes_embeddings_of_every_encoder(name, bids, atlas, tmp_path):
    out = tmp_path / "out"
    counts = tasks.embed_scans(bids, out, side(name), atlas=atlas, progress=False)
    n_scans = len(list(bids.rglob("*_bold.nii.gz")))
    windows, scans, subjects = (np.load(out / f"{level}.npy") for level in ("windows", "scans", "subjects"))
    tables = {level: pd.read_csv(out / f"{level}.tsv", sep="\t") for level in ("windows", "scans", "subjects", "names")}
    assert len(scans) == len(tables["scans"]) == n_scans == np.load(out / "mask.npy").sum()
    assert len(windows) == len(tables["windows"]) == counts["embedded"]["windows"]
    assert len(subjects) == len(tables["subjects"]) == tables["names"]["participant_id"].nunique()
    assert np.isfinite(windows).all()
    assert len(np.unique(scans.round(6), axis=0)) == n_scans
    for row, scan in enumerate(tables["scans"]["scan"]):
        mine = windows[tables["windows"]["scan"] == scan]
        np.testing.assert_allclose(scans[row], mine.mean(axis=0), rtol=1e-4, atol=1e-6)
    for row, subject in enumerate(tables["subjects"]["subject"]):
        mine = scans[tables["scans"]["subject"] == subject]
        np.testing.assert_allclose(subjects[row], mine.mean(axis=0), rtol=1e-4, atol=1e-6)
    ids = set(tables["names"]["participant_id"])
    for file in out.rglob("*"):
        if file.is_file():
            assert file.stat().st_mode & 0o077 == 0, f"{file} may be read by others"
            if file.name != "names.tsv":
                assert not any(i.encode() in file.read_bytes() for i in ids), f"{file} names a participant"
    for level in ("subjects", "scans"):
        read = read_vectors(out / f"{level}.npy")
        assert set(read.ids) == ids
    assert np.allclose(read.values[0], scans[0])
    person = dict(zip(tables["names"]["scan"], tables["names"]["participant_id"], strict=True))
    assert read.ids == [person[scan] for scan in tables["scans"]["scan"]]
    provenance = json.loads((out / "provenance.json").read_text())
    if name != "connectome":
        assert "a control, not a published model" in provenance["brain"]["weights"]


def test_correlations_are_those_of_the_series(bids, atlas, tmp_path):
    tasks.embed_scans(bids, tmp_path, side("connectome"), atlas=atlas, progress=False)
    scans = np.load(tmp_path / "scans.npy")
    (store,) = tmp_path.glob("parcels-*")
    keys = pd.read_csv(tmp_path / "scans.tsv", sep="\t")["scan"]
    series = np.load(store / keys[0][:2] / f"{keys[0]}.npy").astype(np.float64)
    r = np.corrcoef(series.T)[np.triu_indices(series.shape[1], k=1)]
    np.testing.assert_allclose(np.tanh(scans[0]), r, atol=2e-3)


def test_an_interrupted_run_ends_with_the_same_bytes(bids, tmp_path):
    out = tmp_path / "out"
    tasks.embed_scans(bids, out, side("swift"), progress=False)
    before = content(out)
    for lost in ("provenance.json", "scans.npy", "windows.tsv"):
        (out / lost).unlink()
    for cached in sorted((out / "cache").rglob("*.npy"))[:2]:
        cached.unlink()
    tasks.embed_scans(bids, out, side("swift"), progress=False)
    after = content(out)
    for name in before:
        if name != "provenance.json":
            assert after[name] == before[name], name


def test_centres_beside_the_scan_table_are_used_and_said(tmp_path, capsys):
    rng = np.random.default_rng(0)
    lines = ["participant_id\tpath\ttr"]
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(60, 6)))
        lines.append(f"{name}\t{name}.npy\t0.8")
    table, beside = tmp_path / "scans.tsv", tmp_path / "parcel_coordinates.tsv"
    table.write_text("\n".join(lines))

    def embedded(out: str, name: str = "brainlm", **named) -> np.ndarray:
        tasks.embed_scans(table, tmp_path / out, side(name), progress=False, **named)
        return np.load(tmp_path / out / "scans.npy")

    with pytest.raises(UserError, match=r"nothing says where these 6 lie.*beside the scan table"):
        embedded("nothing")
    for path, centres in ((beside, rng.normal(size=(6, 3))), (tmp_path / "other.tsv", rng.normal(size=(6, 3)))):
        pd.DataFrame(centres, columns=list("xyz")).to_csv(path, sep="\t", index=False)
    capsys.readouterr()
    found = embedded("found")
    assert f"centres of the parcels: {beside}, beside the scan table" in capsys.readouterr().out
    np.testing.assert_array_equal(found, embedded("named", parcel_coordinates=beside))
    assert not np.allclose(found, embedded("another", parcel_coordinates=tmp_path / "other.tsv"))
    embedded("connectome", "connectome")
    assert "centres of the parcels" not in capsys.readouterr().out


def test_an_image_that_cannot_be_opened_says_why_at_once(tmp_path):
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(UserError, match=r"none of 1 image can be opened: 1 scan: not a readable NIfTI image"):
        tasks.embed_scans(tmp_path / "text.nii.gz", tmp_path / "out", side("swift"), progress=False)


def test_a_broken_scan_and_a_short_one_are_told_and_the_others_embedded(bids, tmp_path):
    whole = sorted(bids.rglob("*_bold.nii.gz"))[:3]
    files = [tmp_path / f"{name}.nii.gz" for name in ("good", "cut", "short")]
    shutil.copy(whole[0], files[0])
    files[1].write_bytes(whole[1].read_bytes()[:20_000])
    image = nib.load(whole[2])
    nib.save(image.slicer[..., :12], files[2])
    table = tmp_path / "scans.tsv"
    rows = "".join(f"person{i}\t{file.name}\t2.0\n" for i, file in enumerate(files))
    table.write_text(f"participant_id\tpath\ttr\n{rows}")
    with pytest.raises(UserError, match="1 of 3 scans could not be read"):
        tasks.embed_scans(table, tmp_path / "out", side("brainmt"), progress=False)
    counts = tasks.embed_scans(table, tmp_path / "out", side("brainmt"), unreadable="skip", progress=False)
    assert counts["embedded"]["scans"] == 1
    index = pd.read_csv(tmp_path / "out" / "index.tsv", sep="\t")
    assert index["status"].tolist() == ["embedded", "failed", "short"]
    assert np.load(tmp_path / "out" / "mask.npy").tolist() == [True, False, False]
    mirrored = side("brainmt", windows=WindowPolicy(short="pad"))
    counts = tasks.embed_scans(table, tmp_path / "out", mirrored, unreadable="skip", progress=False)
    assert counts["embedded"]["scans"] == 2
    assert counts["brain"]["windows"]["mirrored_windows"] == 1


@pytest.mark.parametrize("name", ["swift", "brainmt"])
def test_one_real_image_goes_through_an_encoder_of_volumes(name, tmp_path):
    counts = tasks.embed_scans(FUNCTIONAL, tmp_path / "out", side(name), progress=False)
    assert counts["embedded"] == {"windows": 1, "scans": 1, "subjects": 1, "width": 32, "left_out": {}}


def test_the_command_composes_to_the_same_call(bids, tmp_path):
    arguments = [f"input={bids}", f"out={tmp_path / 'out'}", "brain=swift_tiny", "brain.windows.most=1"]
    counts = tasks.embed_scans(**config.build(config.compose("embed-scans", arguments)), progress=False)
    assert counts["embedded"]["windows"] == counts["embedded"]["scans"]


def test_impossible_inputs_are_refused_with_what_to_do(bids, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        tasks.embed_scans(tmp_path / "nothing", tmp_path / "a", side("swift"), progress=False)
    with pytest.raises(UserError, match=r"all 4 scans are images, and brainlm reads parcels: an image needs an atlas"):
        tasks.embed_scans(bids, tmp_path / "b", side("brainlm"), progress=False)
    weights = side("brainlm", path=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere does not exist"):
        tasks.embed_scans(bids, tmp_path / "w", weights, atlas=bids.parent / "atlas" / "labels.nii.gz", progress=False)
    assert not (tmp_path / "w").exists()  # a typing error is told before hours of reading
    with pytest.raises(UserError, match="there are none here"):
        tasks.embed_scans(
            bids, tmp_path / "c", EncoderSide("brainlm", scaling="cohort"),
            atlas=bids.parent / "atlas" / "labels.nii.gz", progress=False,
        )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_published_files_are_converted_once(name, tmp_path, capsys):
    shape = {"grid": (9, 10, 6)} if name in ("swift", "brainmt") else {"n_parcels": 424}
    encoder = build_encoder(EncoderSettings(name, weights_seed=3), **shape)
    published = tmp_path / "published"
    save_encoder(encoder, published)
    state = read_encoder(published, name).module.state_dict()
    prefix = "model." if name == "swift" else ""
    torch.save({f"{prefix}{k}": v for k, v in state.items()}, published / "pytorch_model.bin")
    for own in ("model.safetensors", "checksums.json"):  # published folders have neither
        (published / own).unlink()
    tasks.convert_scan_encoder(published, name, tmp_path / "own")
    assert f"brain={name}" in capsys.readouterr().out
    again = read_encoder(tmp_path / "own", name)
    assert all(torch.equal(value, state[key]) for key, value in again.module.state_dict().items())
    torch.save({"weird": torch.zeros(2)}, published / "pytorch_model.bin")
    with pytest.raises(UserError, match="holds no weights of"):
        tasks.convert_scan_encoder(published, name, tmp_path / "other")


def test_the_page_about_the_scans_is_written_beside_the_embeddings(bids, atlas, tmp_path):
    tasks.embed_scans(bids, tmp_path, side("connectome"), atlas=atlas, report=True, progress=False)
    page = (tmp_path / "scans.html").read_text()
    assert "Quality of the scans" in page
    assert "sub-G" not in page
    assert (tmp_path / "scans.html").stat().st_mode & 0o077 == 0


def test_options_of_fit_that_change_nothing_here_are_named(tmp_path, capsys):
    tasks.embed_scans(FUNCTIONAL, tmp_path / "a", side("swift", aggregate="motion", tuning="lora"), progress=False)
    said = capsys.readouterr().out
    assert "brain.aggregate=motion changes nothing here" in said
    assert "brain.tuning=lora changes nothing here" in said
    assert "brain.positives" not in said
