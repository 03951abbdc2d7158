"""Run Lightning on an AlignmentModule so that a killed run ends with the numbers of an undisturbed one.

The order of an epoch depends on the seed and the epoch, the dropout of a step on the seed and the step, and every
epoch leaves a checkpoint; a run that finds one goes on from there.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

from genebrain.alignment.module import AlignmentModule
from genebrain.lightning_steps import EpochBar, History, SeedSteps, make_loggers, quiet_lightning
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
    encoder_learning_rate : float
        Of encoders that are trained with the towers (``tuning`` of a side). Much smaller: what people share of an
        embedding is a hundred times larger than what tells them apart, and the towers read the latter.
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
    encoder_learning_rate: float = 1e-5
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
        if min(self.learning_rate, self.encoder_learning_rate) <= 0 or self.weight_decay < 0:
            problems.append(
                f"trainer: learning_rate={self.learning_rate} and encoder_learning_rate={self.encoder_learning_rate} "
                f"must be positive, weight_decay={self.weight_decay} not negative"
            )
        if problems:
            raise UserError("; ".join(problems))

    def check_machine(self) -> None:
        """Raise a UserError for what this machine does not have; separate, as settings may be made elsewhere."""
        if self.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
            raise UserError(
                f"trainer.accelerator={self.accelerator}, but this machine shows no GPU: use trainer.accelerator=auto "
                "(or cpu), and trainer=default instead of trainer=ddp"
            )


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
        callbacks.append(EpochBar(MONITOR, "validation recall@1"))
    quiet_lightning()
    trainer = lightning.Trainer(
        max_epochs=settings.max_epochs if validated else epochs,
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy=settings.strategy,
        precision=settings.precision,
        callbacks=callbacks,
        logger=make_loggers(settings.loggers, folder),
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
        # A resumed run begins its log anew; the rows of before are in the history.
        warnings.filterwarnings("ignore", ".*Experiment logs directory .* exists and is not empty.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")
        trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if validated:
        best = torch.load(folder / "best.ckpt", map_location="cpu", weights_only=True)
        module.load_state_dict(best["state_dict"])
        return TrainingResult(int(best["epoch"]) + 1, history.rows)
    return TrainingResult(int(epochs or 0), history.rows)
