"""Settings of a finished run, and where its cohort and its store lie.

Paths are written relative to the run folder, so that a run can be shared and moved together with them: absolute ones
name users, and paths relative to wherever a command once ran are found from there alone. Runs of older versions hold
those.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genebrain import stored_settings
from genebrain.common.checksums import verify_run
from genebrain.common.types import UserError
from genebrain.runs.fit import Experiment
from genebrain.sides.vectors.cohorts import open_cohort
from genebrain.sides.workspace import Workspace

PLACES = "places"
FROM_RUN = "relative to this folder"


@dataclass(frozen=True)
class StoredRun:
    """What the folder of a fit says about it; made by :func:`open_stored`."""

    path: Path
    experiment: Experiment
    stored: Mapping[str, Any]

    def workspace(
        self, cohort: Path | None = None, store: Path | str | None = None, *, progress: bool = True
    ) -> Workspace:
        """The cohort of the run with its store; both where they are now, if they were moved."""
        path, place = found_places(self.path, self.stored, cohort, store)
        sides = self.experiment.genetics, self.experiment.brain
        return Workspace(open_cohort(path, *sides), place, progress=progress)


def open_stored(run: Path | str, *, results: bool = True) -> StoredRun:
    """Compare a run folder with its checksums (``results``: of what ``evaluate`` wrote too) and read its settings.

    Raises
    ------
    UserError
        A damaged file, or a folder that is no run of ``fit``.
    """
    path = Path(run)
    verify_run(path, results=results)
    stored = stored_settings.load(path / "config.yaml")
    experiment = stored.get("experiment")
    if not isinstance(experiment, Experiment):
        raise UserError(f"{run} is no run of 'genebrain fit': its config.yaml holds no experiment")
    return StoredRun(path, experiment, stored)


def kept_places(run: Path, **places: Path | str | None) -> dict[str, Any]:
    """Entries of ``config.yaml`` for files and folders by name; None stays None."""
    base = run.resolve()
    relative = {
        name: None if path is None else os.path.relpath(Path(path).resolve(), base) for name, path in places.items()
    }
    return {PLACES: FROM_RUN, **relative}


def found_places(
    run: Path, stored: Mapping[str, Any], cohort: Path | None = None, store: Path | str | None = None
) -> tuple[Path, Path | None]:
    """Cohort file and store of a run; ``cohort`` and ``store`` where they are now, if they were moved.

    Raises
    ------
    UserError
        The cohort is not where it was at the fit.
    """
    base = run.resolve() if stored.get(PLACES) == FROM_RUN else Path()
    if cohort is None:
        named = stored.get("cohort")
        if not isinstance(named, str):
            raise UserError(f"the config.yaml of {run} names no cohort: say where it is with cohort.path=")
        cohort = Path(os.path.normpath(base / named))
        if not cohort.exists():
            raise UserError(
                f"the cohort of {run} is not at {cohort}: if it was moved, say where it is with "
                "cohort.path=FOLDER/cohort.yaml"
            )
        kept = stored.get("store")
        if store is None and isinstance(kept, str):
            store = os.path.normpath(base / kept)
    return cohort, None if store is None else Path(store)


def refuse_another_cohort(run: Path, cohort: Path, fingerprint: str) -> None:
    """Raise a UserError for a run of other people, before their scans are read.

    A copy of the same files is no other cohort, and of one that is not where it was nothing can be said yet: the run
    itself knows it once the scans are read.

    Parameters
    ----------
    cohort : Path
        The cohort file that is wanted.
    fingerprint : str
        Of that cohort as its files say, before unusable scans are left out.
    """
    if not (run / "config.yaml").exists():
        return
    stored = stored_settings.load(run / "config.yaml")
    experiment = stored.get("experiment")
    try:
        before, _ = found_places(run, stored)
        if not isinstance(experiment, Experiment) or before.samefile(cohort):
            return
        same = open_cohort(before, experiment.genetics, experiment.brain).fingerprint == fingerprint
    except (UserError, OSError):
        return
    if not same:
        raise UserError(
            f"run folder {run} holds a fit of another cohort ({before}); choose another run=, or delete the folder"
        )


def kept_store(run: Path, stored: Mapping[str, Any], store: Path | str | None = None) -> Path | None:
    """Store of a run where it is still there, else None; the cohort need not be."""
    if store is None and isinstance(kept := stored.get("store"), str):
        store = os.path.normpath((run.resolve() if stored.get(PLACES) == FROM_RUN else Path()) / kept)
    return Path(store) if store is not None and Path(store).is_dir() else None
