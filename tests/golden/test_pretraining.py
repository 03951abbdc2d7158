"""The pretraining objectives give the published code's losses, read from the golden folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from genebrain.brain.models.brainlm.weights import load_brainlm
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.brain.parcels.a424 import order_by_y
from genebrain.brain.pretraining.objectives import ClipContrast, MaskedPicture, MaskedSeries

FOLDER = Path(os.environ.get("GENEBRAIN_GOLDEN", Path(__file__).parent))
MANIFEST = FOLDER / "brainlm" / "manifest.json"
MODELS: dict[str, Any] = json.loads(MANIFEST.read_text())["models"] if MANIFEST.is_file() else {}
CASES = [(m, c) for m, spec in MODELS.items() for c, info in spec["cases"].items() if info.get("mask_ratio", 0) > 0]
LOSSES_JSON = FOLDER / "swift" / "losses.json"
LOSSES: dict[str, float] = json.loads(LOSSES_JSON.read_text())["scalars"] if LOSSES_JSON.is_file() else {}


@pytest.mark.parametrize(("model", "case"), CASES)
def test_masked_reconstruction(model, case):
    spec = MODELS[model]
    info = spec["cases"][case]
    config = {**spec["config"], "norm_pix_loss": info.get("norm_pix_loss", spec["config"]["norm_pix_loss"])}
    encoder = load_brainlm(FOLDER / "brainlm" / spec["weights"], config=config)
    data = load_file(FOLDER / "brainlm" / info["file"])
    generator = torch.Generator().manual_seed(0)
    batch = {"noise": data["noise"]} if "noise" in data else {}
    if spec["variant"] == "brainlm_mae":
        signal, where = data["signal_vectors"], data["xyz_vectors"]
        if not torch.equal(where, where[:1].expand_as(where)):
            pytest.skip("a contract holds one set of coordinates for all scans")
        encoder.contract = ParcelInput("done", coordinates=where[0].numpy(), frames=None)
        objective: Any = MaskedSeries(encoder, info["mask_ratio"], "shuffled")
        batch["clips"], expected = signal.mT[:, None], info["loss"]
    else:
        picture = data["signal_times_64"].float() / 64
        if not torch.equal(picture[:, :1].expand_as(picture), picture):
            pytest.skip("an objective reads series, which make three equal channels")
        # Rows of the picture are in order already: coordinates that leave them there.
        rows = picture.shape[2]
        where = torch.stack([torch.zeros(rows), torch.arange(rows), torch.zeros(rows)], dim=1).numpy()
        assert order_by_y(where).tolist() == list(range(rows))
        encoder.contract = ParcelInput("done", coordinates=where, frames=None)
        objective = MaskedPicture(encoder, info["mask_ratio"], info["train_mode"])
        batch["clips"], expected = picture[:, 0].mT[:, None], info["stats"]["loss"]
    with torch.no_grad():
        loss = objective(batch, generator).loss
    assert float(loss) == pytest.approx(expected, rel=1e-5)


class Views(torch.nn.Module):
    """Stands for encoder, augmentation and head: gives stored embeddings in the order in which views are made."""

    hidden_size = 4

    def __init__(self, stored: list[torch.Tensor]) -> None:
        super().__init__()
        self.stored = list(stored)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.stored.pop(0)


def contrast(kind: str, stored: list[torch.Tensor], temperature: float) -> float:
    augmentation = None if kind == "instance" else lambda clips, generator: clips
    objective = ClipContrast(Views(stored), kind, augmentation, temperature, local_reduction="sum")  # type: ignore[arg-type]
    objective.head = torch.nn.Identity()  # type: ignore[assignment]
    batch = {"clips": torch.zeros(len(stored[0]), 2, 1)}
    return float(objective(batch, torch.Generator().manual_seed(0)).loss)


@pytest.mark.parametrize("name", [n for n in LOSSES if n.startswith("ntxent.unit") and n.endswith("cosine")])
def test_instance_contrast(name):
    data = {k: v.double() for k, v in load_file(FOLDER / "swift" / "losses.safetensors").items()}
    temperature = float(name.split("temp")[1].rsplit(".", 1)[0])
    assert contrast("instance", [data["zis"], data["zjs"]], temperature) == pytest.approx(LOSSES[name], rel=1e-6)


@pytest.mark.parametrize("name", [n for n in LOSSES if n.startswith("pretrain") and n.endswith("local_local")])
def test_local_contrast(name):
    data = {k: v.double() for k, v in load_file(FOLDER / "swift" / "losses.safetensors").items()}
    order = ("local_y_view1", "local_diff_view1", "local_y_view2", "local_diff_view2")
    temperature = float(name.split("temp")[1].rsplit(".", 1)[0])
    assert contrast("local", [data[key] for key in order], temperature) == pytest.approx(LOSSES[name], rel=1e-6)
