"""Run Lightning on an AlignmentModule so that a killed run ends with the numbers of an undisturbed one.

The order of an epoch depends on the seed and the epoch, the dropout of a step on the seed and the step, and every
epoch leaves a checkpoint; a run that finds one goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as lightning

from genebrain.alignment.module import AlignmentModule
from genebrain.common.types import UserError
from genebrain.training.trainer import DeviceSettings, Watch, train_resumably

MONITOR = "validation_recall"


@dataclass(frozen=True)
class TrainerSettings(DeviceSettings):
    """How long, how fast and on what to train.

    Parameters
    ----------
    max_epochs, patience : int
        Training stops after ``patience`` epochs without a better validation recall.
    batch_size : int
        Subjects per step over all devices (scans, where these are the rows of training).
    learning_rate, weight_decay : float
    encoder_learning_rate : float
        Of encoders that are trained with the towers (``tuning`` of a side). Much smaller: what people share of an
        embedding is a hundred times larger than what tells them apart, and the towers read the latter.
    sampler : {"random", "within_stratum"}
    precision, accelerator, devices, strategy, loggers
        As in :class:`~genebrain.training.trainer.DeviceSettings`.
    """

    max_epochs: int = 200
    patience: int = 20
    batch_size: int = 1024
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    encoder_learning_rate: float = 1e-5
    sampler: str = "random"

    def __post_init__(self) -> None:
        problems = self.device_problems()
        if self.sampler not in ("random", "within_stratum"):
            problems.append(f"trainer.sampler={self.sampler}: use random or within_stratum")
        if min(self.max_epochs, self.patience) < 1 or self.batch_size < 2:
            problems.append(
                f"trainer: max_epochs={self.max_epochs} and patience={self.patience} must be at least 1, "
                f"batch_size={self.batch_size} at least 2"
            )
        if min(self.learning_rate, self.encoder_learning_rate) <= 0 or self.weight_decay < 0:
            problems.append(
                f"trainer: learning_rate={self.learning_rate} and encoder_learning_rate={self.encoder_learning_rate} "
                f"must be positive, weight_decay={self.weight_decay} not negative"
            )
        if problems:
            raise UserError("; ".join(problems))


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
    return TrainingResult(trained.load_best(module) if watch else int(epochs or 0), trained.history)
