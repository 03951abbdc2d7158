"""The recipe of a fit: closed form, then contrastive training that only stays if validation says so.

1. The closed form is fitted on all training people (train and validation), every choice by cross-validation.
2. For training, a closed form fitted on the train people alone starts the towers; InfoNCE moves them; the
   epoch with the best validation recall is the candidate.
3. The candidate is approved if its gain over its own start, person by person on validation, is significant
   (one-sided, .05). Then towers that start from (1) are trained for that many epochs on all training people.

Test people take part in nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from genebrain.alignment.closed_form import ClosedForm, ClosedFormSettings, fit_closed_form
from genebrain.alignment.model import AlignmentModel, Towers, build_towers
from genebrain.alignment.module import AlignmentModule
from genebrain.alignment.settings import AlignmentSettings
from genebrain.alignment.standardiser import Standardiser
from genebrain.alignment.towers import PooledChunks
from genebrain.alignment.training import TrainerSettings, TrainingResult, train
from genebrain.alignment.window_components import ColumnSettings
from genebrain.cohort.datamodule import PairDataset, PairedDataModule
from genebrain.cohort.gene_pooling import GenePooling
from genebrain.evaluation.rank_metrics import recalls
from genebrain.evaluation.ranks import rank_counts
from genebrain.evaluation.retrieval import full_gallery
from genebrain.types import FloatArray, IntArray, UserError

APPROVAL_GALLERY = 32
APPROVAL_ERRORS = 1.645
"""Standard errors by which training must gain on validation: a one-sided test of level .05."""


@dataclass(frozen=True)
class Subjects:
    """Features of all people of a cohort, row by row.

    Attributes
    ----------
    blocks : list of float arrays
        Pooled genomes, ``[people, features]`` per window.
    brain : dict
        Connectome features by candidate name, ``[people, features]``, fitted on the training people.
    genome, family : int arrays
        ``[people]``.
    item_width : int or None
        Length of one chunk's vector where a block is a row of chunks (``pooling.chunk=flatten``).
    strata : int array or None
        ``[people]``, for the sampler ``within_stratum``.
    pooling, table, index
        For a trainable pooling: its names, the table of unique chunks ``[unique, hidden]`` and the chunk index.
    """

    blocks: list[FloatArray]
    brain: dict[str, FloatArray]
    genome: IntArray
    family: IntArray
    item_width: int | None = None
    strata: IntArray | None = None
    pooling: GenePooling | None = None
    table: FloatArray | None = None
    index: IntArray | None = None


@dataclass
class FittedAlignment:
    """A model together with what it takes as input."""

    model: AlignmentModel
    history: list[dict[str, float]]

    @property
    def brain_name(self) -> str:
        """The connectome candidate that was chosen."""
        return str(self.model.closed_form.chosen["brain"])

    def columns(self, subjects: Subjects) -> FloatArray:
        """Standardised gene columns of everybody, ``[people, columns]``."""
        return self.model.closed_form.gene_columns(subjects.blocks)

    def vectors(self, subjects: Subjects, rows: IntArray, arm: str | None = None) -> tuple[FloatArray, FloatArray]:
        """Score vectors of both sides for these rows; ``arm`` is the kept one unless named."""
        brain = subjects.brain[self.brain_name][rows]
        if (arm or self.model.kept) == "closed_form":
            closed = self.model.closed_form
            return closed.gene_vectors(self.columns(subjects)[rows]), closed.brain_vectors(brain)
        if self.model.towers is None:
            raise ValueError("this model has no trained towers")
        gene = _gene_input(self.model.settings, self.model.closed_form, subjects)
        return self.model.towers.vectors(gene[torch.from_numpy(rows)], torch.from_numpy(brain))


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
) -> FittedAlignment:
    """Fit an alignment on these rows; interrupted training goes on from ``folder``.

    Parameters
    ----------
    subjects : Subjects
        Everybody; only the named rows are learned from.
    train_rows, validation_rows : int arrays
    folder : Path
        Checkpoints of the training.
    """
    trainable = subjects.pooling is not None and subjects.pooling.trainable
    if trainable and settings.start != "random":
        raise UserError(
            "a pooling with trained weights (attention, gated_attention, gem) has no closed form: use "
            "alignment=textbook, or another pooling"
        )
    training = np.sort(np.concatenate([train_rows, validation_rows]))
    closed = _closed_form(subjects, training, settings, seed)
    if settings.train == "none":
        return FittedAlignment(AlignmentModel(settings, closed), [])
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
        model = AlignmentModel(settings, closed, towers, "trained", {"best_epoch": result.best_epoch})
        return FittedAlignment(model, result.history)

    start = _closed_form(subjects, train_rows, settings, seed, like=closed)
    towers, result = _train(
        subjects, start, settings, trainer, folder / "training", train_rows, validation_rows, seed, progress
    )
    approval = _approve(subjects, start, settings, towers, validation_rows, result)
    if not approval["approved"]:
        return FittedAlignment(AlignmentModel(settings, closed, None, "closed_form", approval), result.history)
    towers, _ = _train(
        subjects, closed, settings, trainer, folder / "refit", training, training[:0], seed, progress,
        epochs=result.best_epoch,
    )  # fmt: skip
    return FittedAlignment(AlignmentModel(settings, closed, towers, "trained", approval), result.history)


def _closed_form(
    subjects: Subjects, rows: IntArray, settings: AlignmentSettings, seed: int, like: ClosedForm | None = None
) -> ClosedForm:
    """Fit the closed form on some rows; ``like`` repeats the choices of another fit."""
    tried = ClosedFormSettings(
        columns=ColumnSettings(item_width=subjects.item_width),
        score="llr" if settings.score == "llr" else "cosine",
    )
    chosen = subjects.brain
    if like is not None:
        tried = replace(tried, dimensions=(int(like.chosen["k"]),), modes=(str(like.chosen["mode"]),))
        chosen = {like.chosen["brain"]: subjects.brain[like.chosen["brain"]]}
    # Many small matrix products: threads inside each would wait for one another most of the time.
    with threadpool_limits(1, user_api="blas"):
        return fit_closed_form(
            [block[rows] for block in subjects.blocks],
            {name: features[rows] for name, features in chosen.items()},
            subjects.family[rows],
            seed=seed,
            settings=tried,
        )


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
) -> tuple[Towers, TrainingResult]:
    gene = _gene_input(settings, closed, subjects)
    brain = torch.from_numpy(subjects.brain[closed.chosen["brain"]])
    rows = torch.from_numpy(train_rows)
    pooled = pooled_chunks(subjects, train_rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        towers = build_towers(settings, closed, gene[rows], brain[rows], pooled)
    module = AlignmentModule(
        towers.gene,
        towers.brain,
        settings.build_loss(),
        towers.logit_scale,
        learning_rate=trainer.learning_rate,
        weight_decay=trainer.weight_decay,
    )
    data = PairedDataModule(
        PairDataset(gene, brain, torch.from_numpy(subjects.genome), torch.from_numpy(subjects.family)),
        train_rows,
        validation_rows,
        batch_size=trainer.batch_size,
        seed=seed,
        strata=subjects.strata if trainer.sampler == "within_stratum" else None,
    )
    return towers, train(module, data, folder, trainer, seed=seed, epochs=epochs, progress=progress)


def _gene_input(settings: AlignmentSettings, closed: ClosedForm, subjects: Subjects) -> Tensor:
    """What the gene tower reads: standardised columns, or the chunk index for a trainable pooling."""
    if subjects.pooling is not None and subjects.pooling.trainable and subjects.index is not None:
        return torch.from_numpy(subjects.index.astype(np.int64))
    return torch.from_numpy(closed.gene_columns(subjects.blocks).astype(np.float32))


def pooled_chunks(subjects: Subjects, train_rows: IntArray) -> PooledChunks | None:
    """The trainable pooling of these subjects, or None; its table is standardised on ``train_rows``."""
    if subjects.pooling is None or not subjects.pooling.trainable:
        return None
    if subjects.table is None or subjects.index is None:
        raise ValueError("a trainable pooling needs the chunk table and the chunk index")
    seen = np.unique(subjects.index[train_rows])
    chunk_vectors = torch.from_numpy(subjects.table)
    standardiser = Standardiser(chunk_vectors.shape[1]).fit_(chunk_vectors[torch.from_numpy(seen[seen >= 0]).long()])
    table = standardiser(chunk_vectors)
    levels = {level: getattr(subjects.pooling, level) for level in ("chunk", "diploid", "window")}
    return PooledChunks(table, levels, subjects.index.shape[3], subjects.index.shape[2])


def _approve(
    subjects: Subjects,
    start: ClosedForm,
    settings: AlignmentSettings,
    towers: Towers,
    validation: IntArray,
    result: TrainingResult,
) -> dict[str, Any]:
    """Compare the trained towers with their own start, person by person on the validation people."""
    untouched = build_towers(
        replace(settings, train="residual"),
        start,
        torch.zeros(0, start.coefficients.shape[0]),
        torch.zeros(0, subjects.brain[start.chosen["brain"]].shape[1]),
    )
    gene = _gene_input(settings, start, subjects)[torch.from_numpy(validation)]
    brain = torch.from_numpy(subjects.brain[start.chosen["brain"]][validation])
    before, after = (_recall(*arm.vectors(gene, brain), subjects.genome[validation]) for arm in (untouched, towers))
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
    counts = (rank_counts(gene, brain, genome), rank_counts(brain, gene, genome))
    return np.mean([recalls(c, gallery, [1])[0] for c in counts], axis=0)
