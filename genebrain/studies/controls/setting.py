"""Inputs of a control, and the closed form fitted on changed input."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from genebrain.alignment.closed_form.column_sets import Blocks, mapped
from genebrain.alignment.model import AlignmentModel
from genebrain.common.types import FloatArray, IntArray
from genebrain.runs.fit import Experiment
from genebrain.runs.recipe import fit_recipe
from genebrain.sides.genes.readings import filled
from genebrain.sides.people import Subjects
from genebrain.sides.workspace import Workspace

Vectors = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class ControlSettings:
    """Which controls, and how often.

    Parameters
    ----------
    names : sequence of str, optional
        Names of :data:`genebrain.studies.controls.kinds.CONTROLS`; None: all that the cohort allows.
    n_shuffles : int
        Refits with scans dealt to other people.
    gallery_size : int, optional
    n_bootstrap, n_permutations : int
    """

    names: tuple[str, ...] | None = None
    n_shuffles: int = 20
    gallery_size: int | None = None
    n_bootstrap: int = 1000
    n_permutations: int = 1000


@dataclass(frozen=True)
class Setting:
    """A fitted run with its people.

    Attributes
    ----------
    fitted : AlignmentModel
    subjects : Subjects
        Of everybody; encoders as they are.
    training, judged : int arrays
        Rows.
    experiment, workspace
        To read the genomes in another way.
    folder : Path
        Where work that is long is kept.
    """

    fitted: AlignmentModel
    subjects: Subjects
    training: IntArray
    judged: IntArray
    experiment: Experiment
    workspace: Workspace
    folder: Path
    notes: list[str] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """Participants."""
        return self.workspace.cohort.table

    def refit(self, subjects: Subjects, rows: IntArray | None = None, *, progress: bool | None = None) -> Vectors:
        """Vectors of the judged by the closed form, fitted anew on ``rows`` (everybody who is learned from)."""
        settings = replace(self.experiment.alignment, start="closed_form", train="none")
        closed = fit_recipe(
            subjects, self.training if rows is None else rows, settings, self.experiment.seed,
            progress=self.workspace.progress if progress is None else progress,
        )  # fmt: skip
        return AlignmentModel(settings, closed).vectors(subjects, self.judged)

    def with_blocks(self, blocks: Blocks, item_width: int | None = None) -> Subjects:
        """The same people with other readings of their genomes."""
        whole = mapped(blocks, lambda block: filled(block, self.training)[0])
        return replace(self.subjects.frozen(), blocks=whole, item_width=item_width, pooling=None, table=None)
