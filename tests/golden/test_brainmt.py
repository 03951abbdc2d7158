"""BrainMT, its scan, scaling and schedule against the published code's numbers; cases are found, not named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from genebrain.brain.models.brainmt.config import BrainMTConfig
from genebrain.brain.models.brainmt.model import BrainMT
from genebrain.brain.models.brainmt.selective_scan import selective_scan
from genebrain.brain.pretraining.schedule import learning_rate
from tests.oracles.volume_scaling import scale_volumes, to_frames

FOLDER = Path(os.environ.get("GENEBRAIN_GOLDEN", Path(__file__).parent)) / "brainmt"
SIDECARS: dict[str, Any] = {p.stem: json.loads(p.read_text()) for p in sorted(FOLDER.glob("*.json"))}
CASES = [stem for stem, content in SIDECARS.items() if "config" in content]
SHAPES = [(s, v) for s, c in SIDECARS.items() for v in c if isinstance(c[v], dict) and "num_keys" in c[v]]
SCHEDULES = [(s, v) for s, c in SIDECARS.items() for v in c if isinstance(c[v], dict) and "lr_before_step" in c[v]]


def keys(path: Path) -> set[str]:
    with safe_open(path, "pt") as file:
        return set(file.keys())


TABLES = {p.name: keys(p) for p in sorted(FOLDER.glob("*.safetensors"))}
SCANS = [name for name, found in TABLES.items() if {"in.delta", "out.y"} <= found]
VOLUMES = [name for name, found in TABLES.items() if {"input", "model_input"} <= found]

pytestmark = pytest.mark.skipif(not SIDECARS, reason="no BrainMT files in the golden folder")


def config(values: dict[str, Any]) -> BrainMTConfig:
    same = ("img_size", "num_frames", "in_chans", "num_classes", "stem_dim", "width", "depth", "num_heads", "qkv_bias")
    return BrainMTConfig.parity(
        **{key: values[key] for key in same},
        **(values["ssm_cfg"] or {}),
        directions={"uni": "one", "bi": "two"}[values["variant"]],
        norm="rms" if values["rms_norm"] else "layer",
    )


def load(case: str) -> tuple[BrainMT, dict[str, Tensor], dict[str, Any]]:
    model = BrainMT(config(SIDECARS[case]["config"])).eval()
    model.load_state_dict(load_file(FOLDER / f"{case}.weights.safetensors"), strict=True)
    return model, load_file(FOLDER / f"{case}.io.safetensors"), SIDECARS[case]


@pytest.mark.parametrize("case", CASES)
def test_stages_and_features(case):
    model, data, _ = load(case)
    seen: list[Any] = []
    model.layers[0].register_forward_hook(lambda _, inputs, output: seen.append(output))
    tolerance = {"atol": 1e-5, "rtol": 1e-4}
    with torch.no_grad():
        conv = model.convolve(data["input"].float())
        sequence = model.sequence(conv)
        mixed = model.mamba(sequence)
        features = model.attend(mixed)[:, 0]
    stages = {
        "stage.conv_out": conv.flatten(0, 1), "stage.seq_in": sequence, "stage.layer0_hidden": seen[0][0],
        "stage.layer0_residual": seen[0][1], "stage.mamba_out": mixed, "features": features,
    }  # fmt: skip
    for key, got in stages.items():
        torch.testing.assert_close(got, data[key], **tolerance, msg=lambda text, key=key: f"{key}: {text}")
    with torch.no_grad():
        torch.testing.assert_close(model(data["input"].float()), data["head"], **tolerance)


@pytest.mark.parametrize("case", CASES)
def test_float64(case):
    model, data, info = load(case)
    # The unfused path of the published code rounds the residual to float32; here float64 stays float64.
    atol = 1e-9 if info["config"]["fused_add_norm"] else 1e-6
    with torch.no_grad():
        features = model.double().embed(data["input"].double())
        torch.testing.assert_close(features, data["features_f64"], atol=atol, rtol=0)
        torch.testing.assert_close(model.head(features), data["head_f64"], atol=atol, rtol=0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("recompute", [False, True])
def test_gradients(case, recompute):
    model, data, info = load(case)
    model.recompute = recompute
    scan = data["input"].float().requires_grad_()
    features = model.embed(scan)
    loss = (model.head(features) * data["loss_weight_head"]).sum() + (features * data["loss_weight_features"]).sum()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(info["loss"], rel=1e-5)
    parameters = dict(model.named_parameters())
    for name in (key for key in data if key.startswith("grad.")):
        got = parameters[name.removeprefix("grad.")].grad
        assert got is not None
        assert float((got - data[name]).norm() / data[name].norm()) < 1e-4, name
    for name, norm in info["grad_norm"].items():
        assert float(parameters[name].grad.norm()) == pytest.approx(norm, rel=1e-4, abs=1e-6), name
    assert float(scan.grad.norm()) == pytest.approx(info["grad_norm_input"], rel=1e-4)


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("segment", [None, 10])
def test_scan(name, segment):
    data = load_file(FOLDER / name)
    values = {key.removeprefix("in."): data[key].requires_grad_() for key in data if key.startswith("in.")}
    y, last = selective_scan(**values, segment=segment)
    torch.testing.assert_close(y, data["out.y"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(last, data["out.last_state"], atol=1e-5, rtol=1e-4)
    (y * data["loss_weight"]).sum().backward()
    for key, value in values.items():
        expected = data[f"grad.{key}"]
        assert float((value.grad - expected).norm() / expected.norm()) < 1e-4, key


@pytest.mark.parametrize(("sidecar", "variant"), SHAPES)
def test_keys_and_shapes_of_the_full_size(sidecar, variant):
    expected = SIDECARS[sidecar][variant]
    with torch.device("meta"):
        model = BrainMT(BrainMTConfig.parity(directions={"uni": "one", "bi": "two"}[variant]))
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == expected["shapes"]
    assert sum(p.numel() for p in model.parameters()) == expected["num_params"]


@pytest.mark.parametrize("name", VOLUMES)
def test_scaling(name):
    data = load_file(FOLDER / name)
    for key in (key for key in data if "fill_zeroback=" in key):
        method, fill = key.split(".fill_zeroback=")
        got = scale_volumes(data["input"], method, zero_background=fill == "True")
        torch.testing.assert_close(got, data[key].float(), atol=2e-3, rtol=0)
    got = to_frames(scale_volumes(data["input"]))
    torch.testing.assert_close(got, data["model_input"].float(), atol=2e-3, rtol=0)


@pytest.mark.parametrize(("sidecar", "name"), SCHEDULES)
def test_learning_rate(sidecar, name):
    spec = SIDECARS[sidecar][name]
    got = [learning_rate(step, **spec["args"]) for step in range(len(spec["lr_before_step"]))]
    assert got == pytest.approx(spec["lr_before_step"], rel=1e-9)
