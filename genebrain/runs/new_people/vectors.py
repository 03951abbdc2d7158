"""Tower vectors of new people from files of vectors, one side at a time; nothing is fitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.alignment.model import AlignmentModel
from genebrain.cohort.tables.problems import Problems
from genebrain.cohort.tables.vectors import check_gene_vectors, check_scan_vectors
from genebrain.common.run_folder import read_json
from genebrain.common.tensor_files import read_arrays
from genebrain.common.types import UserError
from genebrain.common.vectors import VectorTable
from genebrain.runs.fit import Experiment
from genebrain.runs.new_people.genomes import scored
from genebrain.runs.saved_features import FEATURES
from genebrain.runs.transfer import COORDINATES, named_columns
from genebrain.sides.vectors.brains import VectorBrain
from genebrain.sides.vectors.genes import VectorGenes, blocks_of


def genome_vectors(run: Path, experiment: Experiment, model: AlignmentModel, table: VectorTable) -> pd.DataFrame:
    """Score vectors of genomes that are given as vectors, ids as index.

    Raises
    ------
    UserError
        The run reads no vectors of genomes, other columns, repeated ids, missing numbers.
    """
    if not isinstance(experiment.genetics, VectorGenes):
        raise UserError(
            f"{run} reads genotypes: put new people into a cohort, and call 'genebrain evaluate run= cohort.path= out='"
        )
    _refuse_unfit(run, "columns", "genome", table, check_gene_vectors)
    blocks, _ = blocks_of(table, table.values, experiment.pooling)
    closed = model.closed_form
    return scored(model, closed.gene_columns(blocks), closed.gene_vectors, "gene_tower", table.ids)


def scan_vectors(run: Path, experiment: Experiment, model: AlignmentModel, table: VectorTable) -> pd.DataFrame:
    """Score vectors of people whose scans are given as vectors (several rows of one id are averaged), ids as index.

    Raises
    ------
    UserError
        The run reads no vectors of scans, other columns, missing numbers, the same scan twice.
    """
    if not isinstance(experiment.brain, VectorBrain):
        raise UserError(
            f"{run} reads scans: put new people into a cohort, and call 'genebrain evaluate run= cohort.path= out='"
        )
    _refuse_unfit(run, "brain_columns", "brain", table, check_scan_vectors)
    ids, person = np.unique(table.ids, return_inverse=True)
    first = np.full(len(ids), len(table))
    np.minimum.at(first, person, np.arange(len(table)))
    order = np.argsort(first)  # people in the order in which they first appear
    sums = np.zeros((len(ids), table.values.shape[1]))
    np.add.at(sums, person, table.values.astype(np.float64))
    means = (sums / np.bincount(person)[:, None]).astype(np.float32)[order]
    name = str(model.closed_form.chosen["brain"])
    features = experiment.brain.restore(name, read_arrays(run / "checkpoints" / FEATURES)).transform(means)
    people = [str(ids[i]) for i in order]
    return scored(model, features, model.closed_form.brain_vectors, "brain_tower", people)


def _refuse_unfit(
    run: Path, key: str, side: str, table: VectorTable, check: Callable[[VectorTable, Problems], object]
) -> None:
    """Refuse other columns than those of the fit, and what ``check`` finds in the rows."""
    wanted: dict[str, Any] = read_json(run / "checkpoints" / COORDINATES)[key]
    found = named_columns(table.columns)
    if found["n"] != wanted["n"]:
        raise UserError(
            f"{side} vectors of {found['n']:,} columns were given, and the model was fitted on {wanted['n']:,} columns"
        )
    if found != wanted:
        raise UserError(
            f"the {found['n']:,} {side} vectors' columns have other names or another order than those that the model "
            "was fitted on"
        )
    problems = Problems()
    check(table, problems)
    problems.raise_errors(f"{side} vectors")
