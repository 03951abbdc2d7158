"""Callbacks of every training: steps seeded by their number, the history of epochs, the bar.

A resumed run draws what an undisturbed one draws and keeps its early rows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.loggers import CSVLogger
from tqdm import tqdm

from genebrain.common.words import no_bar
from genebrain.training.own_parts import OwnPart


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


class Patience(EarlyStopping):
    """Early stopping that knows, when a training goes on, that it had been over already."""

    @property
    def state_key(self) -> str:
        """As of Lightning's own class, whose state older trainings hold."""
        return super().state_key.replace(type(self).__qualname__, EarlyStopping.__qualname__, 1)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Stop before an epoch that an undisturbed run would not have had."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class EpochBar(Callback):
    """One bar over epochs, with rate, time left and the last value of a logged number.

    Parameters
    ----------
    monitor : str
        Name of the logged number.
    words : str
        What it is called beside the bar.
    """

    def __init__(self, monitor: str, words: str) -> None:
        self.monitor, self.words = monitor, words

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Open the bar where training starts or goes on."""
        self.bar = tqdm(
            total=trainer.max_epochs, initial=trainer.current_epoch, desc="training", unit="epoch", disable=no_bar()
        )

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Move the bar."""
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None:
            self.bar.set_postfix_str(f"{self.words} {float(value):.3f}", refresh=False)
        self.bar.update()

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Close the bar; where training ended early, its last epoch is the end."""
        if trainer.should_stop:
            self.bar.total = self.bar.n
        self.bar.close()


def quiet_lightning() -> None:
    """Silence Lightning's chatter about devices and tips; warnings stay."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.ERROR)


def make_loggers(names: Sequence[object], folder: Path) -> list[Any]:
    """Loggers by name: csv and tensorboard write below the folder, wandb sends data away; and the user's own."""
    made: list[Any] = []
    if "csv" in names:
        made.append(CSVLogger(folder, name="logs", version=""))
    if "tensorboard" in names:
        from pytorch_lightning.loggers import TensorBoardLogger

        made.append(TensorBoardLogger(str(folder), name="logs", version="tensorboard"))
    if "wandb" in names:
        from genebrain.training.wandb_log import wandb_logger

        made.append(wandb_logger(folder))
    return made + [name.make("loggers") for name in names if isinstance(name, OwnPart)]
