"""Through the common face and the checkpoint reader the encoders still give the published numbers; cases are found."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.encoders.build import build_encoder
from genebrain.brain.encoders.files import read_encoder
from genebrain.brain.encoders.settings import EncoderSettings

GOLDEN = Path(os.environ.get("GENEBRAIN_GOLDEN", Path(__file__).parent))
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 2e-5, "check_dtype": False}


def sidecars(folder: str) -> dict[str, Any]:
    return {p.stem: json.loads(p.read_text()) for p in sorted((GOLDEN / folder).glob("*.json"))}


SWIFT = {k: v for k, v in sidecars("swift").items() if isinstance(v, dict) and "model" in v and "runs" in v}
SWIFT_RUNS = [(case, run) for case, document in SWIFT.items() for run in document["runs"]]
BRAINMT = {k: v for k, v in sidecars("brainmt").items() if "config" in v}
BRAINLM: dict[str, Any] = sidecars("brainlm").get("manifest", {}).get("models", {})
UNMASKED = [
    (model, case)
    for model, spec in BRAINLM.items()
    for case, info in spec["cases"].items()
    if spec["variant"] == "brainlm_mae" and info["mask_ratio"] == 0 and info["noise"] == "identity"
]


def loaded(name: str, weights: Path, config: dict[str, Any], folder: Path, **shape: Any) -> WindowEncoder:
    """The encoder from a folder with these weights and this configuration."""
    shutil.copy(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return build_encoder(EncoderSettings(name, path=folder), **shape)


@pytest.mark.parametrize(("case", "run"), SWIFT_RUNS)
def test_swift(case, run, tmp_path):
    data = load_file(GOLDEN / "swift" / f"{case}.io.safetensors")
    if data[f"{run}.input"].shape[1] != 1:
        pytest.skip("scans have one channel")
    weights = GOLDEN / "swift" / f"{case}.weights.safetensors"
    encoder = loaded("swift", weights, SWIFT[case]["model"], tmp_path, grid=(1, 1, 1))
    windows = data[f"{run}.input"].float()[:, 0].movedim(-1, 1)
    with torch.no_grad():
        vectors = encoder(windows)
    torch.testing.assert_close(vectors, data[f"{run}.pooled_mean"].float(), rtol=0, atol=5e-4, check_dtype=False)


@pytest.mark.parametrize("file", sorted((GOLDEN / "swift").glob("*.ckpt")), ids=lambda p: p.stem)
def test_a_lightning_checkpoint_of_swift_by_its_own_sizes(file):
    module = read_encoder(file, "swift").module
    for run in SWIFT[file.stem]["runs"]:
        data = load_file(GOLDEN / "swift" / f"{file.stem}.io.safetensors")
        with torch.no_grad():
            got = module.embed(data[f"{run}.input"].float())
        torch.testing.assert_close(got, data[f"{run}.pooled_mean"].float(), rtol=0, atol=5e-4)


@pytest.mark.parametrize("case", BRAINMT)
def test_brainmt(case, tmp_path):
    values = BRAINMT[case]["config"]
    config = {**values, **(values["ssm_cfg"] or {})}
    config |= {
        "directions": {"uni": "one", "bi": "two"}[values["variant"]],
        "norm": "rms" if values["rms_norm"] else "layer",
    }
    encoder = loaded("brainmt", GOLDEN / "brainmt" / f"{case}.weights.safetensors", config, tmp_path, grid=(1, 1, 1))
    data = load_file(GOLDEN / "brainmt" / f"{case}.io.safetensors")
    if data["input"].shape[2] != 1:
        pytest.skip("scans have one channel")
    windows = data["input"].float()[:, :, 0].transpose(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(encoder(windows), data["features"], **CLOSE)


@pytest.mark.parametrize(("model", "case"), UNMASKED)
def test_brainlm_region_by_time(model, case, tmp_path):
    spec = BRAINLM[model]
    data = load_file(GOLDEN / "brainlm" / spec["cases"][case]["file"])
    config = {**spec["config"], "genebrain": {"frames": 200, "tr": None, "published": False, "origin": "a test"}}
    signal, centres = data["signal_vectors"], data["xyz_vectors"]
    weights = GOLDEN / "brainlm" / spec["weights"]
    # Where the published Nystrom branch runs, a scan's numbers depend on its batch mates: all go together.
    together = bool((centres == centres[:1]).all())
    if spec["config"]["num_landmarks"] != spec["config"]["segment_means_seq_len"] and not together:
        pytest.skip("one face has one set of parcels, and this batch has several that depend on each other")
    parts = [slice(0, len(signal))] if together else [slice(i, i + 1) for i in range(len(signal))]
    for part in parts:
        encoder = loaded(
            "brainlm", weights, config, tmp_path, n_parcels=signal.shape[1], coordinates=centres[part.start].numpy()
        )
        # The published numbers start behind the scaling.
        with torch.no_grad():
            tokens, mask = encoder.encoder.tokens(signal[part].mT)
            torch.testing.assert_close(encoder.summarise(tokens, mask), data["cls"][part], **CLOSE)


def test_there_are_cases():
    if (GOLDEN / "swift").exists():
        assert all(len(found) > 0 for found in (SWIFT_RUNS, BRAINMT, UNMASKED))
