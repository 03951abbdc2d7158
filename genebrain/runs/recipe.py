"""The recipe of a fit: closed form, then contrastive training that only stays if validation says so.

1. The closed form is fitted on all training people (train and validation), every choice by cross-validation.
2. For training, a closed form fitted on the train people alone starts the towers; InfoNCE moves them; the
   epoch with the best validation recall is the candidate.
3. The candidate is approved if its gain over its own start, person by person on validation, is significant
   (one-sided, .05). Then towers that start from (1) are trained for that many epochs on all training people.

An encoder that is trained with the towers (``tuning`` of a side) goes the same way: the closed form is fitted on what
it gives before training, the towers start there exactly, and (1) to (3) decide about encoder and towers together. Where
that closed form finds nothing there is nothing to start from: towers start at random, and (3) compares with chance.

Test people take part in nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from genebrain.alignment.closed_form.column_sets import Blocks, GeneBlocks, rows_of
from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.fit import ClosedForm, ClosedFormSettings, fit_closed_form, race
from genebrain.alignment.closed_form.gene_stack import STACK
from genebrain.alignment.closed_form.latents import JOINED
from genebrain.alignment.closed_form.motifs.members import MOTIFS
from genebrain.alignment.closed_form.told import told_choices, with_weight
from genebrain.alignment.model import AlignmentModel, untrained_towers
from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.evaluation.rank_metrics import recall_at_1_of_each
from genebrain.evaluation.retrieval import full_gallery
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.people import Subjects
from genebrain.sides.scans import BrainSide
from genebrain.sides.workspace import Workspace

if TYPE_CHECKING:
    from genebrain.alignment.module import AlignmentModule
    from genebrain.alignment.train import TrainingResult

log = logging.getLogger(__name__)

APPROVAL_GALLERY = 32
APPROVAL_ERRORS = 1.645
"""Standard errors by which training must gain on validation: a one-sided test of level .05."""

NO_CLOSED_FORM = (
    "a pooling with trained weights (attention, gated_attention, gem) has no closed form: use alignment=textbook, or "
    "another pooling"
)

NOTHING_TO_MOVE = (
    "the closed form finds no relation between genes and brain in the training people, and training moves what it "
    "finds; alignment=textbook trains from random projectors"
)
FROM_RANDOM = (
    "the closed form finds no signal in the frozen embeddings; training starts from random projectors (cosine) and is "
    "kept only if validation improves"
)


def fit_alignment(
    subjects: Subjects,
    train_rows: IntArray,
    validation_rows: IntArray,
    settings: AlignmentSettings,
    trainer: TrainerSettings,
    folder: Path,
    *,
    seed: int = 0,
    progress: bool = True,
    closed: ClosedForm | None = None,
) -> AlignmentModel:
    """Fit an alignment on these rows; interrupted training goes on from ``folder``.

    Parameters
    ----------
    subjects : Subjects
        Everybody; only the named rows are learned from.
    train_rows, validation_rows : int arrays
    folder : Path
        Checkpoints of the training.
    closed : ClosedForm, optional
        Fitted on all these rows before; random towers read its columns and features.
    """
    if subjects.trains_pooling and settings.start != "random":
        raise UserError(NO_CLOSED_FORM)
    training = np.sort(np.concatenate([train_rows, validation_rows]))
    if closed is None:
        closed = fit_recipe(subjects, training, settings, seed, progress=progress)
        for line in told_choices(closed.chosen) if progress else ():  # of a comparison they would look like the model's
            log.info(line)
    if settings.train == "none":
        return AlignmentModel(settings, closed)
    if settings.start == "random":
        towers, result = _train(
            subjects,
            closed,
            settings,
            trainer,
            folder / "training",
            train_rows,
            validation_rows,
            seed,
            progress,
        )
        best, counts = {"best_epoch": result.best_epoch}, towers.parameter_counts()
        return AlignmentModel(settings, closed, towers, "trained", best, result.history, counts)

    start = fit_recipe(subjects, train_rows, settings, seed, like=closed, progress=progress)
    begun = settings
    if min(closed.calibration.slope, start.calibration.slope) <= 0:
        # Vectors of nothing but zeros on both sides have no gradient.
        if not subjects.tuned:
            log.info(f"no training: {NOTHING_TO_MOVE}")
            approval: dict[str, Any] = {"approved": False, "not_trained": NOTHING_TO_MOVE}
            return AlignmentModel(settings, closed, None, "closed_form", approval)
        log.info(FROM_RANDOM)
        begun = replace(settings, start="random", train="full", score="cosine")
    towers, result = _train(
        subjects, start, begun, trainer, folder / "training", train_rows, validation_rows, seed, progress
    )
    counts = towers.parameter_counts()
    approval = _approve(subjects, start, settings, towers, validation_rows, result)
    if not approval["approved"]:
        log.info(
            "training is not used, the closed form stays: recall@1 of {validation_people} validation people "
            "{validation_recall_start:.3f} before, {validation_recall_trained:.3f} after; the gain {gain:+.3f} is not "
            "clearly above 0 (standard error {gain_standard_error:.3f})".format(**approval)
        )
        return AlignmentModel(settings, closed, None, "closed_form", approval, result.history, counts)
    log.info(
        "training is used: recall@1 of {validation_people} validation people {validation_recall_start:.3f} before, "
        "{validation_recall_trained:.3f} after; the same training now on training and validation people".format(
            **approval
        )
    )
    towers, _ = _train(
        subjects, closed, begun, trainer, folder / "refit", training, training[:0], seed, progress,
        epochs=result.best_epoch,
    )  # fmt: skip
    return AlignmentModel(begun, closed, towers, "trained", approval, result.history, counts)


def closed_form_settings(settings: AlignmentSettings, item_width: int | None) -> ClosedFormSettings:
    """Of an alignment."""
    score: Literal["llr", "cosine"] = "llr" if settings.score == "llr" else "cosine"
    return ClosedFormSettings(columns=ColumnSettings(item_width=item_width), score=score, stack=True)


def fit_recipe(
    subjects: Subjects,
    rows: IntArray,
    settings: AlignmentSettings,
    seed: int,
    like: ClosedForm | None = None,
    *,
    progress: bool,
) -> ClosedForm:
    """Fit the closed form on some rows alone; ``like`` repeats the choices of another fit."""
    blocks = subjects.blocks
    tried = closed_form_settings(settings, subjects.item_width)
    chosen = subjects.brain
    if like is not None:
        tried = replace(tried, dimensions=(int(like.chosen["k"]),), modes=_modes(like.chosen))
        if isinstance(blocks, GeneBlocks):
            names = with_weight(like.chosen, "columns")
            blocks = blocks.only(names if set(names) - {MOTIFS} else [blocks.sets[0].name, *names])
        if parts := like.chosen.get("parts"):
            tried = replace(tried, parts=tuple((str(name), int(k)) for name, k in parts))
        chosen = {name: subjects.brain[name] for name in str(like.chosen["brain"]).split(JOINED)}
    closed = fit_closed_form(
        rows_of(blocks, rows),
        {name: features[rows] for name, features in chosen.items()},
        subjects.family[rows],
        genomes=subjects.genome[rows],
        seed=seed,
        settings=tried,
        progress=progress,
        unpaired=subjects.unpaired,
    )
    return closed if subjects.race is None else replace(closed, chosen={**closed.chosen, "race": dict(subjects.race)})


def race_of_kinds(
    workspace: Workspace, side: BrainSide, training: IntArray, blocks: Blocks, settings: ClosedFormSettings, seed: int
) -> dict[str, Any] | None:
    """Let those kinds of scan features go on that some of very many training people leave in question.

    Returns
    -------
    dict or None
        What is told of it: see :func:`~genebrain.alignment.closed_form.fit.race`, and ``of``, the training people; None
        where people are few enough for all kinds.
    """
    some = workspace.learners(side, training)
    if len(some) == len(training) or not isinstance(side, ConnectomeSide) or len(side.kinds) < 2:
        return None
    if isinstance(blocks, GeneBlocks):  # the first set of columns chooses, or one of its family
        blocks = blocks.only([one.name for one in blocks.sets if one.family == blocks.sets[0].family])
    table = workspace.cohort.table.iloc[some]
    found = race(
        rows_of(blocks, some),
        workspace.learners_features(side, training),
        np.asarray(table["family"]),
        genomes=np.asarray(table["genome"]),
        seed=seed,
        settings=settings,
        progress=workspace.progress,
    )
    workspace.go_on(side, training, found["on"])
    return {**found, "of": len(training)}


def _modes(chosen: Mapping[str, Any]) -> tuple[str, ...]:
    """Priors that another fit uses."""
    if chosen["mode"] != STACK:
        return (str(chosen["mode"]),)
    return tuple(with_weight(chosen, "mode")) or ("ridge",)


def _train(
    subjects: Subjects,
    closed: ClosedForm,
    settings: AlignmentSettings,
    trainer: TrainerSettings,
    folder: Path,
    train_rows: IntArray,
    validation_rows: IntArray,
    seed: int,
    progress: bool,
    epochs: int | None = None,
) -> tuple[AlignmentModule, TrainingResult]:
    from genebrain.alignment.train import train
    from genebrain.sides.pairs import PairedDataModule

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        towers = subjects.start_towers(settings, closed, train_rows)
    if progress:
        for name, count in towers.parameter_counts().items():
            log.info(f"{name}: {count}")
    towers.learning_rate, towers.weight_decay = trainer.learning_rate, trainer.weight_decay
    towers.encoder_learning_rate = trainer.encoder_learning_rate
    data = PairedDataModule(
        subjects.pairs(closed),
        subjects.training_rows(train_rows),
        validation_rows,
        batch_size=trainer.batch_size,
        seed=seed,
        strata=subjects.strata if trainer.sampler == "within_stratum" else None,
    )
    return towers, train(towers, data, folder, trainer, seed=seed, epochs=epochs, progress=progress)


def _approve(
    subjects: Subjects,
    start: ClosedForm,
    settings: AlignmentSettings,
    towers: AlignmentModule,
    validation: IntArray,
    result: TrainingResult,
) -> dict[str, Any]:
    """Compare the trained towers with their own start, person by person on the validation people."""
    untouched = untrained_towers(replace(settings, train="residual"), start)
    rows, genome = torch.from_numpy(validation), subjects.genome[validation]
    at_start = untouched.vectors(subjects.gene_features(start)[rows], subjects.brain_features(start)[rows])
    trained = towers.vectors(subjects.gene_input(start)[rows], subjects.brain_input(start)[rows])
    before, after = (_recall(*vectors, genome) for vectors in (at_start, trained))
    gain = after - before
    error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    approved = bool(gain.mean() > APPROVAL_ERRORS * error and gain.mean() > 0)
    return {
        "approved": approved,
        "best_epoch": result.best_epoch,
        "validation_recall_start": float(before.mean()),
        "validation_recall_trained": float(after.mean()),
        "gain": float(gain.mean()),
        "gain_standard_error": error,
        "validation_people": len(validation),
        "gallery_size": min(APPROVAL_GALLERY, len(validation)),
    }


def _recall(gene: FloatArray, brain: FloatArray, genome: IntArray) -> FloatArray:
    """Expected recall@1 of each person, mean of both directions, ``[people]``."""
    gallery = min(APPROVAL_GALLERY, full_gallery(len(gene), genome))
    return recall_at_1_of_each(gene @ brain.T, genome, relatives="rivals", gallery=gallery).mean(axis=0)
