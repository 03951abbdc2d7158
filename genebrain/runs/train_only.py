"""The model of a run fitted on its train people alone, for judging on its validation people.

The model that ``fit`` leaves has learned from train and validation people together, so validation people say nothing
of it. Here the closed form of the run is fitted anew without them: features, gene columns, and every choice by
cross-validation. Trained towers cannot be judged so: validation decided how long they were trained.
"""

from __future__ import annotations

import logging
from pathlib import Path

from genebrain.alignment.closed_form.told import told_choices
from genebrain.alignment.model import AlignmentModel
from genebrain.cohort.splits.splits import Split
from genebrain.common.run_folder import read_json
from genebrain.common.types import UserError
from genebrain.runs.contents import claim_contents, own_split
from genebrain.runs.fit import Experiment, gather_subjects
from genebrain.runs.recipe import fit_recipe
from genebrain.sides.brains.seen_scans import refuse_seen_people
from genebrain.sides.people import Subjects
from genebrain.sides.workspace import Workspace

log = logging.getLogger(__name__)

CLOSED_FORM_ALONE = (
    "the closed form alone: towers of this run were trained until the validation people were matched best, so these "
    "people cannot judge them"
)


def check_judged_on_validation(run: Path, split: Split) -> None:
    """Refuse a run that its validation people cannot judge, before any work.

    Raises
    ------
    UserError
        There are none, or they decided how long the towers were trained, and the run has no other model.
    """
    if not len(split.validation):
        raise UserError(
            f"the split of {run} has no validation people: judge on split=test, or fit with split.validation"
        )
    meta = read_json(run / "checkpoints" / "model.json")
    if meta["settings"]["start"] == "random":
        raise UserError(
            f"the towers of {run} were trained until its {len(split.validation)} validation people were matched best, "
            "so these people cannot judge them: judge on split=test (a run with alignment.start=closed_form can be "
            "judged on validation: its closed form is fitted on the train people alone)"
        )


def fit_on_train(run: Path, experiment: Experiment, workspace: Workspace) -> tuple[AlignmentModel, Subjects, Split]:
    """Fit the closed form of a finished run on its train people alone, with features fitted on them alone.

    Raises
    ------
    UserError
        See :func:`check_judged_on_validation`; or weights of the scan encoder have seen scans of validation people.
    """
    workspace.ingest(experiment.brain)
    split = own_split(run, experiment, workspace)
    claim_contents(run, experiment, workspace, split)
    check_judged_on_validation(run, split)
    refuse_seen_people(experiment.brain, workspace.cohort, workspace.store, split.validation, "the validation set")
    workspace.embed(experiment.genetics, training=split.train)  # fewer people: other alleles are rare
    subjects = gather_subjects(experiment, workspace, split.train).frozen()
    closed = fit_recipe(subjects, split.train, experiment.alignment, experiment.seed, progress=workspace.progress)
    for line in told_choices(closed.chosen):
        log.info(line)
    about = {"judged": "the closed form, fitted on the train people alone"}
    if read_json(run / "checkpoints" / "model.json")["kept"] == "trained":
        about["judged"] = CLOSED_FORM_ALONE
        log.warning(f"note: split=validation judges {CLOSED_FORM_ALONE}")
    return AlignmentModel(experiment.alignment, closed, approval=about), subjects, split
