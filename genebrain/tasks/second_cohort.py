"""A run on people of another cohort, or of its own cohort at another place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genebrain.common.run_folder import read_json
from genebrain.common.types import Metrics, UserError


@dataclass(frozen=True)
class CohortPlace:
    """Where a cohort lies.

    Parameters
    ----------
    path : str, optional
        A ``cohort.yaml``; None: that of the run, where a run is named.
    """

    path: str | None = None


def evaluate_elsewhere(
    run: Path,
    experiment: Any,
    cohort: Path,
    settings: Any,
    out: Path | str | None,
    store: Path | str | None,
    *,
    progress: bool,
) -> Metrics:
    """Judge a run on the cohort at this path: as its own where it is the same one, else as a second one.

    Raises
    ------
    UserError
        A second cohort without ``out``, or one that the model does not fit.
    """
    from genebrain.runs.contents import own_split
    from genebrain.studies.judgement import judge_run
    from genebrain.studies.transfer import judge_elsewhere

    experiment, workspace = opened_elsewhere(experiment, cohort, store, progress=progress)
    if out is not None:
        if is_same(run, workspace):
            raise UserError(f"{cohort} is the cohort that {run} was fitted on: leave out= away")
        return judge_elsewhere(run, experiment, workspace, settings, Path(out))  # which refuses people of the run
    if not is_own(run, experiment, workspace):
        raise UserError(f"{cohort} is not the cohort of {run}: name a folder for what is found there (out=DIR)")
    split = own_split(run, experiment, workspace)
    workspace.embed(experiment.genetics, training=split.training)
    return judge_run(run, experiment, workspace, settings)


def opened_elsewhere(experiment: Any, cohort: Path, store: Path | str | None, *, progress: bool) -> tuple[Any, Any]:
    """Experiment and workspace for the cohort at this path, its scans read."""
    from genebrain.sides.vectors.cohorts import open_cohort, without_file
    from genebrain.sides.workspace import Workspace

    genetics, brain = without_file(experiment.genetics), without_file(experiment.brain)
    experiment = replace(experiment, genetics=genetics, brain=brain)
    workspace = Workspace(open_cohort(cohort, genetics, brain), store, progress=progress)
    workspace.ingest(experiment.brain)
    return experiment, workspace


def is_own(run: Path, experiment: Any, workspace: Any) -> bool:
    """Whether this is the cohort of a run; it stays so where less than half of its people are gone, whoever came."""
    from genebrain.runs.care.people import holds_most_people

    return is_same(run, workspace) or holds_most_people(run, experiment.brain, workspace)


def is_same(run: Path, workspace: Any) -> bool:
    """Whether nothing has changed in the cohort of a run."""
    return bool(workspace.cohort.fingerprint == read_json(run / "provenance.json")["cohort_fingerprint"])


def refuse_out(out: Path | str | None) -> None:
    """Refuse a folder for the metrics of a run's own people."""
    if out is not None:
        raise UserError("out= is for a second cohort (cohort.path=...); the metrics of a run stay in its folder")
