"""Scripts of experiments as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def script(place: str) -> ModuleType:
    """The script at this place of ``experiments``."""
    path = EXPERIMENTS / place
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
