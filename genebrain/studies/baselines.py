"""Baselines that a new alignment must beat: the same training people, the same test people.

- ``ridge_cca``: regularised canonical correlation on the model's own features.
- ``confound_only``: the brain from site, ancestry, age, sex and motion alone. What it retrieves is not genes.
- ``dosage``: the default recipe on the true dosages of all variants in the windows: what a perfect reading of
  the sequence would give.
- ``best_scan_reading``: the model's own gene columns against the optimal reading of the scans, in the place of brain
  features: what a perfect scan encoder would give. Known for simulated cohorts only.
- ``best_gene_reading``: the true genetic values, in the place of gene columns, against the model's brain features: what
  a perfect reading of the genomes would give. Known for simulated cohorts only.
- ``textbook``: random projectors, InfoNCE, cosine on the model's own features.
- ``residualised``: the default recipe after confounds were regressed out of both sides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from genebrain.alignment.closed_form.column_sets import Blocks, mapped, rows_of
from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.fit import ClosedForm, ClosedFormSettings, TooManyColumnsError, fit_closed_form
from genebrain.alignment.closed_form.latents import JOINED
from genebrain.alignment.closed_form.ridge_cca import fit_ridge_cca
from genebrain.alignment.model import AlignmentModel
from genebrain.alignment.settings import AlignmentSettings, ProjectorSettings, TrainerSettings
from genebrain.cohort.column_roles import confound_columns
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.runs.fit import Experiment
from genebrain.runs.recipe import fit_alignment
from genebrain.sides.people import Subjects
from genebrain.sides.readings import Readings
from genebrain.sides.workspace import Workspace

log = logging.getLogger(__name__)

# Strong dropout and weight decay: the best of the settings tried on known-answer cohorts, so that the comparison
# does not win against a straw man. A patience of 60 epochs finds the same best epoch in 7 of 9 simulated cohorts of 500
# and 1,000 people, and recall@1 of test people that differs by less than .001 on average.
TEXTBOOK = AlignmentSettings(start="random", train="full", score="cosine", projector=ProjectorSettings(dropout=0.6))
TEXTBOOK_TRAINER = TrainerSettings(learning_rate=1e-3, weight_decay=1.0, patience=25)
Vectors = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class Arena:
    """What a comparison may use.

    Parameters
    ----------
    fitted : AlignmentModel
        The model that is judged.
    subjects : Subjects
        Features of everybody.
    train, validation, judged : int array
        Rows. No validation rows where these are judged.
    experiment, workspace
        Of the run.
    truth : dict of float arrays, optional
        Optimal readings of everybody's scans (``u``) and true genetic values (``g``), of a simulated cohort that holds
        an effect.
    folder : Path
        Scratch space for the arm that is trained by gradient.
    """

    fitted: AlignmentModel
    subjects: Subjects
    train: IntArray
    validation: IntArray
    judged: IntArray
    experiment: Experiment
    workspace: Workspace
    truth: dict[str, FloatArray] | None
    folder: Path

    @property
    def training(self) -> IntArray:
        """Everybody that may be learned from."""
        return np.sort(np.concatenate([self.train, self.validation]))

    @property
    def confounds(self) -> FloatArray | None:
        """Confounds of everybody; None when the participants table has none."""
        cohort = self.workspace.cohort
        return confound_matrix(cohort.table, self.training, cohort.own.confounds)


def ridge_cca(arena: Arena) -> Vectors:
    """Ridge CCA on the model's own gene columns and brain features."""
    columns, brain = _own_features(arena)
    return _ridge(arena, columns, brain)


def confound_only(arena: Arena) -> Vectors | None:
    """Ridge CCA from confounds to the brain; None when the participants table has none."""
    confounds = arena.confounds
    return None if confounds is None else _ridge(arena, confounds, _own_features(arena)[1])


def dosage(arena: Arena) -> Vectors | None:
    """The default recipe on true dosages; None when there are more variants than it handles.

    Where the model reads dosages beside embeddings, this is its own dosage part, on the same brain latents.
    """
    closed = arena.fitted.closed_form
    if "dosages" in closed.alone:
        columns = closed.gene_columns(rows_of(arena.subjects.blocks, arena.judged))
        return scored(closed.of_family("dosages"), columns, arena.subjects, arena.judged)
    dosages = arena.workspace.dosage_blocks(arena.experiment.genetics)
    try:
        return _closed_form(arena, dosages, arena.subjects.candidates, ColumnSettings(kind="dosages"))
    except TooManyColumnsError as error:
        log.warning(f"left out: the comparison dosage ({error})")
        return None


def best_scan_reading(arena: Arena) -> Vectors | None:
    """The default recipe between the model's gene blocks and the optimal readings of the scans."""
    if arena.truth is None:
        return None
    return _closed_form(arena, arena.subjects.blocks, {"reading": arena.truth["u"]})


def best_gene_reading(arena: Arena) -> Vectors | None:
    """The default recipe between the true genetic values and the model's brain features."""
    if arena.truth is None:
        return None
    parts = {part: arena.subjects.brain[part] for part in arena.fitted.brain_name.split(JOINED)}
    return _closed_form(arena, [arena.truth["g"]], Readings(parts), ColumnSettings())


