"""Claim of a run folder: settings, people, and the content of their scans and genomes.

The fingerprint of a cohort holds who is in it and how large its files are; here stands what these files became in the
store. A digest, never ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genebrain import stored_settings
from genebrain.cohort.splits.splits import Split, load_split
from genebrain.common.reading import read_record
from genebrain.common.run_folder import RunFolder, write_json
from genebrain.common.types import IntArray, UserError
from genebrain.runs.care.people import ALONE, PEOPLE, alone_gone, known_people, refuse_changed, rows_now, write_people
from genebrain.runs.care.withdrawn import WITHDRAWN, take_alleles_of_then
from genebrain.sides.scans import BrainSide
from genebrain.sides.vectors.brains import VectorBrain
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.sides.workspace import Workspace

if TYPE_CHECKING:
    from genebrain.runs.fit import Experiment
    from genebrain.runs.pretrain import Pretraining

CONTENTS = "contents.json"


def begin(
    folder: RunFolder, people: Mapping[str, str], choice: Experiment | Pretraining, record: Mapping[str, Any] | None
) -> bool:
    """Make a folder the home of one choice of settings for these people; whether work is left to do there.

    Called once nothing can fail any more that must not block the folder (weights that are not there).

    Parameters
    ----------
    people : mapping
        Fingerprint of who is learned from, by its name in ``settings.json``.
    record : mapping, optional
        What ``config.yaml`` keeps: the choice, and where its input lies.

    Raises
    ------
    UserError
        The folder holds another choice, or other people.
    """
    folder.claim({**people, **asdict(choice)})
    if folder.finished:
        return False
    if record is not None:
        stored_settings.save(record, folder.path / "config.yaml")
    return True


def contents(experiment: Experiment, workspace: Workspace, training: IntArray) -> dict[str, str]:
    """Digests of the stored scans of everybody, in the order of the scan table, and of everybody's chunks.

    Chunks are those under the masks of the training people. Vectors of a file are in the fingerprint of the cohort,
    content included.
    """
    genomes = _genomes(experiment.genetics, workspace, training)
    return {"scans": _scans(experiment.brain, workspace), "genomes": genomes}


def _scans(brain: BrainSide, workspace: Workspace) -> str:
    cohort = workspace.cohort
    if isinstance(brain, VectorBrain):
        return cohort.fingerprint
    more = [] if workspace.unpaired_inputs(brain) is None else [cohort.unpaired_scans]  # which brings them there
    store = brain.scans(cohort, workspace.store)
    known = store.index["sha256"]
    scans = hashlib.blake2b(digest_size=16)
    for key in [key for table in (cohort.scans, *more) for key in store.keys(table)]:
        scans.update(("-" if key is None else str(known[key])).encode())
    return scans.hexdigest()


def _genomes(genetics: GenomeSide, workspace: Workspace, training: IntArray) -> str:
    if isinstance(genetics, VectorGenes):
        return workspace.cohort.fingerprint
    genomes = hashlib.blake2b(digest_size=16)
    for side in workspace.masked(genetics, training):
        chunks = workspace.chunks(side)
        genomes.update(chunks.keys.tobytes())
        genomes.update(np.ascontiguousarray(chunks.index).tobytes())
    return genomes.hexdigest()


def saved_split(run: Path, workspace: Workspace) -> Split:
    """Split of a run among the people of a cohort whose scans are read; who came since is left out of the workspace."""
    now = rows_now(run, workspace)
    split = load_split(run / "split.json", workspace.cohort, now)
    return split if split.gone is None else replace(split, gone={**split.gone, ALONE: alone_gone(run, workspace)})


def own_split(run: Path, experiment: Experiment, workspace: Workspace) -> Split:
    """Split of a run; where its people changed, the alleles that it reads are those of its fit from now on."""
    split = saved_split(run, workspace)
    if (run / WITHDRAWN).exists() or split.gone is not None:
        take_alleles_of_then(run, experiment, workspace, split.training)
    return split


def claim_contents(run: Path, experiment: Experiment, workspace: Workspace, split: Split) -> None:
    """Note on what content a run is fitted, or compare with what was noted.

    Runs of older versions, which noted nothing, are taken as they are once they are finished.

    Raises
    ------
    UserError
        Scans or genomes are not those that the run was fitted on.
    """
    if split.gone is not None:
        refuse_changed(run, experiment, workspace, split.training)
        return
    path, now = run / CONTENTS, contents(experiment, workspace, split.training)
    finished = (run / "provenance.json").exists()
    if not finished and not (run / PEOPLE).exists():
        write_people(run, known_people(experiment, workspace, split.training))
    if not path.exists():
        if not finished:
            write_json(path, now)
        return
    before = read_record(path)
    changed = [what for what in now if before.get(what) != now[what]]
    if changed:
        raise UserError(
            f"the {' and '.join(changed)} of the cohort are not those that {run} was fitted on: they were processed "
            "anew since, or by another version. Fit again in another folder (run=), or bring back the files of then"
        )
