"""The one training loop: Lightning with early stopping, so that a killed run ends like an undisturbed one.

Epochs leave ``last.ckpt`` in the folder, one every few seconds at most, and training goes on from it; ``best.ckpt``
holds the weights of the best epoch by a monitored number; Ctrl-C reaches the caller. Settings say on what to train;
what this machine lacks is refused before a model is read.
"""

from __future__ import annotations

import atexit
import gc
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback

from genebrain.common.files import make_private
from genebrain.common.leftovers import sweep
from genebrain.training.checkpoint_files import Checkpoints, WholeCheckpoints, read_training
from genebrain.training.own_parts import OwnPart
from genebrain.training.settings import DeviceSettings
from genebrain.training.steps import EpochBar, History, Patience, SeedSteps, make_loggers, quiet_lightning

if dist.is_available():
    # Its default arguments keep the process group of the moment for ever, so it is imported before there is one.
    import torch.distributed.nn.functional  # noqa: F401

BEST, LAST = "best.ckpt", "last.ckpt"
SECONDS_BETWEEN = 3.0
"""Between two ``last.ckpt``: what a killed training may have to do again."""


@dataclass(frozen=True)
class Watch:
    """The logged number that decides which epoch is best and when to stop.

    Parameters
    ----------
    monitor, mode
        As in Lightning's callbacks.
    patience : int
        Epochs without a better number before training stops.
    words : str
        What it is called beside the bar.
    """

    monitor: str
    mode: str
    patience: int
    words: str


@dataclass(frozen=True)
class Trained:
    """Outcome of :func:`train_resumably`.

    Attributes
    ----------
    trainer : Trainer
        For a test pass.
    history : list of dict
        One row per epoch, also of epochs before a resumption.
    folder : Path
        Of the checkpoints.
    """

    trainer: lightning.Trainer
    history: list[dict[str, float]]
    folder: Path

    def load_best(self, module: lightning.LightningModule) -> int:
        """Put the weights of the best epoch into the module; returns the epoch, counted from 1."""
        best = read_training(self.folder / BEST)
        module.load_state_dict(best["state_dict"])
        return int(best["epoch"]) + 1


def train_resumably(
    module: lightning.LightningModule,
    data: lightning.LightningDataModule,
    folder: Path,
    settings: DeviceSettings,
    *,
    seed: int,
    max_epochs: int,
    watch: Watch | None,
    progress: bool = True,
    **options: Any,
) -> Trained:
    """Train, or go on from ``last.ckpt`` in the folder.

    Parameters
    ----------
    module, data
        What to train and on what; the sampler deals each rank its share.
    folder : Path
        Checkpoints and logs.
    settings : DeviceSettings
    seed : int
        With the number of a step it decides what the step draws.
    max_epochs : int
    watch : Watch, optional
        None: train all epochs, without validation.
    **options
        Of Lightning's Trainer: gradient clipping, accumulation, a strategy object.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, with the last checkpoint kept.
    """
    gpu = settings.on_gpu()
    history = History()
    make_private(folder)
    sweep(folder)
    often: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False, "save_on_train_epoch_end": True}
    if watch:
        # Weights of the best epoch, each time that there is a better one; and where training goes on.
        best = Checkpoints(filename="best", monitor=watch.monitor, mode=watch.mode, save_weights_only=True, **often)
        kept = [best, Checkpoints(SECONDS_BETWEEN, filename="last", **often)]
    else:
        kept = [Checkpoints(SECONDS_BETWEEN, filename="best", save_last=True, **often)]
    callbacks: list[Callback] = [SeedSteps(seed), history, *kept]
    if watch:
        callbacks.append(Patience(watch.monitor, mode=watch.mode, patience=watch.patience))
    if progress:
        callbacks.append(EpochBar(watch.monitor if watch else "", watch.words if watch else ""))
    callbacks += [part.make("callbacks") for part in settings.callbacks if isinstance(part, OwnPart)]
    quiet_lightning()
    strategy = settings.strategy
    trainer = lightning.Trainer(**{
        "max_epochs": max_epochs,
        # Not Lightning's "auto": it takes Apple's GPU, which has no float64.
        "accelerator": "gpu" if gpu else "cpu",
        "devices": settings.devices if gpu or settings.devices not in (-1, "auto") else 1,
        "strategy": strategy.make("strategy") if isinstance(strategy, OwnPart) else strategy,
        "precision": ("bf16-mixed" if gpu else "32-true") if settings.precision == "auto" else settings.precision,
        "callbacks": callbacks,
        "logger": make_loggers(settings.loggers, folder),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "use_distributed_sampler": False,  # our batches are already one rank's share
        "limit_val_batches": None if watch else 0,
        # DeepSpeed writes folders by itself.
        "plugins": [] if "deepspeed" in str(strategy).lower() else [WholeCheckpoints()],
    } | options)  # fmt: skip
    if trainer.world_size > 1:
        atexit.register(leave_process_group)
    last = folder / LAST
    handler = signal.getsignal(signal.SIGINT)
    try:
        with quiet_known_warnings():
            trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        # Lightning (2.6) makes an exit of Ctrl-C, and leaves the process deaf to the next one.
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None
    return Trained(trainer, history.rows, folder)


def leave_process_group() -> None:
    """End the process group and its threads; nothing to do where there is none.

    Gloo's threads abort a process that shuts down while they let go of a last tensor (SIGABRT, "terminate called
    without an active exception"), and torch ends them with the last reference to the group only: models under
    distributed data parallel, which are cycles, hold others.
    """
    if dist.is_available() and dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


@contextmanager
def quiet_known_warnings() -> Iterator[None]:
    """Silence what Lightning says of choices that are meant."""
    with warnings.catch_warnings():
        for known in (
            "does not have many workers",  # batches are cut from memory; workers would only copy them
            "(Checkpoint|logs) directory .* exists and is not empty",  # a resumed run; early rows are in the history
            "LeafSpec.*is deprecated",
            "It is recommended to use .*sync_dist=True",  # numbers are gathered over ranks before they are logged
            "Using .DistributedSampler. with the dataloaders",
        ):
            warnings.filterwarnings("ignore", f".*{known}.*")
        yield
