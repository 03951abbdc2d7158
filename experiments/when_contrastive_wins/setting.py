"""A cohort with the default closed form, which is what a method is given, and its answer."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.runs.run import Run
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.workspace import Workspace

NONE = AlignmentSettings(train="none")
CONNECTOME, DOSAGES = ConnectomeSide(), GeneSide(columns="dosages")


@dataclass(frozen=True)
class Setting:
    """A cohort whose default closed form is fitted."""

    path: Path
    workspace: Workspace
    dividing: SplitSettings
    seed: int
    base: Run
    folder: Path
    alone: tuple[list[str], list[str]] | None = None

    @classmethod
    def of(cls, path: Path, dividing: SplitSettings, seed: int, folder: Path, alone: Any = None) -> Setting:
        """Fit the closed form."""
        workspace = Workspace(path, progress=False)
        setting = cls(path, workspace, dividing, seed, None, folder, alone)  # type: ignore[arg-type]
        return replace(setting, base=setting.fit(CONNECTOME, NONE))

    def fit(
        self, brain: Any, alignment: AlignmentSettings, trainer: TrainerSettings | None = None, genes: Any = DOSAGES
    ) -> Run:
        """A run of the package."""
        run = tasks.fit(
            self.path, run=self.new_folder() / "run", seed=self.seed, genetics=genes, brain=brain,
            alignment=alignment, trainer=trainer, split=self.dividing, workspace=self.workspace, progress=False,
        )  # fmt: skip
        return Run(run)

    def new_folder(self) -> Path:
        """An empty folder."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    @cached_property
    def on_unpaired(self) -> Run:
        """The closed form whose scan features are fitted on scans without genomes too."""
        return self.fit(replace(CONNECTOME, unpaired=True), NONE)


@dataclass(frozen=True)
class Answer:
    """Vectors of the test people, and what was kept and chosen."""

    genome: Any
    brain: Any
    kept: str
    features: str

    @classmethod
    def of(cls, run: Run) -> Answer:
        """Of a run of the package."""
        vectors = run.vectors()
        return cls(vectors.genome, vectors.brain, run.fitted.kept, run.fitted.brain_name)
