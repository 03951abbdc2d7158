"""SwiFT against the published code's numbers; cases are the json files beside the tensors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from genebrain.brain.swift import SwiFT
from genebrain.brain.swift_config import SwiFTConfig

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
