"""Run Lightning on an AlignmentModule so that a killed run ends with the numbers of an undisturbed one.

The order of an epoch depends on the seed and the epoch, the dropout of a step on the seed and the step, and every
epoch leaves a checkpoint; a run that finds one goes on from there.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from tqdm import tqdm

from genebrain.alignment.module import AlignmentModule
from genebrain.types import UserError

MONITOR = "validation_recall"


@dataclass(frozen=True)
class TrainerSettings:
    """How long, how fast and on what to train.

    Parameters
    ----------
    max_epochs, patience : int
        Training stops after ``patience`` epochs without a better validation recall.
    batch_size : int
        Subjects per step over all devices.
    learning_rate, weight_decay : float
    sampler : {"random", "within_stratum"}
    precision, accelerator, devices, strategy
        As in Lightning's Trainer.
    loggers : sequence of {"csv", "tensorboard", "wandb"}
        ``wandb`` sends data away and is opt-in.
    """

    max_epochs: int = 200
    patience: int = 20
    batch_size: int = 1024
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    sampler: str = "random"
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int | str = 1
    strategy: str = "auto"
    loggers: tuple[str, ...] = ("csv",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "loggers", tuple(self.loggers))
        problems = []
        if self.sampler not in ("random", "within_stratum"):
            problems.append(f"trainer.sampler={self.sampler}: use random or within_stratum")
        unknown = set(self.loggers) - {"csv", "tensorboard", "wandb"}
        if unknown:
            problems.append(f"trainer.loggers={sorted(unknown)}: use csv, tensorboard or wandb")
        if min(self.max_epochs, self.patience) < 1 or self.batch_size < 2:
            problems.append(
                f"trainer: max_epochs={self.max_epochs} and patience={self.patience} must be at least 1, "
                f"batch_size={self.batch_size} at least 2"
            )
        if self.learning_rate <= 0 or self.weight_decay < 0:
            problems.append(
                f"trainer: learning_rate={self.learning_rate} must be positive, "
                f"weight_decay={self.weight_decay} not negative"
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


class SeedSteps(Callback):
    """Seed torch from (seed, step, rank), so that a resumed step draws the dropout of an undisturbed one.

    Not once per epoch: data loaders draw from the same generator when they are made, at other places in a resumed
    run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Tell the sampler its epoch: in the first epoch of a resumed run Lightning (2.6) tells it too late."""
        sampler = getattr(trainer.train_dataloader, "sampler", None)
        if sampler is not None and hasattr(sampler, "set_epoch"):
            sampler.set_epoch(trainer.current_epoch)

    def on_train_batch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Seed before the step draws anything."""
        draw = np.random.SeedSequence([self.seed, trainer.global_step, trainer.global_rank])
        torch.manual_seed(int(draw.generate_state(1, np.uint64)[0] >> 1))


class History(Callback):
    """The logged numbers of every epoch; part of the checkpoint, so a resumed run keeps the early ones."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Keep the row of this epoch."""
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append({"epoch": trainer.current_epoch + 1, **row})

    def state_dict(self) -> dict[str, Any]:
        """Give the rows to the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of the checkpoint."""
        self.rows = state_dict["rows"]


class EpochBar(Callback):
    """One bar over epochs, with rate, time left and the last validation recall."""

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Open the bar where training starts or goes on."""
        self.bar = tqdm(total=trainer.max_epochs, initial=trainer.current_epoch, desc="training", unit="epoch")

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Move the bar."""
        recall = trainer.callback_metrics.get(MONITOR)
        if recall is not None:
            self.bar.set_postfix_str(f"validation recall@1 {float(recall):.3f}", refresh=False)
        self.bar.update()

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()


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
    validated = epochs is None
    history = History()
    keep = ModelCheckpoint(
        dirpath=folder, filename="best", monitor=MONITOR if validated else None, mode="max", save_last=True,
        enable_version_counter=False, save_on_train_epoch_end=True,
    )  # fmt: skip
    callbacks: list[Callback] = [SeedSteps(seed), history, keep]
    if validated:
        callbacks.append(EarlyStopping(MONITOR, mode="max", patience=settings.patience))
    if progress:
        callbacks.append(EpochBar())
    quiet_lightning()
    trainer = lightning.Trainer(
        max_epochs=settings.max_epochs if validated else epochs,
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy=settings.strategy,
        precision=settings.precision,
        callbacks=callbacks,
        logger=_loggers(settings, folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,  # our batches are already one rank's share
        limit_val_batches=None if validated else 0,
    )
    last = folder / "last.ckpt"
    with warnings.catch_warnings():
        # Batches are cut from tensors in memory; loader workers would only copy them.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")
        trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if validated:
        best = torch.load(folder / "best.ckpt", map_location="cpu", weights_only=True)
        module.load_state_dict(best["state_dict"])
        return TrainingResult(int(best["epoch"]) + 1, history.rows)
    return TrainingResult(int(epochs or 0), history.rows)


def quiet_lightning() -> None:
    """Silence Lightning's chatter about devices and tips; warnings stay."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.ERROR)


def _loggers(settings: TrainerSettings, folder: Path) -> list[Any]:
    made: list[Any] = []
    if "csv" in settings.loggers:
        made.append(CSVLogger(folder, name="logs", version=""))
    if "tensorboard" in settings.loggers:
        from pytorch_lightning.loggers import TensorBoardLogger

        made.append(TensorBoardLogger(str(folder), name="logs", version="tensorboard"))
    if "wandb" in settings.loggers:
        from pytorch_lightning.loggers import WandbLogger

        made.append(WandbLogger(project="genebrain", save_dir=str(folder)))
    return made
