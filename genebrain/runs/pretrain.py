"""Pretraining on the scans of a cohort into a run folder.

Training and validation people of the split take part, test people in nothing: with the same brain side, split and
seed, ``fit`` and ``probe`` divide the people in the same way, and refuse weights that have seen their test scans.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.encoders.files import ENCODER, save_encoder
from genebrain.brain.models.scaling import CohortScaling
from genebrain.brain.pretraining.data import LookDataset, LookModule
from genebrain.brain.pretraining.loop import make_module, train
from genebrain.brain.pretraining.module import PretrainModule
from genebrain.brain.pretraining.report import Losses, compare, measure
from genebrain.brain.pretraining.settings import ObjectiveSettings, objective_of
from genebrain.brain.pretraining.trainer import PretrainerSettings
from genebrain.brain.store.report import lasting
from genebrain.brain.windows.bank import WindowBank
from genebrain.brain.windows.random_windows import RandomWindows
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.files import make_private, replacing
from genebrain.common.run_folder import RunFolder, read_json, write_json
from genebrain.common.types import IntArray, Metrics, UserError
from genebrain.common.words import counted
from genebrain.runs.contents import begin
from genebrain.sides.brains.seen_scans import save_seen
from genebrain.sides.connectome import person_scans
from genebrain.sides.scans import EncoderSide
from genebrain.sides.workspace import Workspace

log = logging.getLogger(__name__)

MEASURED = 200
"""Validation people at most whose losses are measured one by one for the report."""
REPORT = "pretraining.json"


@dataclass(frozen=True)
class Pretraining:
    """Everything that decides the weights, besides the scans."""

    brain: EncoderSide
    objective: ObjectiveSettings
    trainer: PretrainerSettings
    split: SplitSettings
    seed: int = 0

    def check(self) -> None:
        """Raise a UserError for an encoder without an objective and for what this machine lacks, before any work."""
        objective_of(self.brain.encoder)
        self.trainer.on_gpu()


@dataclass(frozen=True)
class People:
    """Whose scans are looked at.

    Attributes
    ----------
    scans
        Per person, keys of the scans with room for a look; persons without any are in neither side.
    train, validation, family
        Rows; family of every row.
    without_room
        People of the two sides whose scans are all too short.
    """

    scans: list[list[str]]
    train: IntArray
    validation: IntArray
    family: IntArray
    without_room: int


def run_pretraining(
    choice: Pretraining,
    workspace: Workspace,
    run: Path,
    *,
    record: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Path:
    """Pretrain an encoder on the scans of a cohort; returns the run folder.

    Leaves ``encoder/`` (weights, configuration and input contract, for ``brain.path``), ``pretraining.json``,
    ``history.csv``, ``split.json`` and ``provenance.json``. A finished folder of the same settings is returned as it
    is, an unfinished one goes on.
    """
    folder = RunFolder(run)
    with folder.alone():
        return _run(choice, workspace, folder, record, progress)


def _run(
    choice: Pretraining,
    workspace: Workspace,
    folder: RunFolder,
    record: Mapping[str, Any] | None,
    progress: bool,
) -> Path:
    run = folder.path
    with folder.stage("scans"):
        ingested = workspace.ingest(choice.brain)
    cohort = workspace.cohort
    if not begin(folder, {"cohort": cohort.fingerprint}, choice, record):
        return run
    split = choice.split.make(cohort, choice.seed)
    split.save(run / "split.json")
    side, store = choice.brain, choice.brain.scans(cohort, workspace.store)
    encoder = side.build(cohort, workspace.store)
    scans = person_scans(cohort, store)
    family = np.asarray(cohort.table["family"], np.int64)
    fitted_on = [key for row in split.train for key in scans[row]]
    make_private(run / ENCODER)
    seen = (key for row in split.training for key in scans[row])
    save_seen(run / ENCODER, store, cohort.scans, seen, side.path)  # first: no weights without the list, ever
    with folder.stage("pretrain"):
        report = pretrain(
            encoder, side.bank(encoder, cohort, workspace.store), scans, split.train, split.validation, family, choice,
            folder, fitted_on=fitted_on if side.scaling == "cohort" else None, progress=progress,
        )  # fmt: skip
    if report is None:
        return run
    write_json(run / "funnel.json", {**cohort.funnel, "ingest": lasting(ingested)})
    write_json(run / REPORT, report)
    folder.finish({"cohort_fingerprint": cohort.fingerprint, "seed": choice.seed, "encoder": report["encoder"]})
    return run


def pretrain(
    encoder: WindowEncoder,
    bank: WindowBank,
    scans: Sequence[Sequence[str]],
    train_rows: IntArray,
    validation_rows: IntArray,
    family: IntArray,
    choice: Pretraining,
    folder: RunFolder,
    *,
    fitted_on: Sequence[str] | None = None,
    progress: bool = True,
) -> Metrics | None:
    """Train an encoder on stored scans, write its weights and history, and say what was learned.

    Parameters
    ----------
    encoder : WindowEncoder
        Trained in place.
    scans
        Per person, the keys of the person's scans in the store of ``bank``.
    train_rows, validation_rows, family
        Rows of people; family of every row.
    fitted_on : sequence of str, optional
        Scans whose statistics scale the input from now on, instead of those of each window.

    Returns
    -------
    dict or None
        The report; None on all processes but the first.
    """
    if fitted_on is not None:
        encoder = encoder.with_scaling(CohortScaling.fit(bank.store.read(key) for key in fitted_on))
    if progress and (words := bank.time_steps()):
        log.info(words)
    windows = RandomWindows(bank, objective_of(encoder.name).clips)
    people = usable_people(windows, scans, train_rows, validation_rows, family)
    settings = choice.trainer
    data = LookModule(
        LookDataset(windows, people.scans, choice.seed), people.train, people.validation,
        batch_size=settings.batch_size, passes=settings.passes, validation_passes=settings.validation_passes,
        workers=settings.workers,
    )  # fmt: skip
    origin = encoder.origin
    module = make_module(encoder, choice.objective, data, settings, choice.seed)
    start = _start(_placed(module, settings), data, people, folder)
    best_epoch, history = train(module, data, folder.checkpoints, settings, seed=choice.seed, progress=progress)
    if module.trainer.global_rank > 0:
        return None
    with replacing(folder.path / "history.csv", private=False) as partial:
        pd.DataFrame(history).to_csv(partial, index=False)
    measured, families = _batches(module, data, people)
    report = compare(module.objective, start, measure(_placed(module, settings), measured), families, origin=origin)
    words = (
        f"pretrained on scans of {len(people.train)} people, best epoch {best_epoch} of {len(history)}, from {origin}"
    )
    module.eval()
    save_encoder(encoder, folder.path / ENCODER, words)
    return {
        **report,
        "encoder": {**encoder.description(), "weights": words, "fingerprint": encoder.fingerprint()},
        "best_epoch": best_epoch,
        "epochs": len(history),
        "people": {
            "train": len(people.train),
            "validation": len(people.validation),
            "without_room_for_a_window": people.without_room,
        },
    }


def usable_people(
    windows: RandomWindows, scans: Sequence[Sequence[str]], train: IntArray, validation: IntArray, family: IntArray
) -> People:
    """People of both sides who have a scan that is long enough.

    Raises
    ------
    UserError
        Too few are left to train and to validate on.
    """
    usable = [[key for key in keys if windows.possible(key)] for keys in scans]
    kept = [np.array([row for row in rows if usable[row]], np.int64) for rows in (train, validation)]
    lost = len(train) + len(validation) - len(kept[0]) - len(kept[1])
    if min(len(rows) for rows in kept) < 2:
        short = [key for keys in scans for key in keys if not windows.possible(key)]
        lack = windows.bank.lack(short) if short else "too few people"
        raise UserError(
            f"{len(kept[0])} training and {len(kept[1])} validation people have a scan with room for "
            f"{counted(windows.clips, 'window')}, at least 2 of each are needed ({lack}): choose shorter windows "
            "(brain.windows.seconds), or bring longer scans"
        )
    if lost:
        log.warning(
            f"left out: {counted(lost, 'person')} whose scans have no room for {counted(windows.clips, 'window')}"
        )
    return People(usable, kept[0], kept[1], family, lost)


def _batches(module: PretrainModule, data: LookModule, people: People) -> tuple[Any, IntArray | None]:
    """What the report is measured on: person by person, or whole batches where a person alone has no loss."""
    if not module.objective.alone:
        return data.validation_loader(data.batch_size), None
    every = max(1, -(-len(people.validation) // MEASURED))
    some = LookModule(data.dataset, people.train, people.validation[::every], batch_size=1)
    return some.validation_loader(1), people.family[people.validation[::every]]


def _placed(module: PretrainModule, settings: PretrainerSettings) -> PretrainModule:
    """The module where the losses of the report are measured."""
    gpu = torch.cuda.is_available() and settings.accelerator != "cpu"
    return module.to("cuda" if gpu else "cpu")


def _start(module: PretrainModule, data: LookModule, people: People, folder: RunFolder) -> Losses:
    """Losses before training; kept, since a resumed run no longer has these weights at hand."""
    path = folder.checkpoints / "start.json"
    if not path.exists():
        batches, _ = _batches(module, data, people)
        write_json(path, {name: values.tolist() for name, values in measure(module, batches).items()}, private=True)
    return {name: np.array(values) for name, values in read_json(path).items()}
