"""SwiFT against the published code's numbers; cases are the json files beside the tensors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from genebrain.brain.models.swift.config import SwiFTConfig
from genebrain.brain.models.swift.model import SwiFT
from genebrain.brain.models.swift.weights import load_swift
from genebrain.brain.pretraining.contrast import local_local, nt_xent
from genebrain.brain.pretraining.objectives import EmbeddingHead, LinearHead
from tests.oracles.swift import TwoLayerHead, global_local_temporal, warmup_cosine_restarts
from tests.oracles.volume_scaling import normalise_volumes

FOLDER = Path(os.environ.get("GENEBRAIN_GOLDEN", Path(__file__).parent)) / "swift"
DOCUMENTS: dict[str, Any] = {p.stem: json.loads(p.read_text()) for p in sorted(FOLDER.glob("*.json"))}
ENCODERS = {k: v for k, v in DOCUMENTS.items() if isinstance(v, dict) and "model" in v and "runs" in v}
RUNS = [(case, run) for case, document in ENCODERS.items() for run in document["runs"]]

pytestmark = pytest.mark.skipif(not DOCUMENTS, reason="no SwiFT files in the golden folder")


def encoder(case: str, dtype: torch.dtype) -> SwiFT:
    weights = load_file(FOLDER / f"{case}.weights.safetensors")
    model = SwiFT(SwiFTConfig.from_mapping(ENCODERS[case]["model"])).to(dtype).eval()
    own = {k.removeprefix("model."): v for k, v in weights.items() if not k.startswith("model.head.")}
    model.load_state_dict(own)
    return model


def tolerance(case: str, dtype: torch.dtype) -> float:
    """Stated ones; in float32 the reference itself moves more where windows are padded and shifted."""
    if dtype == torch.float64:
        return 2e-6
    own = max(run["max_abs_dev_ref_fp32_vs_fp64"] for run in ENCODERS[case]["runs"].values())
    return 5e-4 if own > 2e-5 else 1e-4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("case", "run"), RUNS)
def test_encoder(case, run, dtype):
    data = {
        k.removeprefix(f"{run}."): v
        for k, v in load_file(FOLDER / f"{case}.io.safetensors").items()
        if k.startswith(f"{run}.")
    }
    model = encoder(case, dtype)
    close: dict[str, Any] = {"rtol": 0, "atol": tolerance(case, dtype), "check_dtype": False}
    stages: list[torch.Tensor] = []
    for stage in model.layers:
        stage.register_forward_hook(lambda _m, _x, out: stages.append(out.detach().movedim(-1, 1)))
    scan = data["input"].to(dtype).requires_grad_("cotangent" in data)
    feature_map = model(scan)
    torch.testing.assert_close(feature_map.detach(), data["feature_map"].to(dtype), **close)
    for i, out in enumerate(stages):
        if f"stage{i}_out" in data:
            torch.testing.assert_close(out, data[f"stage{i}_out"], **close)
    with torch.no_grad():
        torch.testing.assert_close(model.embed(scan), data["pooled_mean"], **close)
        torch.testing.assert_close(model.embed(scan, summary="frames").mT, data["pooled_space"], **close)
    if "cotangent" not in data:
        return
    loss = (feature_map * data["cotangent"].to(dtype)).sum() / feature_map.numel() ** 0.5
    relative = 1e-6 if dtype == torch.float64 else 1e-4
    assert loss.item() == pytest.approx(ENCODERS[case]["runs"][run]["loss"], rel=1e-4, abs=1e-6)
    loss.backward()
    expected = {k.removeprefix("grad_param.model."): v for k, v in data.items() if k.startswith("grad_param.")}
    got = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert expected.keys() <= got.keys()
    for name, gradient in {**expected, "input": data["grad_input"]}.items():
        own = scan.grad if name == "input" else got[name]
        assert float((own - gradient).abs().max()) <= relative * float(gradient.abs().max()), name


def test_published_keys_and_shapes():
    found = [d for d in DOCUMENTS.values() if isinstance(d, dict) and "encoder_parameters" in d]
    if not found:
        pytest.skip("no list of published keys")
    for document in found:
        with torch.device("meta"):
            model = SwiFT(SwiFTConfig.from_mapping(document["config"]))
        shapes = {f"model.{k}": list(v.shape) for k, v in model.state_dict().items()}
        assert shapes == document["encoder"]
        assert sum(p.numel() for p in model.parameters()) == document["encoder_parameters"]


CHECKPOINTS = sorted(FOLDER.glob("*.ckpt"))


@pytest.mark.parametrize("file", CHECKPOINTS, ids=lambda p: p.stem)
def test_lightning_checkpoint(file):
    case = file.stem
    model = load_swift(file)
    own = encoder(case, torch.float32).state_dict()
    assert model.config == SwiFTConfig.from_mapping(ENCODERS[case]["model"])
    assert all(torch.equal(value, own[key]) for key, value in model.state_dict().items())


HEADS = FOLDER / "heads.safetensors"


@pytest.mark.skipif(not HEADS.is_file(), reason="no head cases")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_heads(dtype):
    data = load_file(HEADS)
    feature_map = data["feature_map"].to(dtype)
    close: dict[str, Any] = {"rtol": 1e-6 if dtype == torch.float64 else 1e-5, "atol": 2e-6, "check_dtype": False}
    for name in sorted({key.split(".")[0] for key in data if ".output_head." in key}):
        weights = {k.split("output_head.")[1]: v for k, v in data.items() if k.startswith(f"{name}.output_head.")}
        head: torch.nn.Module
        if "fc1.weight" in weights:
            head = EmbeddingHead(feature_map.shape[1], weights["fc1.weight"].shape[0])
        else:
            kind = TwoLayerHead if "hidden.weight" in weights else LinearHead
            head = kind(feature_map.shape[1], weights["head.weight"].shape[0])
        head.load_state_dict(weights)
        head = head.to(dtype).eval()
        with torch.no_grad():
            for key in (f"{name}.expected", f"{name}.expected_eval_g"):
                if key in data:
                    torch.testing.assert_close(head(feature_map), data[key], **close)
            if f"{name}.expected_train_g" in data:
                torch.testing.assert_close(head.train()(feature_map), data[f"{name}.expected_train_g"], **close)
                after = data[f"{name}.running_var_after_one_train_step"]
                torch.testing.assert_close(head.get_buffer("bn1.running_var"), after, **close)


LOSSES = DOCUMENTS.get("losses", {}).get("scalars", {})


@pytest.mark.parametrize("name", [n for n in LOSSES if n.startswith("ntxent")])
def test_nt_xent(name):
    data = {k: v.double() for k, v in load_file(FOLDER / "losses.safetensors").items()}
    _, unit, rest = name.split(".", 2)
    temperature, similarity = rest.removeprefix("temp").rsplit(".", 1)
    end = "" if unit == "unit" else f"_{unit}"
    zis, zjs = (data[key + end].requires_grad_() for key in ("zis", "zjs"))
    loss = nt_xent(zis, zjs, float(temperature), similarity=similarity)
    assert loss.item() == pytest.approx(LOSSES[name], rel=1e-6)
    loss.backward()
    for key, own in (("zis", zis.grad), ("zjs", zjs.grad)):
        if f"{name}.grad_{key}" in data:
            torch.testing.assert_close(own, data[f"{name}.grad_{key}"], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("name", [n for n in LOSSES if n.startswith("pretrain") and n.endswith("local_local")])
def test_local_local(name):
    data = {k: v.double() for k, v in load_file(FOLDER / "losses.safetensors").items()}
    views, partner = ((data[f"local_{c}_view1"], data[f"local_{c}_view2"]) for c in ("y", "diff"))
    loss = local_local(views, partner, float(name.split("temp")[1].rsplit(".", 1)[0]))
    assert loss.item() == pytest.approx(LOSSES[name], rel=1e-6)


@pytest.mark.parametrize("name", [n for n in LOSSES if n.startswith("global_local_temporal")])
def test_global_local_temporal(name):
    data = load_file(FOLDER / "losses.safetensors")
    loss = global_local_temporal(data["lsr"].double(), data["gdr"].double(), float(name.split("temp")[-1]))
    assert loss.item() == pytest.approx(LOSSES[name], rel=1e-6)


SCHEDULES = [s for d in DOCUMENTS.values() if isinstance(d, list) for s in d if s.get("cycle_mult") == 1]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule(schedule):
    options = {k: schedule[k] for k in ("warmup_steps", "max_lr", "min_lr", "gamma")}
    cycle_steps, expected = schedule["first_cycle_steps"], schedule["lr_before_each_step"]
    got = [warmup_cosine_restarts(i, cycle_steps=cycle_steps, **options) for i in range(len(expected))]
    assert got == pytest.approx(expected, rel=1e-9)


PREPROCESSED = FOLDER / "preprocess.safetensors"


@pytest.mark.skipif(not PREPROCESSED.is_file(), reason="no preprocessing case")
def test_normalisation():
    """The published crop first, which ``normalise_volumes`` leaves to the box."""
    data = load_file(PREPROCESSED)
    volume = data["volume"][:, 14:-7].numpy()
    own = torch.from_numpy(normalise_volumes(volume, volume.shape[:3])).movedim(0, -1).half()
    expected = data["z-norm.fill_min"]
    step = torch.finfo(torch.float16).eps * expected.float().abs().clamp(min=2**-14)
    assert ((own.float() - expected.float()).abs() <= step).all()
