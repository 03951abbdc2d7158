"""What the tests of GENERator share: its golden files, their tolerances, its weights as a checkpoint folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.golden.generator_cases import read_json


@pytest.fixture(scope="session")
def generator(golden: Path) -> Path:
    """Folder of the golden files of GENERator."""
    found = golden / "generator"
    if not (found / "manifest.json").is_file():
        pytest.skip("no generator/manifest.json among the golden files")
    return found


@pytest.fixture(scope="session")
def tolerances(generator: Path) -> dict[str, Any]:
    return read_json(generator, "manifest")["tolerances"]


@pytest.fixture(scope="session")
def checkpoint(generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = sorted(generator.glob("*llama*.safetensors"))
    if not weights:
        pytest.skip("no Llama weights among the golden files")
    checkpoint = tmp_path_factory.mktemp("checkpoint")
    shutil.copyfile(weights[0], checkpoint / "model.safetensors")
    shutil.copyfile(weights[0].with_suffix(".config.json"), checkpoint / "config.json")
    return checkpoint
