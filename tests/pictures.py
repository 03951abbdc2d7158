"""Judgements whose pictures nobody looks at: half of the time of a small ``evaluate`` is drawing.

Pictures are drawn, and looked at, by the tests of reports, findings, studies and of the whole pipeline.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from genebrain.studies.findings import files

BLANK = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=")


def _blank(figure: Figure, place: Any, **form: Any) -> None:
    if isinstance(place, str | Path):
        Path(place).write_bytes(BLANK)
    else:
        place.write(BLANK)


@pytest.fixture(scope="module", autouse=True)
def blank_pictures() -> Iterator[None]:
    """Every picture is one white point; importing this fixture into a ``conftest.py`` is enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _blank)
        patch.setattr(files, "glass_brain", lambda *given: Figure())
        yield
