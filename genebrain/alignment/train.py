"""Run Lightning on an AlignmentModule so that a killed run ends with the numbers of an undisturbed one.

The order of an epoch depends on the seed and the epoch, the dropout of a step on the seed and the step, and every
epoch leaves a checkpoint; a run that finds one goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as lightning

from genebrain.alignment.module import AlignmentModule
from genebrain.alignment.settings import TrainerSettings
from genebrain.training.trainer import Watch, train_resumably
from genebrain.training.wandb_log import finish

MONITOR = "validation_recall"


@dataclass(frozen=True)
class TrainingResult:
    """Outcome of :func:`train`.

    Attributes
    ----------
    best_epoch : int
        Number of epochs trained when validation was best; 0 when the start was.
    history : list of dict
        One row per epoch.
    """

    best_epoch: int
    history: list[dict[str, float]]


def train(
    module: AlignmentModule,
    data: lightning.LightningDataModule,
    folder: Path,
    settings: TrainerSettings,
    *,
    seed: int,
    epochs: int | None = None,
    progress: bool = True,
) -> TrainingResult:
    """Train with early stopping, leaving the best weights in the module.

    Parameters
    ----------
    module, data
        What to train and on what.
    folder : Path
        Checkpoints and logs; a ``last.ckpt`` found there is resumed.
    epochs : int, optional
        Train exactly so long, without validation (the refit on all training subjects).
    """
    watch = Watch(MONITOR, "max", settings.patience, "validation recall@1") if epochs is None else None
    trained = train_resumably(
        module, data, folder, settings, seed=seed, max_epochs=epochs or settings.max_epochs, watch=watch,
        progress=progress,
    )  # fmt: skip
    finish(trained.trainer)
    best = trained.load_best(module) if watch else int(epochs or 0)
    module.trainer = None  # the towers are kept, its trainer and its data are not
    return TrainingResult(best, trained.history)
