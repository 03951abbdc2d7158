"""The verbs of self-supervised learning on scans: pretrain, probe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from genebrain.brain.objective_settings import ObjectiveSettings
from genebrain.cohort.cohort_source import CohortSource
from genebrain.cohort.encoder_side import EncoderSide
from genebrain.cohort.pretraining_settings import PretrainerSettings
from genebrain.cohort.split_settings import SplitSettings
from genebrain.cohort.workspace import Workspace
from genebrain.types import Metrics, UserError

Source = CohortSource | Path | str


def pretrain(
    cohort: Source,
    run: Path | str = "runs/pretrain",
    seed: int = 0,
    brain: EncoderSide | None = None,
    objective: ObjectiveSettings | None = None,
    trainer: PretrainerSettings | None = None,
    split: SplitSettings | None = None,
    probe: Sequence[str] | str = (),
    store: Path | str | None = None,
    workspace: Workspace | None = None,
    progress: bool = True,
) -> Path:
    """Train a scan encoder on the scans of a cohort, without labels. A killed run goes on when called again.

    Parameters
    ----------
    probe : sequence of str
        Columns that the new embeddings are probed for afterwards (``probes.json``).

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
    path = _path(cohort)
    workspace = workspace or Workspace(path, store, progress=progress)
    record = {"cohort": path, "store": workspace.store, "pretraining": choice}
    folder = run_pretraining(
        choice, workspace, Path(run), on_claim=lambda f: config.save(record, f / "config.yaml"), progress=progress
    )
    if progress:
        print(json.loads((folder / "pretraining.json").read_text())["verdict"])
        print(f"weights: use them with brain={choice.brain.encoder} brain.path={folder / 'encoder'}")
    if probe:
        from genebrain.cohort.run_folder import write_json
        from genebrain.studies.probing import ProbeSettings, probe_encoder, table

        side = replace(choice.brain, path=str(folder / "encoder"), size="auto")
        targets = (probe,) if isinstance(probe, str) else tuple(probe)
        found = probe_encoder(side, workspace, choice.split, ProbeSettings(targets), seed=seed)
        write_json(folder / "probes.json", found)
        if progress:
            print(table(found))
    return folder


def probe(
    cohort: Source,
    target: Sequence[str] | str = "sex",
    seed: int = 0,
    brain: EncoderSide | None = None,
    split: SplitSettings | None = None,
    compare: Sequence[str] = ("random", "connectome"),
    random_seed: int = 1,
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    out: Path | str | None = None,
    store: Path | str | None = None,
    workspace: Workspace | None = None,
    progress: bool = True,
) -> Metrics:
    """Ask embeddings for columns of the participants table, on people whom no probe has seen; see ``probe_encoder``."""
    from genebrain.cohort.run_folder import write_json
    from genebrain.studies.probing import ProbeSettings, probe_encoder, table

    targets = (target,) if isinstance(target, str) else tuple(target)
    settings = ProbeSettings(targets, tuple(compare), random_seed, n_bootstrap, n_permutations)
    workspace = workspace or Workspace(_path(cohort), store, progress=progress)
    metrics = probe_encoder(_encoder(brain), workspace, split or SplitSettings(), settings, seed=seed)
    if out is not None:
        write_json(Path(out), metrics)
    if progress:
        print(table(metrics))
    return metrics


def _path(cohort: Source) -> Path:
    return cohort.resolve() if isinstance(cohort, CohortSource) else Path(cohort)


def _encoder(brain: EncoderSide | None) -> EncoderSide:
    """A scan encoder; the connectome has no weights."""
    if brain is None:
        return EncoderSide()
    if not isinstance(brain, EncoderSide):
        raise UserError("only a scan encoder has weights to train: brain=brainlm_tiny, swift_tiny, ...")
    return brain
