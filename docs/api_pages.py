"""Pages of the API reference, one per package, from the names that genebrain makes public.

A name is public when it stands in ``genebrain.__all__`` (or ``genebrain.tasks.__all__``). It is documented under the
name that a user imports; pages follow the package in which it is written.
"""

from __future__ import annotations

import importlib
import inspect
from collections import defaultdict
from pathlib import Path

TITLES = {
    "tasks": "Verbs: the command line as functions",
    "runs": "Finished runs",
    "alignment": "Alignment: towers, losses, poolings, closed form",
    "genetics": "Genome side: DNA in, vectors out",
    "brain": "Brain side: scans in, vectors out",
    "evaluation": "Judging: ranks, intervals, null distributions",
    "training": "Training loop",
    "simulation": "Simulated cohorts",
    "genebrain": "Shared names",
}
"""Order and headings of the pages; packages that are not named here follow under their own name."""


def public_names() -> dict[str, list[str]]:
    """Public names by the package that holds their code: ``{"tasks": ["genebrain.tasks.fit", ...], ...}``."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    seen: set[int] = set()
    for module_name in ("genebrain", "genebrain.tasks"):
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            documented = inspect.isclass(thing) or inspect.isroutine(thing)
            if documented and id(thing) not in seen:
                seen.add(id(thing))
                parts = thing.__module__.split(".")
                found[parts[1] if len(parts) > 1 else "genebrain"][f"{module_name}.{name}"] = None
    order = [*TITLES, *sorted(set(found) - set(TITLES))]
    return {package: sorted(found[package]) for package in order if package in found}


def write(folder: Path) -> None:
    """Write ``index.rst`` and one page per package; files that say the same already are left alone."""
    folder.mkdir(exist_ok=True)
    pages = {"index.rst": _index(names := public_names())}
    pages |= {f"{package}.rst": _page(package, listed) for package, listed in names.items()}
    for old in folder.glob("*.rst"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _index(names: dict[str, list[str]]) -> str:
    lines = [
        *_heading("Python API", "="),
        "Everything here is stable to import by the name that is shown. Shapes and units stand in each docstring;",
        ":doc:`the glossary </docs/glossary>` explains the words.",
        "",
        ".. toctree::",
        "   :maxdepth: 2",
        "",
        *(f"   {package}" for package in names),
    ]
    return "\n".join(lines) + "\n"


def _page(package: str, names: list[str]) -> str:
    lines = _heading(TITLES.get(package, package), "=")
    for name in names:
        module_name, _, attribute = name.rpartition(".")
        thing = getattr(importlib.import_module(module_name), attribute)
        lines += _heading(attribute, "-")
        if inspect.isclass(thing):
            lines += [f".. autoclass:: {name}", "   :members:", "   :exclude-members: training, forward", ""]
        else:
            lines += [f".. autofunction:: {name}", ""]
    return "\n".join(lines) + "\n"


def _heading(text: str, underline: str) -> list[str]:
    return [text, underline * len(text), ""]
