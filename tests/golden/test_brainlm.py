"""Both BrainLM families against the published code's numbers, read from the manifest of the golden folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from genebrain.brain.models.brainlm.canvas import Canvas
from genebrain.brain.models.brainlm.config import BrainLMConfig, ViTMAEConfig
from genebrain.brain.models.brainlm.image import ViTMAE
from genebrain.brain.models.brainlm.region_time import BrainLM
from genebrain.brain.models.brainlm.weights import detect_family, load_brainlm
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.brain.parcels.a424 import a424_coordinates, order_by_y

FOLDER = Path(os.environ.get("GENEBRAIN_GOLDEN", Path(__file__).parent)) / "brainlm"
MANIFEST: dict[str, Any] = (
    json.loads((FOLDER / "manifest.json").read_text()) if (FOLDER / "manifest.json").is_file() else {}
)
MODELS: dict[str, dict[str, Any]] = MANIFEST.get("models", {})
HIDDEN, LOGITS = {"rtol": 0, "atol": 2e-5}, {"rtol": 0, "atol": 5e-5}

pytestmark = pytest.mark.skipif(not MANIFEST, reason="no manifest in the golden folder")


def cases(variant: str) -> list[tuple[str, str]]:
    return [(m, c) for m, spec in MODELS.items() if spec["variant"] == variant for c in spec["cases"]]


def load(model: str, case: str) -> tuple[BrainLM | ViTMAE, dict[str, torch.Tensor], dict[str, Any]]:
    spec = MODELS[model]
    info = spec["cases"][case]
    config = {**spec["config"], "norm_pix_loss": info.get("norm_pix_loss", spec["config"]["norm_pix_loss"])}
    return load_brainlm(FOLDER / spec["weights"], config=config), load_file(FOLDER / info["file"]), info


def check_loss(got: torch.Tensor | None, expected: float | None) -> None:
    """The published loss is 0/0 where nothing is masked; ours is None there."""
    assert (got is None) == (expected is None)
    if got is not None:
        assert float(got) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("model", "case"), cases("brainlm_mae"))
def test_region_by_time(model, case):
    encoder, data, info = load(model, case)
    seen: list[torch.Tensor] = []
    first = next(iter(encoder.vit.encoder["layer"].children()))
    first.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0], output]))
    with torch.no_grad():
        result = encoder(
            data["signal_vectors"],
            data["xyz_vectors"],
            mask_ratio=info["mask_ratio"],
            noise=data["noise"],
            order="shuffled",
        )
    torch.testing.assert_close(seen[0], data["embedding_output"], **HIDDEN)
    torch.testing.assert_close(seen[1], data["hidden_state_1"], **HIDDEN)
    torch.testing.assert_close(result.hidden, data["last_hidden_state"], **HIDDEN)
    torch.testing.assert_close(result.hidden[:, 0], data["cls"], **HIDDEN)
    torch.testing.assert_close(result.hidden[:, 1:].mean(dim=1), data["mean_pool"], **HIDDEN)
    torch.testing.assert_close(result.prediction, data["logits"], **LOGITS)
    assert torch.equal(result.masking.mask.float(), data["mask"])
    assert torch.equal(result.masking.ids_restore, data["ids_restore"])
    check_loss(result.loss, info["loss"])


UNMASKED = [(m, c) for m, c in cases("brainlm_mae") if MODELS[m]["cases"][c]["mask_ratio"] == 0]


@pytest.mark.parametrize(("model", "case"), UNMASKED)
def test_the_default_order_ignores_the_shuffle(model, case):
    """Where nothing is masked, noise changes nothing; with a ramp the default equals the published numbers."""
    encoder, data, info = load(model, case)
    with torch.no_grad():
        plain = encoder(data["signal_vectors"], data["xyz_vectors"])
        noisy = encoder(data["signal_vectors"], data["xyz_vectors"], noise=data["noise"])
    assert torch.equal(plain.hidden, noisy.hidden)
    if info["noise"] == "identity":
        torch.testing.assert_close(plain.hidden, data["last_hidden_state"], **HIDDEN)


@pytest.mark.parametrize(("model", "case"), cases("vit_mae_with_padding"))
def test_image(model, case):
    encoder, data, info = load(model, case)
    picture = data["signal_times_64"].float() / 64
    if info["signal_repeated_to_3_channels"]:
        picture = picture.expand(-1, 3, -1, -1)
    with torch.no_grad():
        result = encoder(picture, mask_ratio=info["mask_ratio"], mode=info["train_mode"], noise=data.get("noise"))
    rows, columns = info["logits_and_pixel_mask_stride"]
    torch.testing.assert_close(result.hidden[:, 0], data["cls"], **HIDDEN)
    torch.testing.assert_close(result.hidden[:, 1:].mean(dim=1), data["mean_pool"], **HIDDEN)
    if "last_hidden_state" in data:
        torch.testing.assert_close(result.hidden, data["last_hidden_state"], **HIDDEN)
        assert torch.equal(result.masking.ids_restore, data["ids_restore"].long())
    torch.testing.assert_close(result.prediction[:, ::rows, ::columns], data["logits"], **LOGITS)
    assert torch.equal(result.masking.mask, data["patch_mask"].bool())
    assert torch.equal(result.target_mask[:, ::rows, ::columns], data["pixel_mask"].bool())
    stats = info["stats"]
    assert int(result.target_mask.sum()) == stats["masked_pixels"]
    assert float(result.prediction.mean()) == pytest.approx(stats["logits_mean"], abs=5e-5)
    assert float(result.prediction.std()) == pytest.approx(stats["logits_std"], abs=5e-5)
    check_loss(result.loss, stats["loss"])


@pytest.mark.parametrize("model", MODELS)
def test_computed_tables_equal_the_stored_ones(model):
    spec = MODELS[model]
    encoder = load_brainlm(FOLDER / spec["weights"], config=spec["config"])
    stored = load_file(FOLDER / spec["weights"])
    head = FOLDER / f"{model}.pe_head.safetensors"
    heads = load_file(head) if head.is_file() else {}
    for key, table in encoder.fixed_tables().items():
        for source in (stored, heads):
            if key in source:
                torch.testing.assert_close(table[: len(source[key])], source[key], rtol=0, atol=1e-6)
    shapes = {key: list(value.shape) for key, value in encoder.state_dict().items()}
    assert shapes == spec["state_dict_shapes"]


@pytest.mark.parametrize("path", sorted((FOLDER / "published").glob("*.json")), ids=lambda path: path.stem)
def test_published_sizes(path):
    published = json.loads(path.read_text())
    family = detect_family(published["state_dict"])
    with torch.device("meta"):
        if family == "image":
            model: BrainLM | ViTMAE = ViTMAE(ViTMAEConfig.from_json(published["config"]))
        else:
            model = BrainLM(BrainLMConfig.from_json(published["config"]))
    state = model.state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == published["state_dict"]
    assert len(state) == published["num_tensors"]
    assert sum(value.numel() for value in state.values()) == published["num_elements"]
    parameters = dict(model.named_parameters())
    assert sum(p.numel() for p in parameters.values()) == published["num_parameters"]
    assert sum(p.numel() for p in parameters.values() if p.requires_grad) == published["num_trainable_parameters"]
    assert sorted(k for k, p in parameters.items() if not p.requires_grad) == sorted(published["frozen_parameters"])
    assert sorted(set(state) - set(parameters)) == sorted(published["persistent_buffers"])


def test_preprocessing():
    if not (FOLDER / "preprocessing.json").is_file():
        pytest.skip("no preprocessing case in the golden folder")
    info, data = (
        json.loads((FOLDER / "preprocessing.json").read_text()),
        load_file(FOLDER / "preprocessing.safetensors"),
    )
    assert np.array_equal(order_by_y(a424_coordinates()), data["reorder_by_y"].numpy())
    patch = 16 if info["target"] % 16 == 0 else 14
    config = ViTMAEConfig(
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=4,
        decoder_hidden_size=4,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=1,
        decoder_intermediate_size=4,
        patch_size=patch,
        image_size=(info["target"], info["target"]),
    )
    contract = ParcelInput("done", frames=info["length"], divisor=info["scale"])
    window = slice(info["start"], info["start"] + info["length"])
    series = (data["recording_times_16"].float() / 16)[:, window].T[None]
    picture = ViTMAE(config, contract).picture(contract.prepare(series, contract.tr))
    torch.testing.assert_close(picture[0, 0], data["window_channel0"], rtol=0, atol=1e-6)
    canvas = Canvas(picture.shape[2], picture.shape[3], config)
    padded = canvas.pad(picture)
    assert list(padded.shape) == info["padded_shape"]
    assert (canvas.left, canvas.top) == (info["pad_left_right"], info["pad_top_bottom"])
    assert float(padded.double().sum()) == pytest.approx(info["padded_sum"], rel=1e-6)
    assert float(padded.double().abs().sum()) == pytest.approx(info["padded_abs_sum"], rel=1e-6)
    corner = data["pad_corner"]
    torch.testing.assert_close(padded[0, 0, : corner.shape[0], : corner.shape[1]], corner, rtol=0, atol=1e-6)
