"""Fixtures shared by all rooms."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
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


@pytest.fixture(autouse=True)
def _no_log_of_a_sweep_stays() -> Iterator[None]:
    """Hydra gives a sweep a log of its own, whose streams are closed when its test is over."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in [one for one in root.handlers if one not in before]:
        if type(handler) in (logging.StreamHandler, logging.FileHandler):
            root.removeHandler(handler)
    root.setLevel(level)
