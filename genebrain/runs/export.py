"""Vectors of the people of a run as parquet files, for any other analysis.

Individual-level data: files are readable by their owner alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from genebrain.alignment.closed_form.column_sets import GeneBlocks
from genebrain.alignment.closed_form.motifs.members import MOTIFS
from genebrain.alignment.towers.towers import ProjectorBody, tower_vectors
from genebrain.cohort.splits.splits import PARTS
from genebrain.common.files import make_private
from genebrain.common.run_folder import write_json
from genebrain.common.types import FloatArray, UserError
from genebrain.common.vectors import READING, write_vectors
from genebrain.runs.run import Run

NOTE = "export.json"


def export_run(run: Run, out: Path, *, features: bool = False) -> dict[str, str]:
    """Write the vectors of everybody; returns what each file holds, by name.

    Parameters
    ----------
    run : Run
    out : Path
        ``genome.parquet`` and ``brain.parquet``: ``participant_id``, ``split``, and the score vectors ``v0``, ``v1``...
        whose dot product is the score. Of trained towers also ``genome_projector.parquet`` and
        ``brain_projector.parquet``. ``export.json`` says which is which.
    features : bool
        Also what the model takes in: ``genome_features.parquet`` (columns ``window:piece:number``) and
        ``brain_features.parquet`` (fitted on the training people), with all readings of either side that the fit chose
        among (``reading|window:piece:number``). ``fit genes= brains=`` of these two, with the same people and split, is
        the same fit; counts of words (``genetics.columns=both+motifs``) are the one reading that is left out.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file; name a folder")
    people, subjects, fitted = run.vectors("all"), run.subjects, run.fitted
    make_private(out)
    split = np.full(len(people.ids), "left_out", dtype=object)
    for part in PARTS:
        split[run.rows(part)] = part
    labels = {"split": [str(one) for one in split]}
    width, kept = people.genome.shape[1], fitted.kept
    score = fitted.settings.score
    written = {
        f"{side}.parquet": f"score vectors of the {kept} model, {width} columns: the dot product of a {side} vector "
        f"and one of the other side is the score ({score})"
        for side in ("genome", "brain")
    }
    tables: dict[str, tuple[FloatArray, list[str] | None]] = {
        "genome.parquet": (people.genome, None),
        "brain.parquet": (people.brain, None),
    }
    for side, values in _projected(run).items():
        tables[f"{side}_projector.parquet"] = values, None
        written[f"{side}_projector.parquet"] = (
            f"output of the projector of the trained {side} tower, {values.shape[1]} columns: a representation for "
            "other analyses; not scored itself"
        )
    if features:
        tables["genome_features.parquet"] = _, columns = _blocks(run)
        candidates = subjects.candidates
        tables["brain_features.parquet"] = scans, _ = _scans(candidates)
        left = isinstance(subjects.blocks, GeneBlocks) and MOTIFS in subjects.blocks.sources
        written["genome_features.parquet"] = (
            f"pooled genomes before the tower, {len(columns)} columns, by reading and window"
            + ("; counts of words are left out, so a fit on it is another one" if left else "")
        )
        written["brain_features.parquet"] = (
            f"features of the scans ({', '.join(candidates)}), {scans.shape[1]} columns, fitted on the training "
            f"people; the model uses {fitted.brain_name}"
        )
    for name, (values, columns_) in tables.items():
        write_vectors(out / name, people.ids, values, columns_, labels)
    write_json(out / NOTE, {"run": str(run.path), "people": len(people.ids), "files": written}, private=True)
    return written


def export_elsewhere(run: Run, cohort: Path, out: Path, store: Path | str | None = None) -> dict[str, str]:
    """Write the score vectors of everybody of a second cohort; the column ``split`` says ``second``."""
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file; name a folder")
    people = run.vectors_of(cohort, store)
    make_private(out)
    labels = {"split": ["second"] * len(people.ids)}
    written = {}
    for side, values in (("genome", people.genome), ("brain", people.brain)):
        write_vectors(out / f"{side}.parquet", people.ids, values, None, labels)
        written[f"{side}.parquet"] = (
            f"score vectors of people of a second cohort, {values.shape[1]} columns: the dot product of a {side} "
            "vector and one of the other side is the score"
        )
    write_json(out / NOTE, {"run": str(run.path), "people": len(people.ids), "files": written}, private=True)
    return written


def _projected(run: Run) -> dict[str, FloatArray]:
    """Outputs of the projectors of towers that are kept; nothing where they are the score vectors already."""
    fitted, subjects = run.fitted, run.subjects
    towers = fitted.towers
    if towers is None or fitted.kept != "trained":
        return {}
    gene, brain = ProjectorBody.of(towers.gene_tower), ProjectorBody.of(towers.brain_tower)
    if gene is None or brain is None:
        return {}
    closed = fitted.closed_form
    return {
        "genome": tower_vectors(gene, subjects.gene_input(closed)),
        "brain": tower_vectors(brain, subjects.brain_input(closed)),
    }


def _scans(candidates: Mapping[str, FloatArray]) -> tuple[FloatArray, list[str]]:
    """Features of all candidates side by side, and names of their columns."""
    names = [f"{name}{READING}{i}" for name, values in candidates.items() for i in range(values.shape[1])]
    return np.concatenate(list(candidates.values()), axis=1), names


def _blocks(run: Run) -> tuple[FloatArray, list[str]]:
    """Blocks of all windows side by side, of one reading after the other, and names of their columns."""
    blocks = run.subjects.blocks
    sources = blocks.sources if isinstance(blocks, GeneBlocks) else {"": blocks}
    names = run.workspace.window_names(run.experiment.genetics, len(blocks))
    # Coordinates of chunks differ in number from mask to mask.
    sets = blocks.sets if isinstance(blocks, GeneBlocks) else ()
    widths = {one.source: one.settings.item_width for one in sets}
    made, columns = [], list[str]()
    for source, windows in sources.items():
        width = None if source.startswith("dosages") else widths.get(source, run.subjects.item_width)
        for name, block in zip(names, windows, strict=True) if source != MOTIFS else ():
            before = f"{source}{READING}{name}" if source else name
            made.append(block)
            columns += [
                f"{before}:{i}" if width is None else f"{before}:c{i // width}:{i % width}"
                for i in range(block.shape[1])
            ]
    return np.concatenate(made, axis=1), columns
