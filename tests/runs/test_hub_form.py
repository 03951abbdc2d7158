"""Encoders to give away: the same numbers after the round trip, and what learned from genotypes only if allowed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

import genebrain
from genebrain.brain.encoders.files import ALIGNED, save_encoder
from genebrain.brain.encoders.settings import EncoderSettings
from genebrain.brain.models.scaling import CohortScaling
from genebrain.common.types import UserError

COORDINATES = torch.randn(16, 3, generator=torch.Generator().manual_seed(4)).numpy() * 40
SHAPES = {
    "brainlm": {"n_parcels": 16, "coordinates": COORDINATES},
    "brainlm_vit": {"n_parcels": 16, "coordinates": COORDINATES},
    "swift": {"grid": (8, 9, 7)},
    "brainmt": {"grid": (8, 9, 7)},
}


def written(name: str, folder: Path, origin: str, scaling: bool = False) -> genebrain.WindowEncoder:
    encoder = genebrain.build_encoder(EncoderSettings(name, weights_seed=3), **SHAPES[name])
    if scaling:
        generator = torch.Generator().manual_seed(1)
        encoder = encoder.with_scaling(CohortScaling.fit([torch.randn(90, 16, generator=generator).numpy()]))
    save_encoder(encoder, folder, origin)
    (folder / "seen_scans.txt").write_text("0a1b\n2c3d\n")
    return encoder.eval()


@pytest.mark.parametrize(("name", "scaling"), [("brainlm", True), *((name, False) for name in SHAPES)])
def test_a_round_trip_gives_the_same_bits(tmp_path, name, scaling):
    before = written(name, tmp_path / "run" / "encoder", "pretrained on scans of 9 people", scaling)
    out = genebrain.save_pretrained(tmp_path / "run", tmp_path / "hub", licence="cc-by-4.0", data="open scans")
    after = genebrain.from_pretrained(out)
    shape = (before.frames, 16) if name.startswith("brainlm") else (before.frames, 8, 9, 7)
    windows = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(before(windows), after(windows))
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "run/encoder/model.safetensors").read_bytes()
    assert json.loads((out / "config.json").read_text())["model_type"]
    _, front, text = (out / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-4.0"
    assert "pretrained on scans of 9 people" in text
    assert "2 marks of scans" in text
    with pytest.raises(UserError, match="holds files already"):
        genebrain.save_pretrained(tmp_path / "run", out)


def test_what_learned_from_genotypes_is_written_only_where_sharing_is_allowed(tmp_path):
    origin = f"pretrained on scans of 9 people, best epoch 1 of 2, from {ALIGNED} (lora) of 80 people, from random"
    written("swift", tmp_path / "encoder", origin)
    with pytest.raises(UserError, match=r"derives from people's genotypes.*sharing_allowed=True"):
        genebrain.save_pretrained(tmp_path / "encoder", tmp_path / "hub")
    assert not (tmp_path / "hub").exists()
    out = genebrain.save_pretrained(tmp_path / "encoder", tmp_path / "hub", sharing_allowed=True)
    assert "learned from people's genotypes" in (out / "README.md").read_text()
    assert "other" in (out / "README.md").read_text().splitlines()[1]


def test_a_run_without_an_encoder_says_so(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="A run of 'genebrain fit' with frozen encoders trained none"):
        genebrain.save_pretrained(tmp_path / "run", tmp_path / "hub")
    written("swift", tmp_path / "encoder", "pretrained")
    weights = tmp_path / "encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8] + b"\0" * 8)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        genebrain.save_pretrained(tmp_path / "encoder", tmp_path / "hub")
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize(
    "words", ["mit\n---\nname: x\n# Heading", "a: b\r\n- c", '"', "\u2028{", "\ud800", " \t", "\x00"]
)
def test_whatever_is_said_of_licence_data_and_origin_stays_on_its_line(tmp_path, words):
    written("swift", tmp_path / "encoder", words or "x")
    out = genebrain.save_pretrained(tmp_path / "encoder", tmp_path / "hub", licence=words, data=words)
    start, front, text = (out / "README.md").read_text(encoding="utf-8").split("---\n")
    assert not start
    assert sorted(yaml.safe_load(front)) == ["library_name", "license", "tags"]
    assert sum(line.startswith(("#", "name:", "-", "{")) for line in text.splitlines()) == 1  # its own heading


def test_odd_folders_are_sentences(tmp_path):
    written("brainlm", tmp_path / "encoder", "pretrained")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file: name an empty folder"):
        genebrain.save_pretrained(tmp_path / "encoder", tmp_path / "file")
    (tmp_path / "encoder/checksums.json").unlink()
    (tmp_path / "encoder/seen_scans.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="seen_scans"):
        genebrain.save_pretrained(tmp_path / "encoder", tmp_path / "hub")
    assert not (tmp_path / "hub").exists()
    (tmp_path / "encoder/contract.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no contract\.safetensors"):
        genebrain.from_pretrained(tmp_path / "encoder")
