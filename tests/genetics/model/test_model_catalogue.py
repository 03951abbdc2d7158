"""The list of models: sizes that are those of the models, and a cache that is believed only when it is complete."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from huggingface_hub import try_to_load_from_cache

from genebrain import tasks
from genebrain.genetics.encoders.carbon import MODELS
from genebrain.genetics.model import catalogue as model_catalogue
from genebrain.genetics.model.catalogue import dna_models
from genebrain.genetics.model.checkpoints import CHECKPOINTS
from genebrain.genetics.model.language_model import load_language_model


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty hub cache of this test."""
    looked_up = partial(try_to_load_from_cache, cache_dir=tmp_path / "hub")
    monkeypatch.setattr(model_catalogue, "try_to_load_from_cache", looked_up)
    return tmp_path / "hub"


def _snapshot(cache: Path, name: str) -> Path:
    checkpoint = CHECKPOINTS[name]
    folder = cache / f"models--{checkpoint.hub_id.replace('/', '--')}" / "snapshots" / checkpoint.revision
    folder.mkdir(parents=True)
    return folder


def _cached() -> dict[str, str]:
    return {row["name"]: row["cached"] for row in dna_models()}


def test_every_name_that_loads_is_listed_with_its_size() -> None:
    rows = {row["name"]: row for row in dna_models()}
    assert list(rows) == ["generator_tiny", *CHECKPOINTS]
    tiny = load_language_model(device="cpu").model
    assert rows["generator_tiny"]["parameters"] == sum(p.numel() for p in tiny.parameters())
    large = rows["generator_v2_3b"]
    assert (large["parameters"], large["bf16_gb"], large["float32_gb"]) == (2_998_262_784, 5.997, 11.993)
    assert large["hub_id"] == "GenerTeam/GENERator-v2-eukaryote-3b-base"
    assert len(large["revision"]) == 40
    assert torch.tensor(0.0).element_size() * large["parameters"] / 1e9 == pytest.approx(large["float32_gb"], abs=1e-3)


def test_a_download_counts_when_all_its_files_are_there(cache: Path) -> None:
    assert set(_cached().values()) == {"built in", "no"}
    folder = _snapshot(cache, "generator_v2_1.2b")
    (folder / "config.json").write_text("{}")
    assert _cached()["generator_v2_1.2b"] == "partly"
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-1.safetensors").touch()
    assert _cached()["generator_v2_1.2b"] == "partly"
    (folder / "model-2.safetensors").touch()
    assert _cached() == {**dict.fromkeys(CHECKPOINTS, "no"), "generator_tiny": "built in", "generator_v2_1.2b": "yes"}


def test_another_revision_in_the_cache_is_not_this_model(cache: Path) -> None:
    folder = _snapshot(cache, "generator_v1_3b")
    for name in ("config.json", "model.safetensors"):
        (folder / name).touch()
    folder.rename(folder.with_name("0" * 40))
    assert _cached()["generator_v1_3b"] == "no"


def test_the_verb_prints_and_writes_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tasks.models(out=tmp_path / "models.json")
    assert {"generator_tiny", *CHECKPOINTS, *MODELS} == {row["name"] for row in rows}
    carbon = next(row for row in rows if row["name"] == "carbon_3b")
    assert (carbon["hub_id"], carbon["cached"], carbon["bf16_gb"]) == ("HuggingFaceBio/Carbon-3B", "no", 6.0)
    assert json.loads((tmp_path / "models.json").read_text()) == rows
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(rows) + 1
    assert "1,162,061,824" in printed[2]
