"""The scans of a cohort as a file of vectors: one row per person, or several that are averaged."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Hashable, Sequence
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

    Columns called ``lag0-25|0``, ``lag0-25|1``, ... are one reading of the scans of several, as ``export`` writes them:
    each is a candidate, and the closed form stacks them as it does the kinds of features of scans.

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
    unpaired : bool
        Fit components on listed people without a genome too.
    """

    path: str | None = None
    scale: str = "none"
    components: tuple[int | str, ...] = ("all",)
    unpaired: bool = False
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
        return (_means(table.values, scans["person"].to_numpy(np.int64), scans["row"].to_numpy(np.int64), len(cohort)),)

    def unpaired_inputs(self, cohort: Cohort, store: Path, *, progress: bool = True) -> tuple[NDArray[np.float32]]:
        """As :meth:`inputs`, of the listed people who have scans and no genome.

        Raises
        ------
        UserError
            There is nobody.
        """
        scans = cohort.unpaired_scans
        if scans.empty:
            raise UserError(
                f"brain.unpaired=true: nobody in the participants table of {cohort.name} has scan vectors, no genome "
                "and no relative with both: leave it out, or list people who have scans alone"
            )
        people, person = np.unique(scans["person"].to_numpy(np.int64), return_inverse=True)
        return (_means(self.read(cohort).values, person, scans["row"].to_numpy(np.int64), len(people)),)

    def fit(
        self,
        inputs: tuple[FloatArray],
        rows: IntArray,
        unpaired: tuple[FloatArray] | None = None,
        columns: Sequence[str] = (),
    ) -> dict[str, VectorFeature]:
        """Fit every candidate on the given (training) rows, and on ``unpaired`` people.

        ``columns`` name the readings, where there are several.
        """
        from genebrain.sides.vectors.features import VectorFeature, vector_features

        (values,) = inputs
        training = np.concatenate([values[rows], *(unpaired or ())])
        readings = vector_files.readings_of(columns, "the brain vectors")
        if readings and (self.scale != "none" or self.components != ("all",)):
            raise UserError(
                f"brain.scale={self.scale}, brain.components={list(self.components)}: the brain vectors hold readings "
                f"({', '.join(readings)}), which are taken as they are; leave both out"
            )
        made = {name: VectorFeature(columns=picked) for name, picked in readings.items()} or vector_features(
            self.components, values.shape[1], scaled=self.scale == "columns"
        )
        fitted = {name: feature.fit(training) for name, feature in made.items()}
        if self.scale == "none" and not readings:
            _tell_uneven(training)
        return fitted

    def restore(self, name: str, state: dict[str, np.ndarray[Any, Any]]) -> Any:
        """Take a fitted candidate, or the stack of several, back from a checkpoint."""
        from genebrain.brain.connectome.side_by_side import JOINED, SideBySide
        from genebrain.sides.vectors.features import VectorFeature

        if JOINED in name:
            kinds: Any = defaultdict(lambda: VectorFeature)
            return SideBySide.from_state(name, state, kinds)
        return VectorFeature.from_state(state)

    def description(self, cohort: Cohort, store: Path) -> dict[str, Any]:
        """What a run records of its brain side."""
        table = self.read(cohort)
        return {"encoder": "vectors", "columns": len(table.columns), "scale": self.scale, "sha256": sha256(table.path)}


def _means(values: FloatArray, person: IntArray, rows: IntArray, n: int) -> NDArray[np.float32]:
    """Mean of the rows of every person, ``[n, columns]``; of one row each the very numbers of the file."""
    if len(person) == n:
        means = np.empty((n, values.shape[1]), np.float32)
        means[person] = values[rows]
        return means
    sums = np.zeros((n, values.shape[1]))
    np.add.at(sums, person, values[rows].astype(np.float64))
    return (sums / np.bincount(person, minlength=n)[:, None]).astype(np.float32)


def _tell_uneven(values: FloatArray) -> None:
    spread = values.std(axis=0, dtype=np.float64)
    spread = spread[spread > 0]
    if len(spread) and spread.max() > UNEVEN * spread.min():
        log.warning(
            f"note: columns of the brain vectors differ in spread by a factor of {spread.max() / spread.min():,.0f}; "
            "the wide ones decide. brain.scale=columns standardises them by the training people"
        )
