"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden files: ``GENEBRAIN_GOLDEN``, or the copy that the repository ships."""
    return Path(os.environ.get("GENEBRAIN_GOLDEN", Path(__file__).parent / "golden"))
