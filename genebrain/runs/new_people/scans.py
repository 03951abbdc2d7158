"""Score vectors of new people's scans, from scans alone; nothing is fitted.

Cleaning, atlas, encoder and features are those of the run. The series go into a private folder that is deleted, unless
a store is named; those of a cohort go into its own.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from genebrain.alignment.model import AlignmentModel
from genebrain.cohort.participants import Cohort
from genebrain.cohort.relatedness.kinship import Pairs
from genebrain.common.run_folder import read_json
from genebrain.common.types import UserError
from genebrain.runs.embed_scans import ScanSource
from genebrain.runs.fit import Experiment
from genebrain.runs.new_people.genomes import scored
from genebrain.runs.transfer import (
    COORDINATES,
    brain_coordinates,
    brain_features,
    refuse_others,
    refuse_own_only,
)
from genebrain.sides.vectors.brains import VectorBrain
from genebrain.sides.workspace import Workspace

BRAIN_KEYS = ("parcels", "atlas", "time_step")


def people_of_scans(source: ScanSource) -> Cohort:
    """People who have scans and nothing else, one row for each id of the scan table."""
    table = source.table()
    ids = list(dict.fromkeys(table["participant_id"].astype(str)))
    row = {name: number for number, name in enumerate(ids)}
    scans = table.assign(person=[row[str(name)] for name in table["participant_id"]])
    everybody = np.arange(len(ids))
    nothing, none = Path(), np.empty(0, np.int64)
    return Cohort(
        folder=source.input.parent,
        name=source.input.name,
        table=pd.DataFrame({"participant_id": ids, "genotype_id": ids, "family": everybody, "genome": everybody}),
        scans=scans.sort_values("person", kind="stable").reset_index(drop=True),
        genotypes=nothing,
        reference=nothing,
        windows=nothing,
        atlas=source.atlas,
        known_answer=None,
        funnel={"after_filters": len(ids), "scans": len(scans)},
        pairs=Pairs(none, none, np.empty(0)),
        relatedness=[],
        fingerprint="",
        parcel_coordinates=source.centres,
    )


def scan_vectors(
    run: Path,
    experiment: Experiment,
    model: AlignmentModel,
    people: Cohort,
    *,
    store: Path | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Score vectors of the scans of these people, ids as index; people without a usable scan are left out and told.

    Raises
    ------
    UserError
        The run reads vectors, or has a part that knows its own people only; another atlas, number of parcels or time
        step; no usable scan.
    """
    side = experiment.brain
    if isinstance(side, VectorBrain):
        raise UserError(f"{run} was fitted on vectors of scans: give vectors of the new people, not scans")
    refuse_own_only(run, experiment)
    known = read_json(run / "checkpoints" / COORDINATES)
    wanted = {key: known[key] for key in BRAIN_KEYS if key in known}
    with TemporaryDirectory(prefix="genebrain-new-people-") as folder:
        workspace = Workspace(people, store or Path(folder), progress=progress)
        workspace.ingest(side)
        refuse_others(wanted, brain_coordinates(side, workspace), run, people.name)
        (features,) = brain_features(run, side, model, workspace).values()
        ids = workspace.cohort.table["participant_id"].astype(str).tolist()
        return scored(model, features, model.closed_form.brain_vectors, "brain_tower", ids)
