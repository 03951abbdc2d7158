"""Scripts of experiments as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def script(place: str) -> ModuleType:
    """The script at this place of ``experiments``."""
    path = EXPERIMENTS / place
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.path.insert(0, str(path.parent))  # files of a study import one another by their plain names
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
        for name in set(sys.modules) - before:
            if (path.parent / f"{name}.py").is_file():
                del sys.modules[name]
    return module