def textbook(arena: Arena) -> Vectors | None:
    """Random projectors on the model's own columns and features, InfoNCE with early stopping, cosine; encoders frozen.

    None where no validation people are left to stop by: they are the ones that are judged.
    """
    if not len(arena.validation):
        log.warning(
            "left out: the comparison textbook (validation people say when to stop it, and here they are judged)"
        )
        return None
    subjects = arena.subjects.frozen()
    fitted = fit_alignment(
        subjects,
        arena.train,
        arena.validation,
        TEXTBOOK,
        TEXTBOOK_TRAINER,
        arena.folder / "textbook",
        seed=arena.experiment.seed,
        progress=False,
        closed=arena.fitted.closed_form,
    )
    return fitted.vectors(subjects, arena.judged)


def residualised(arena: Arena) -> Vectors | None:
    """The default recipe after regressing confounds out of both sides, coefficients from training people."""
    confounds = arena.confounds
    if confounds is None:
        return None
    rows, name = arena.training, arena.fitted.brain_name
    # Before the components are taken, so that they are those of what the confounds leave.
    blocks = mapped(arena.subjects.blocks, lambda block: _residuals(confounds, block, rows))
    parts = {part: arena.subjects.brain[part] for part in name.split(JOINED)}
    return _closed_form(arena, blocks, Readings({n: _residuals(confounds, f, rows) for n, f in parts.items()}))


COMPARISONS: dict[str, Callable[[Arena], Vectors | None]] = {
    "ridge_cca": ridge_cca,
    "confound_only": confound_only,
    "dosage": dosage,
    "best_scan_reading": best_scan_reading,
    "best_gene_reading": best_gene_reading,
    "textbook": textbook,
    "residualised": residualised,
}


def check_comparisons(names: list[str]) -> None:
    """Raise a UserError for unknown names."""
    unknown = [n for n in names if n not in COMPARISONS]
    if unknown:
        raise UserError(f"comparisons {', '.join(unknown)} do not exist; use {', '.join(COMPARISONS)}")


def confound_matrix(table: pd.DataFrame, training: IntArray, named: Sequence[str] | None) -> FloatArray | None:
    """Confounds as standardised columns ``[people, columns]``: categories as indicators, missing values as mean.

    Includes the squares of age and age x sex, and the ancestry components of the table. Categories and means are
    those of the training people; a category that they do not have is all zeros.
    """
    columns: list[FloatArray] = []
    for name in confound_columns(table, named):
        values = table[name]
        if pd.api.types.is_numeric_dtype(values):
            number = values.to_numpy(dtype=np.float64)
            filled = np.where(np.isnan(number), np.nanmean(number[training]), number)
            columns += [filled, filled**2] if name == "age" else [filled]
        else:
            text = values.astype(str).to_numpy()
            columns += [(text == level).astype(np.float64) for level in np.unique(text[training])[1:]]
    if not columns:
        return None
    matrix = np.stack(columns, axis=1)
    center, spread = matrix[training].mean(axis=0), matrix[training].std(axis=0)
    kept = spread > 1e-8
    if not kept.any():
        return None
    return ((matrix - center)[:, kept] / spread[kept]).astype(np.float32)


def scored(closed: ClosedForm, columns: FloatArray, subjects: Subjects, rows: IntArray) -> Vectors:
    """Score vectors of these rows by a closed form; ``columns`` are their gene columns."""
    return closed.gene_vectors(columns), closed.brain_vectors(subjects.brain[str(closed.chosen["brain"])][rows])


def _closed_form(
    arena: Arena, blocks: Blocks, brain: dict[str, FloatArray], columns: ColumnSettings | None = None
) -> Vectors:
    """Vectors of the judged by the default recipe; ``columns`` where the blocks are not like the model's own."""
    rows = arena.training
    model = fit_closed_form(
        rows_of(blocks, rows),
        {name: values[rows] for name, values in brain.items()},
        arena.subjects.family[rows],
        genomes=arena.subjects.genome[rows],
        seed=arena.experiment.seed,
        settings=ClosedFormSettings(
            columns=columns or ColumnSettings(item_width=arena.subjects.item_width), stack=True
        ),
        progress=arena.workspace.progress,
    )
    judged = model.gene_columns(rows_of(blocks, arena.judged))
    return model.gene_vectors(judged), model.brain_vectors(brain[model.chosen["brain"]][arena.judged])


def _own_features(arena: Arena) -> Vectors:
    return arena.fitted.columns(arena.subjects), arena.subjects.brain[arena.fitted.brain_name]


def _ridge(arena: Arena, columns: FloatArray, brain: FloatArray) -> Vectors:
    rows = arena.training
    people = arena.subjects
    model = fit_ridge_cca(
        columns[rows], brain[rows], people.family[rows], seed=arena.experiment.seed, genomes=people.genome[rows]
    )  # fmt: skip
    return model.gene_vectors(columns[arena.judged]), model.brain_vectors(brain[arena.judged])


def _residuals(confounds: FloatArray, values: FloatArray, training: IntArray) -> FloatArray:
    design = np.column_stack([np.ones(len(confounds)), confounds]).astype(np.float64)
    if np.isnan(values).any():  # genotypes that are not known
        observed = np.isfinite(values)
        mean = np.where(observed, values, 0)[training].sum(axis=0) / np.maximum(observed[training].sum(axis=0), 1)
        values = np.where(observed, values, mean)
    # A little ridge keeps indicator columns that nearly repeat each other from blowing up.
    gram = design[training].T @ design[training]
    gram += 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram))
    coefficients = np.linalg.solve(gram, design[training].T @ values[training].astype(np.float64))
    return (values - design @ coefficients).astype(np.float32)
