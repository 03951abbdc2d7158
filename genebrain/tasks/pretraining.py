"""The verbs of self-supervised learning on scans: pretrain, probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genebrain.brain.pretraining.settings import ObjectiveSettings
from genebrain.brain.pretraining.trainer import PretrainerSettings
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.reading import read_record
from genebrain.common.types import Metrics, UserError
from genebrain.engines.settings import EngineSettings
from genebrain.messages import first_rank
from genebrain.sides.scans import EncoderSide
from genebrain.simulation.source import Source, path_of

if TYPE_CHECKING:
    from genebrain.runs.pretrain import Pretraining
    from genebrain.sides.workspace import Workspace
else:
    Workspace = Any  # loading it costs seconds; the types of the options can be read without


def pretrain(
    cohort: Source | None = None,
    run: Path | str = "runs/pretrain",
    seed: int = 0,
    brain: EncoderSide | None = None,
    objective: ObjectiveSettings | None = None,
    trainer: PretrainerSettings | None = None,
    split: SplitSettings | None = None,
    probe: Sequence[str] | str = (),
    input: Path | str | None = None,
    atlas: Path | str | None = None,
    parcel_coordinates: Path | str | None = None,
    store: Path | str | None = None,
    workspace: Workspace | None = None,
    progress: bool = True,
    engine: EngineSettings | None = None,
) -> Path:
    """Train a scan encoder on the scans of a cohort, without labels. A killed run goes on when called again.

    Parameters
    ----------
    probe : sequence of str
        Columns that the new embeddings are probed for afterwards (``probes.json``).
    input, atlas, parcel_coordinates : path, optional
        Instead of a cohort: a folder or table of scans, what cuts images into parcels, where these lie.
    engine : EngineSettings, optional
        Who reads scans that are not stored yet; the training runs here.

    Returns
    -------
    Path
        The run folder: ``encoder/`` (for ``brain.path``), ``pretraining.json``, ``history.csv``, ``split.json``,
        ``provenance.json``, ``checkpoints/``.
    """
    from genebrain.common.run_folder import refuse_another
    from genebrain.engines.run import using
    from genebrain.runs.places import kept_places
    from genebrain.runs.pretrain import Pretraining, run_pretraining
    from genebrain.sides.workspace import Workspace

    choice = Pretraining(
        _encoder(brain),
        objective or ObjectiveSettings(),
        trainer or PretrainerSettings(),
        split or SplitSettings(),
        seed,
    )
    choice.check()
    refuse_another(run, asdict(choice), not_yet_known=["cohort", "input"])  # before hours of reading scans
    with using(engine):  # reads the scans; the training runs here
        if input is not None:
            return _on_scans(choice, Path(input), atlas, parcel_coordinates, Path(run), store, probe, progress)
        if cohort is None:
            raise UserError("nothing to learn from: give a cohort, or input=FOLDER_OR_TABLE of scans")
        path = path_of(cohort)
        workspace = workspace or Workspace(path, store, progress=progress)
        targets = (probe,) if isinstance(probe, str) else tuple(probe)
        if targets:
            from genebrain.studies.probes import check_columns

            check_columns(workspace.cohort.table, targets)  # before hours of training
        record = {**kept_places(Path(run), cohort=path, store=workspace.store), "pretraining": choice}
        folder = run_pretraining(choice, workspace, Path(run), record=record, progress=progress)
    _tell(folder, choice.brain, progress)
    if targets and first_rank():
        from genebrain.common.run_folder import write_json
        from genebrain.studies.probing import ProbeSettings, probe_encoder, table

        side = replace(choice.brain, path=str(folder / "encoder"), size="auto")
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
    from genebrain.common.run_folder import write_json
    from genebrain.sides.workspace import Workspace
    from genebrain.studies.probing import ProbeSettings, probe_encoder, table

    targets = (target,) if isinstance(target, str) else tuple(target)
    settings = ProbeSettings(targets, tuple(compare), random_seed, n_bootstrap, n_permutations)
    workspace = workspace or Workspace(path_of(cohort), store, progress=progress)
    metrics = probe_encoder(_encoder(brain), workspace, split or SplitSettings(), settings, seed=seed)
    if out is not None:
        write_json(Path(out), metrics)
    if progress:
        print(table(metrics))
    return metrics


def _on_scans(
    choice: Pretraining,
    input: Path,
    atlas: Path | str | None,
    parcel_coordinates: Path | str | None,
    run: Path,
    store: Path | str | None,
    probe: Sequence[str] | str,
    progress: bool,
) -> Path:
    from genebrain.runs.embed_scans import ScanSource
    from genebrain.runs.places import kept_places
    from genebrain.runs.pretrain_scans import run_pretraining_on_scans

    if probe:
        raise UserError("probe= needs the participants table of a cohort; input= has none")
    atlas, parcel_coordinates = (None if p is None else Path(p) for p in (atlas, parcel_coordinates))
    source = ScanSource(input, atlas, parcel_coordinates)
    places = kept_places(run, input=input, atlas=atlas, parcel_coordinates=parcel_coordinates)
    record = {**places, "pretraining": choice}
    folder = run_pretraining_on_scans(
        choice, source, run, None if store is None else Path(store), record=record, progress=progress
    )
    _tell(folder, choice.brain, progress)
    return folder


def _tell(folder: Path, brain: EncoderSide, progress: bool) -> None:
    if progress and first_rank("stdout"):
        print(read_record(folder / "pretraining.json").get("verdict", ""))
        print(f"weights: use them with brain={brain.encoder} brain.path={folder / 'encoder'}")


def _encoder(brain: EncoderSide | None) -> EncoderSide:
    """A scan encoder; the connectome has no weights."""
    if brain is None:
        return EncoderSide()
    if not isinstance(brain, EncoderSide):
        raise UserError("only a scan encoder has weights to train: brain=brainlm_tiny, swift_tiny, ...")
    return brain
