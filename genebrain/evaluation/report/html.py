"""Parts of self-contained HTML pages: strict templates, and figures as PNG inside the text."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def template(folder: Path, **filters: Callable[..., object]) -> Template:
    """The page template of a folder, with filters by name; what a page lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template("page.html.jinja")


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()


def data_url(picture: bytes) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
