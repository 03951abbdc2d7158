"""Fixtures shared by all rooms."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from genebrain.messages import show_messages


def pytest_collection_finish() -> None:
    """What is imported by now stays: looking through it for garbage again and again costs a sixth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden files: ``GENEBRAIN_GOLDEN``, or the copy that the repository ships."""
    return Path(os.environ.get("GENEBRAIN_GOLDEN", Path(__file__).parent / "golden"))


@pytest.fixture(autouse=True, scope="session")
def _messages_as_on_the_command_line() -> None:
    """What the package says goes to the streams that ``capsys`` reads."""
    show_messages()
