"""Golden files of GENERator by name; a test whose kind of file is absent is skipped with that name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file


def read_json(folder: Path, stem: str) -> Any:
    return json.loads(_present(folder / f"{stem}.json").read_text(encoding="utf-8"))


def read_tensors(folder: Path, stem: str) -> dict[str, torch.Tensor]:
    return load_file(_present(folder / f"{stem}.safetensors"))


def _present(path: Path) -> Path:
    if not path.is_file():
        pytest.skip(f"no {path.name} among the golden files")
    return path
