"""The scans of a cohort as a file of vectors: one row per person, or several that are averaged."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from genebrain.common import vectors as vector_files
from genebrain.common.hashing import sha256
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.sides.options import component_list, component_problems

if TYPE_CHECKING:  # settings are made before anything heavy is imported
    from genebrain.cohort.participants import Cohort
    from genebrain.common.vectors import VectorTable
    from genebrain.sides.vectors.features import VectorFeature

log = logging.getLogger(__name__)

UNEVEN = 1000
"""Columns whose spreads differ by more than this factor are worth a word."""


@dataclass(frozen=True)
class VectorBrain:
    """Rows of numbers per scan or person, made elsewhere.

    Parameters
    ----------
    path : str, optional
        File of vectors, see :func:`genebrain.common.vectors.read.read_vectors`. None: ``brain_vectors`` of
        ``cohort.yaml``.
    scale : {"none", "columns"}
        ``none``: the numbers as they are, for vectors of one scale such as embeddings and connectomes. ``columns``:
        each column standardised by the training people, for measures of different units.
    components : sequence
        Numbers of leading components (whitened, of standardised columns) to try beside ``all``, which is every column;
        the alignment chooses by cross-validation inside training.
    """

    path: str | None = None
    scale: str = "none"
    components: tuple[int | str, ...] = ("all",)
    positives: ClassVar[str] = "people"
    tuning: ClassVar[str] = "frozen"
    needs_time_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "components", component_list(self.components))
        problems = component_problems(self.components)
        if self.scale not in ("none", "columns"):
            problems.append(f"brain.scale={self.scale}: use none or columns")
        if problems:
            raise UserError("; ".join(problems))

    @property
    def source(self) -> Hashable:
        """Sides of equal source share ingest and inputs."""
        return "vectors", self.path

    def read(self, cohort: Cohort) -> VectorTable:
        """The file of the cohort."""
        if cohort.brain_vectors is None:
            raise UserError(
                f"brain=vectors: cohort {cohort.name} names no file of vectors; give brain.path=FILE, or "
                "`brain_vectors: FILE` in cohort.yaml"
            )
        return vector_files.read_vectors(cohort.brain_vectors)

    def ingest(self, cohort: Cohort, store: Path, *, progress: bool = True) -> tuple[dict[str, Any], set[int]]:
        """Counts of rows; everybody of the cohort has one."""
        table = self.read(cohort)
        none: dict[str, Any] = {"n": 0, "reasons": {}}
        report = {
            "n_scans": len(cohort.scans),
            "n_stored": len(cohort.scans),
            "n_columns": len(table.columns),
            "n_dropped": 0,
            "n_copies": 0,
            "quarantine": none,
            "short": none,
        }
        return report, set(range(len(cohort)))

    def inputs(
        self, cohort: Cohort, store: Path, training: IntArray, *, progress: bool = True
    ) -> tuple[NDArray[np.float32]]:
        """Mean of the rows of every person, ``[people, columns]``; ``training`` rows are not looked at."""
        table, scans = self.read(cohort), cohort.scans
        people, rows = scans["person"].to_numpy(np.int64), scans["row"].to_numpy(np.int64)
        counts = np.bincount(people, minlength=len(cohort))
        if len(people) == len(cohort):  # one each: the very numbers of the file
            values = np.empty((len(cohort), len(table.columns)), np.float32)
            values[people] = table.values[rows]
            return (values,)
        sums = np.zeros((len(cohort), len(table.columns)))
        np.add.at(sums, people, table.values[rows].astype(np.float64))
        return ((sums / counts[:, None]).astype(np.float32),)

    def fit(self, inputs: tuple[FloatArray], rows: IntArray) -> dict[str, VectorFeature]:
        """Fit every candidate on the given (training) rows."""
        from genebrain.sides.vectors.features import vector_features

        (values,) = inputs
        training = values[rows]
        made = vector_features(self.components, values.shape[1], scaled=self.scale == "columns")
        fitted = {name: feature.fit(training) for name, feature in made.items()}
        if self.scale == "none":
            _tell_uneven(training)
        return fitted

    def restore(self, name: str, state: dict[str, np.ndarray[Any, Any]]) -> VectorFeature:
        """Take a fitted candidate back from a checkpoint."""
        from genebrain.sides.vectors.features import VectorFeature

        return VectorFeature.from_state(state)

    def description(self, cohort: Cohort, store: Path) -> dict[str, Any]:
        """What a run records of its brain side."""
        table = self.read(cohort)
        return {"encoder": "vectors", "columns": len(table.columns), "scale": self.scale, "sha256": sha256(table.path)}


def _tell_uneven(values: FloatArray) -> None:
    spread = values.std(axis=0, dtype=np.float64)
    spread = spread[spread > 0]
    if len(spread) and spread.max() > UNEVEN * spread.min():
        log.warning(
            f"note: columns of the brain vectors differ in spread by a factor of {spread.max() / spread.min():,.0f}; "
            "the wide ones decide. brain.scale=columns standardises them by the training people"
        )
