"""The verbs of self-supervised learning on scans: pretrain, probe."""

from __future__ import annotations

import json
from pathlib import Path

from genebrain.brain.objective_settings import ObjectiveSettings
from genebrain.cohort.cohort_source import CohortSource
from genebrain.cohort.encoder_side import EncoderSide
from genebrain.cohort.pretraining_settings import PretrainerSettings
from genebrain.cohort.split_settings import SplitSettings
from genebrain.cohort.workspace import Workspace
from genebrain.types import UserError

Source = CohortSource | Path | str


def pretrain(
    cohort: Source,
    run: Path | str = "runs/pretrain",
    seed: int = 0,
    brain: EncoderSide | None = None,
    objective: ObjectiveSettings | None = None,
    trainer: PretrainerSettings | None = None,
    split: SplitSettings | None = None,
    store: Path | str | None = None,
    workspace: Workspace | None = None,
    progress: bool = True,
) -> Path:
    """Train a scan encoder on the scans of a cohort, without labels. A killed run goes on when called again.

    Returns
    -------
    Path
        The run folder: ``encoder/`` (for ``brain.path``), ``pretraining.json``, ``history.csv``, ``split.json``,
        ``provenance.json``, ``checkpoints/``.
    """
    from genebrain import config
    from genebrain.cohort.pretraining import Pretraining, run_pretraining

    choice = Pretraining(
        _encoder(brain),
        objective or ObjectiveSettings(),
        trainer or PretrainerSettings(),
        split or SplitSettings(),
        seed,
    )
    path = cohort.resolve() if isinstance(cohort, CohortSource) else Path(cohort)
    workspace = workspace or Workspace(path, store, progress=progress)
    record = {"cohort": path, "store": workspace.store, "pretraining": choice}
    folder = run_pretraining(
        choice, workspace, Path(run), on_claim=lambda f: config.save(record, f / "config.yaml"), progress=progress
    )
    if progress:
        print(json.loads((folder / "pretraining.json").read_text())["verdict"])
        print(f"weights: use them with brain={choice.brain.encoder} brain.path={folder / 'encoder'}")
    return folder


def _encoder(brain: EncoderSide | None) -> EncoderSide:
    """A scan encoder; the connectome has no weights."""
    if brain is None:
        return EncoderSide()
    if not isinstance(brain, EncoderSide):
        raise UserError("only a scan encoder has weights to train: brain=brainlm_tiny, swift_tiny, ...")
    return brain
