"""One face for the four scan encoders: shapes, determinism, weights in and out, refusals."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from genebrain.brain.encoders.base import ParcelWindowEncoder, WindowEncoder
from genebrain.brain.encoders.build import build_encoder, random_module
from genebrain.brain.encoders.cache import SHELF
from genebrain.brain.encoders.families import get_size
from genebrain.brain.encoders.files import read_encoder, save_encoder
from genebrain.brain.encoders.published import SCAN_ENCODERS
from genebrain.brain.encoders.settings import EncoderSettings
from genebrain.brain.encoders.volumes import VolumeWindowEncoder
from genebrain.brain.models.brainlm.region_time import BrainLM
from genebrain.brain.models.scaling import VIT_DIVISOR, CohortScaling
from genebrain.brain.parcels.a424 import a424_coordinates
from genebrain.common.types import UserError

PARCELS, GRID = 12, (9, 10, 6)


def coordinates(n: int = PARCELS) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=30, size=(n, 3)).astype(np.float32)


def build(name: str, **settings) -> WindowEncoder:
    parcels = SCAN_ENCODERS[name].reads == "parcels"
    shape = {"n_parcels": PARCELS, "coordinates": coordinates()} if parcels else {"grid": GRID}
    return build_encoder(EncoderSettings(name, **settings), **shape)


def windows(encoder: WindowEncoder, n: int = 2) -> torch.Tensor:
    shape = (PARCELS,) if encoder.reads == "parcels" else GRID
    return torch.randn(n, encoder.frames, *shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", tuple(SCAN_ENCODERS))
def test_a_window_gives_one_vector_the_same_bits_every_time_and_whatever_its_batch_mates(name):
    encoder = build(name)
    x = windows(encoder, 3)
    with torch.no_grad():
        y = encoder(x)
        assert y.shape == (3, encoder.hidden_size)
        assert torch.equal(y, encoder(x))
        torch.testing.assert_close(encoder(x[1:2]), y[1:2], rtol=1e-5, atol=1e-6)
        assert (y[0] - y[1]).abs().max() > 1e-6, "another window gives another vector"
        tokens, mask = encoder.tokens(x)
    assert tokens.shape[:2] == mask.shape
    assert tokens.shape[2] == encoder.hidden_size
    assert mask.any(dim=1).all()


@pytest.mark.parametrize("name", tuple(SCAN_ENCODERS))
def test_gradients_reach_the_weights(name):
    encoder = build(name).train()
    encoder.recompute = True
    encoder(windows(encoder)).square().sum().backward()
    assert encoder.recompute
    grads = [p.grad for p in encoder.encoder.parameters() if p.grad is not None]
    assert sum(float(g.abs().sum()) > 0 for g in grads) >= min(6, len(list(encoder.encoder.parameters())))


@pytest.mark.parametrize("name", ["brainlm", "brainlm_vit"])
def test_parcel_encoders_equal_the_module_inside(name):
    encoder = build(name, summary="mean")
    assert isinstance(encoder, ParcelWindowEncoder)
    x = windows(encoder)
    encoder.encoder.contract = encoder.contract
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), encoder.encoder.embed(x, encoder.contract.tr, summary="mean"))
        # Robust scaling of each window: gain and offset of a parcel carry nothing.
        torch.testing.assert_close(encoder(5 * x + 7), encoder(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["swift", "brainmt"])
def test_volumes_are_centred_in_the_box_with_their_background(name):
    encoder = build(name)
    assert isinstance(encoder, VolumeWindowEncoder)
    x = windows(encoder, 1)
    boxed = encoder.boxed(x)
    assert boxed.shape[2:] == encoder.box
    low = [(want - have) // 2 for have, want in zip(GRID, encoder.box, strict=True)]
    inside = boxed[:, :, low[0] : low[0] + 9, low[1] : low[1] + 10, low[2] : low[2] + 6]
    torch.testing.assert_close(inside, x, rtol=0, atol=1e-6)
    assert float(boxed[0, 0, 0, 0, 0]) == pytest.approx(float(x.min()), abs=1e-6)
    with pytest.raises(UserError, match="crop them"):
        encoder.boxed(torch.zeros(1, encoder.frames, 40, 10, 6))
    with torch.no_grad():
        direct = encoder.encoder.embed(encoder.prepare(x))
        torch.testing.assert_close(encoder(x), direct)


def test_x_and_y_change_places_for_brainmt_only():
    swift, brainmt = build("swift"), build("brainmt")
    assert swift.prepare(windows(swift)).shape == (2, 1, 16, 16, 8, 20)
    marked = torch.zeros(1, 20, *GRID)
    marked[:, :, 3, 8, 2] = 1.0
    place = (brainmt.prepare(marked)[0, 0, 0] == 1).nonzero()[0].tolist()
    assert place == [8 + 3, 3 + 3, 2 + 1]  # [Y, X, Z], each behind its padding


@pytest.mark.parametrize("name", tuple(SCAN_ENCODERS))
def test_random_weights_say_so_and_follow_their_seed(name):
    encoder, same, other = build(name), build(name), build(name, weights_seed=1)
    assert encoder.origin == "random weights (seed 0): a control, not a published model"
    assert encoder.fingerprint() == same.fingerprint() != other.fingerprint()
    assert json.dumps(encoder.description())


@pytest.mark.parametrize("name", tuple(SCAN_ENCODERS))
def test_saved_weights_come_back_with_their_contract(name, tmp_path):
    encoder = build(name, weights_seed=4)
    if isinstance(encoder, ParcelWindowEncoder):
        scaling = CohortScaling(np.arange(PARCELS) / 10.0, np.full(PARCELS, 2.0))
        encoder = encoder.with_scaling(scaling)
    folder = save_encoder(encoder, tmp_path / "weights", origin="trained for a test")
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    again = build(name, path=folder, scaling="window" if name == "filters" else "cohort")
    assert again.fingerprint() == encoder.fingerprint()
    assert "trained for a test" in again.origin
    assert (again.frames, again.tr) == (encoder.frames, encoder.tr)
    assert {n: p.requires_grad for n, p in again.named_parameters()} == {
        n: p.requires_grad for n, p in encoder.named_parameters()
    }
    x = windows(encoder)
    with torch.no_grad():
        assert torch.equal(again(x), encoder(x))


@pytest.mark.parametrize("name", tuple(SCAN_ENCODERS))
def test_weights_of_another_family_are_refused_by_name(name, tmp_path):
    folder = save_encoder(build(name), tmp_path / "weights")
    for wanted in SCAN_ENCODERS:
        if wanted != name:
            with pytest.raises(UserError, match=f"holds weights of {name}, not of {wanted}: use brain={name}"):
                read_encoder(folder, wanted)


def test_a_lightning_checkpoint_of_swift_brings_its_sizes(tmp_path):
    module = build("swift").encoder
    file = tmp_path / "last.ckpt"
    parameters = {f.name: getattr(module.config, f.name) for f in dataclasses.fields(module.config)}
    torch.save(
        {"state_dict": {f"model.{k}": v for k, v in module.state_dict().items()}, "hyper_parameters": parameters}, file
    )
    loaded = read_encoder(file, "swift")
    assert loaded.size.config == module.config
    assert loaded.size.published


def test_brainmt_weights_without_sizes_are_asked_for_them(tmp_path):
    save_file(build("brainmt").encoder.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"says nothing of its sizes.*config\.json"):
        read_encoder(tmp_path, "brainmt")


def test_published_weights_refuse_another_parcellation(tmp_path):
    config = get_size("brainlm", "tiny").config
    module = random_module("brainlm", get_size("brainlm", "tiny"), 0)
    assert isinstance(module, BrainLM)
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    settings = EncoderSettings("brainlm", path=tmp_path)
    a424 = a424_coordinates()
    encoder = build_encoder(settings, n_parcels=424)
    assert (encoder.tr, encoder.frames) == (0.735, 200)
    build_encoder(settings, n_parcels=424, coordinates=a424 + 3)
    with pytest.raises(UserError, match="trained on 424 parcels, the scans have 12"):
        build_encoder(settings, n_parcels=PARCELS, coordinates=coordinates())
    with pytest.raises(UserError, match="another parcellation or order"):
        build_encoder(settings, n_parcels=424, coordinates=a424[::-1].copy())


def test_unknown_coordinates_and_the_wrong_kind_of_scan_are_said_so():
    with pytest.raises(UserError, match="parcel_coordinates"):
        build_encoder(EncoderSettings("brainlm"), n_parcels=80)
    with pytest.raises(UserError, match="reads volumes, and these scans are parcel series"):
        build_encoder(EncoderSettings("swift"), n_parcels=80)
    with pytest.raises(UserError, match="reads parcel series, and these scans are volumes"):
        build_encoder(EncoderSettings("brainlm_vit"), grid=GRID)
    assert build_encoder(EncoderSettings("brainlm"), n_parcels=424).hidden_size == 32


def test_wrong_settings_are_listed_together():
    with pytest.raises(UserError) as caught:
        EncoderSettings("swift", size="huge", summary="cls", scaling="none")
    for part in ("size=huge", "no class token", "scaling=none"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="none of brainlm, brainlm_vit, swift, brainmt"):
        EncoderSettings("bert")


@pytest.mark.parametrize("place", ["", "checkpoints", "checkpoints/brain_encoder", "checkpoints/last.ckpt", "gone"])
def test_other_folders_of_a_run_name_the_one_with_the_encoder(place, tmp_path):
    run = tmp_path / "run"
    encoder = build("brainlm_vit")
    weights = save_encoder(encoder, run / "encoder")
    parts = run / "checkpoints" / "brain_encoder"
    parts.mkdir(parents=True)
    some = {k: v for k, v in encoder.encoder.state_dict().items() if "decoder" not in k}
    save_file(some, parts / "weights.safetensors")
    torch.save({"state_dict": {"towers.brain.scale": torch.ones(1)}}, run / "checkpoints" / "last.ckpt")
    for path in [run / place, *(parts.glob("weights.*") if place.endswith("brain_encoder") else ())]:
        with pytest.raises(UserError, match=rf"; the encoder .* in the run run lies in brain\.path={weights}$"):
            read_encoder(path, "brainlm_vit")
        with pytest.raises(UserError, match=rf"brain\.path={weights}$"):
            SHELF.expected(EncoderSettings("brainlm_vit", path))
    with pytest.raises(UserError, match=r"use brain=brainlm_vit$"):
        read_encoder(weights, "brainlm")
    assert read_encoder(weights, "brainlm_vit").size == encoder.size


@pytest.mark.parametrize("name", tuple(SCAN_ENCODERS))
def test_published_sizes_are_those_of_the_papers(name):
    millions = {"brainlm": [13.4], "brainlm_vit": [112.6, 658.3], "swift": [4.3], "brainmt": [40.6, 40.5]}.get(name, [])
    sizes = [size for size in SCAN_ENCODERS[name].sizes if size not in ("tiny", "published")]
    if name in ("swift",):
        sizes = ["published"]
    if name == "brainmt":
        sizes = ["published", "improved"]
    if name == "brainlm_vit":
        sizes = ["published", "650m"]
    if name == "brainlm":
        sizes = ["published"]
    for size, wanted in zip(sizes, millions, strict=True):
        made = get_size(name, size)
        with torch.device("meta"):
            module = type(build(name).encoder)(made.config)
        assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(wanted, abs=0.1)


def test_windows_of_the_wrong_length_are_refused():
    for name, frames in (("brainlm", 30), ("brainlm_vit", 48), ("swift", 21), ("brainmt", 19)):
        encoder = build(name)
        assert encoder.check_frames(encoder.frames) is None
        assert f"{frames} frames" in str(encoder.check_frames(frames)), name
    encoder = build("brainlm_vit")
    assert isinstance(encoder, ParcelWindowEncoder)
    assert encoder.contract.divisor == VIT_DIVISOR
