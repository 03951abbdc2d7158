"""A fitted model on other people: what a run keeps for that, and the features of another cohort in its coordinates.

``fit`` leaves ``checkpoints/coordinates.json`` (which windows, letters, parcels or columns the model reads),
``gene_bases.safetensors`` (gene coordinates in the space of the encoder), ``alleles.json`` (alleles that are common
among its training people, which decide what is masked), ``reference_letters.safetensors`` (the reference genome in the
windows) and marks of the scans that were learned from.
Nothing of the cohort of the run is needed afterwards, and nothing of the other cohort is fitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.alignment.model import AlignmentModel
from genebrain.brain.connectome.stored_moments import values_of
from genebrain.cohort.participants import Cohort
from genebrain.cohort.splits.splits import Split
from genebrain.cohort.tables.problems import named
from genebrain.common.files import write_private
from genebrain.common.hashing import content_digest
from genebrain.common.run_folder import read_json, write_json
from genebrain.common.tensor_files import read_arrays
from genebrain.common.types import FloatArray, UserError
from genebrain.genetics.genome.contigs import canonical
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.genetics.genome.kept_letters import write_letters
from genebrain.genetics.genome.reference import Reference
from genebrain.runs.fit import Experiment
from genebrain.runs.saved_features import FEATURES
from genebrain.sides.brains.seen_scans import FILE, refuse_seen, save_seen
from genebrain.sides.connectome import ConnectomeSide, person_scans
from genebrain.sides.genes.elsewhere import genes_elsewhere, save_gene_coordinates
from genebrain.sides.people import Subjects
from genebrain.sides.scans import BrainSide
from genebrain.sides.vectors.brains import VectorBrain
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.sides.workspace import Workspace

COORDINATES, LETTERS = "coordinates.json", "reference_letters.safetensors"
WORDS = {
    "windows": "windows (name, contig, start, end, strand)",
    "letters": "letters of the reference in the windows (another genome build?)",
    "columns": "columns of the gene vectors",
    "parcels": "parcels",
    "atlas": "atlas",
    "brain_columns": "columns of the brain vectors",
    "time_step": "seconds between two frames",
}


def not_transferable(experiment: Experiment) -> str:
    """Why a model of this experiment cannot read other people; empty where it can."""
    if experiment.tuned_sides or getattr(experiment.brain, "aggregate", "mean") == "attention":
        return "an encoder was trained inside fit"
    if experiment.pooling.trainable:
        return "its pooling was trained, on chunks of its own cohort"
    if getattr(experiment.brain, "scaling", "window") == "cohort":
        return "brain.scaling=cohort scales by scans of its own cohort"
    return ""


def save_coordinates(experiment: Experiment, workspace: Workspace, split: Split, folder: Path) -> None:
    """Keep what other people will need, beside the checkpoints of a fit; nothing where they cannot be read."""
    if not_transferable(experiment):
        return
    save_gene_coordinates(experiment.genetics, experiment.pooling, workspace, split.training, folder)
    brain, cohort = experiment.brain, workspace.cohort
    if not isinstance(experiment.genetics, VectorGenes):
        write_letters(folder / LETTERS, read_windows(cohort.windows), cohort.reference)
    if isinstance(brain, VectorBrain):
        (values,) = brain.inputs(cohort, workspace.store, split.training)
        learned = np.concatenate([values[split.training], *(workspace.unpaired_inputs(brain) or ())])
        write_private(folder / FILE, "".join(f"{mark}\n" for mark in sorted(_marks(learned))).encode())
    else:
        scans = brain.scans(cohort, workspace.store)
        keys, table = person_scans(cohort, scans), cohort.scans
        known = [key for row in split.training for key in keys[row]]
        if getattr(brain, "unpaired", False):
            table = pd.concat([table, cohort.unpaired_scans])
            known += [key for key in scans.keys(cohort.unpaired_scans) if key is not None]
        save_seen(folder, scans, table, known)
    write_json(folder / COORDINATES, coordinates(experiment, workspace), private=True)


def coordinates(experiment: Experiment, workspace: Workspace) -> dict[str, Any]:
    """What a model reads of a cohort, in names and hashes that must be the same elsewhere; None is not known."""
    genetics, brain = experiment.genetics, experiment.brain
    return gene_coordinates(genetics, workspace.cohort) | brain_coordinates(brain, workspace)


def gene_coordinates(genetics: GenomeSide, cohort: Cohort) -> dict[str, Any]:
    """The half of :func:`coordinates` that speaks of genomes."""
    if isinstance(genetics, VectorGenes):
        return {"columns": named_columns(genetics.read(cohort)[0].columns)}
    windows = read_windows(cohort.windows)
    with Reference(cohort.reference) as reference:
        reference.check(windows)
        letters = b"".join(reference.fetch(window) for window in windows)
    return {
        "windows": [[w.name, canonical(w.contig), w.start, w.end, w.strand] for w in windows],
        "letters": hashlib.sha256(letters).hexdigest(),
    }


def brain_coordinates(brain: BrainSide, workspace: Workspace) -> dict[str, Any]:
    """The half of :func:`coordinates` that speaks of scans."""
    cohort, found = workspace.cohort, dict[str, Any]()
    if isinstance(brain, VectorBrain):
        return {"brain_columns": named_columns(brain.read(cohort).columns)}
    report = workspace.ingest(brain)
    found["parcels"] = report.get("n_parcels") or None
    found["atlas"] = None if cohort.atlas is None else content_digest(cohort.atlas)
    steps = [float(step) for step in report.get("time_steps", {}) if step != "unknown"]
    # Encoders resample to a time step of their own, or refuse by themselves.
    found["time_step"] = steps[0] if steps and isinstance(brain, ConnectomeSide) else None
    return found


def load_elsewhere(run: Path, experiment: Experiment, workspace: Workspace) -> tuple[AlignmentModel, Subjects]:
    """The model of a run, and another cohort's people in its coordinates.

    Parameters
    ----------
    workspace : Workspace
        Of the other cohort; its chunks are embedded and its scans read where that was not done yet.

    Raises
    ------
    UserError
        Another build, windows, atlas, number of parcels or columns, time step; people that the model has learned from;
        a run of an older version or with a part that knows its own people only.
    """
    refuse_own_only(run, experiment)
    folder = run / "checkpoints"
    workspace.ingest(experiment.brain)
    refuse_others(read_json(folder / COORDINATES), coordinates(experiment, workspace), run, workspace.cohort.name)
    refuse_known(folder, experiment.brain, workspace)
    model = AlignmentModel.load(folder)
    blocks, item_width = genes_elsewhere(experiment.genetics, experiment.pooling, workspace, folder)
    table = workspace.cohort.table
    subjects = Subjects(
        blocks=blocks,  # windows that a person lacks take the mean of the training people in the model
        brain=brain_features(run, experiment.brain, model, workspace),
        genome=np.array(table["genome"], dtype=np.int64),
        family=np.array(table["family"], dtype=np.int64),
        item_width=item_width,
    )
    return model, subjects


def refuse_own_only(run: Path, experiment: Experiment) -> None:
    """Refuse a run whose model cannot read other people, or that did not keep what they need."""
    if reason := not_transferable(experiment):
        raise UserError(f"the model of {run} reads its own cohort only: {reason}")
    if not (run / "checkpoints" / COORDINATES).is_file():
        raise UserError(
            f"{run} was fitted by an older version, which did not keep how other people are read: fit it again in "
            "another folder (run=)"
        )


def brain_features(run: Path, side: BrainSide, model: AlignmentModel, workspace: Workspace) -> dict[str, FloatArray]:
    """Features of the scans of other people, as the run fitted them, under the name that the model knows."""
    name = str(model.closed_form.chosen["brain"])
    feature = side.restore(name, read_arrays(run / "checkpoints" / FEATURES))
    nobody = np.empty(0, np.int64)
    return values_of({name: feature}, workspace.brain_inputs(side, nobody))


def refuse_others(wanted: Mapping[str, Any], found: Mapping[str, Any], run: Path, cohort: str) -> None:
    """Refuse a cohort (by its name) whose numbers would mean something else to the model, naming all that differs."""
    differ = []
    for key, value in wanted.items():
        other = found.get(key)
        if value is None or other is None or _same(value, other):
            continue
        shown = f"{value:g} and {other:g}" if isinstance(value, int | float) else ""
        if isinstance(value, str):  # a digest: the same file shows the same letters anywhere
            shown = f"checksums {value[:8]} and {other[:8]}"
        if key in ("columns", "brain_columns"):
            shown = f"{value['n']:,} and {other['n']:,}" if value["n"] != other["n"] else "other names or another order"
            shown += " (columns are known by their names; arrays without names have v0, v1...)"
        if key == "windows":
            common = sum(one in other for one in value)
            shown = f"{len(value)} and {len(other)}, {common} the same"
        differ.append(f"{WORDS[key]}{f': {shown}' if shown else ''}")
    if differ:
        raise UserError(f"the model of {run} does not fit cohort {cohort}; other {'; other '.join(differ)}")


def refuse_known(folder: Path, side: BrainSide, workspace: Workspace) -> None:
    """Refuse a cohort that holds scans which the model has learned from."""
    cohort, where = workspace.cohort, f"cohort {workspace.cohort.name}"
    if isinstance(side, VectorBrain):
        (values,) = side.inputs(cohort, workspace.store, np.empty(0, np.int64))
        known = set((folder / FILE).read_text().split())
        names = cohort.table["participant_id"]
        shared = [str(name) for name, mark in zip(names, _marks(values), strict=True) if mark in known]
        if shared:
            raise UserError(
                f"{len(shared)} of {len(cohort)} people of {where} were learned from when {folder.parent} was fitted, "
                "so a result on them would be too good: leave them out (`exclude:` in cohort.yaml names a file, one id "
                f"a line): {named(shared)}"
            )
        return
    scans = side.scans(cohort, workspace.store)
    keys = [key for person in person_scans(cohort, scans) for key in person]
    refuse_seen(folder, scans, cohort.scans, keys, where, "leave these people out (`exclude:` in cohort.yaml)")


def _marks(values: FloatArray) -> list[str]:
    """What each person's vector is known by."""
    rows = np.ascontiguousarray(values, np.float32)
    return [hashlib.blake2b(b"seen vector " + row.tobytes(), digest_size=12).hexdigest() for row in rows]


def named_columns(columns: list[str]) -> dict[str, Any]:
    """Number of columns and a hash of their names, in order."""
    return {"n": len(columns), "names": hashlib.sha256("\n".join(columns).encode()).hexdigest()}


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, float) or isinstance(other, float):
        return abs(float(value) - float(other)) <= 0.01 * abs(float(value))
    return bool(value == other)
