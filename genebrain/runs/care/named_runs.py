"""Runs below some folders, with the cohort and the store that each of them names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genebrain import stored_settings
from genebrain.common.types import UserError
from genebrain.runs.places import FROM_RUN, PLACES

NO_RUNS = ("store", "checkpoints", "logs", "figures")
"""Folders in which no runs are looked for."""


@dataclass(frozen=True)
class NamedRun:
    """A run folder, and where its cohort and store lay.

    Attributes
    ----------
    path : Path
    settings : dict
        Of its ``config.yaml``: ``experiment`` of a fit, ``choice`` of a pretraining.
    cohort, store : Path
        ``cohort.yaml`` and folder, whether or not they are there.
    """

    path: Path
    settings: dict[str, Any]
    cohort: Path
    store: Path

    @property
    def finished(self) -> bool:
        """Whether its fit is over."""
        return (self.path / "provenance.json").exists()


def runs_below(folders: Sequence[Path | str]) -> list[NamedRun]:
    """All runs in these folders and below them, cells of ablations among them; links are not followed.

    Raises
    ------
    UserError
        A folder that is not there, or settings of a run that cannot be read.
    """
    found = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"runs={folder}: no such folder")
        for place, inner, names in os.walk(folder):
            inner[:] = sorted(name for name in inner if name not in NO_RUNS and not name.startswith("."))
            if "config.yaml" in names and "settings.json" in names:
                found.append(_named(Path(place)))
    return list({run.path.resolve(): run for run in found}.values())


def same_place(one: Path, other: Path) -> bool:
    """Whether two paths name one file or folder."""
    return one.resolve() == other.resolve()


def _named(run: Path) -> NamedRun:
    settings = stored_settings.load(run / "config.yaml")
    base = run.resolve() if settings.get(PLACES) == FROM_RUN else Path()
    cohort, store = settings.get("cohort"), settings.get("store")
    if not isinstance(cohort, str) or not isinstance(store, str | None):
        raise UserError(f"the config.yaml of {run} does not say where its cohort is; leave this folder out of runs=")
    place = Path(os.path.normpath(base / cohort))
    return NamedRun(run, settings, place, Path(os.path.normpath(base / store)) if store else place.parent / "store")
