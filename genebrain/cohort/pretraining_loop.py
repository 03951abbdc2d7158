"""Run Lightning on a PretrainModule: early stop on fixed looks, and a killed run ends like an undisturbed one."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

from genebrain.alignment.distributed import gather_with_gradient
from genebrain.brain.objective_settings import ObjectiveSettings
from genebrain.brain.pretraining import PretrainModule
from genebrain.brain.window_encoder import WindowEncoder
from genebrain.cohort.pretraining_data import LookModule
from genebrain.cohort.pretraining_settings import PretrainerSettings
from genebrain.lightning_steps import EpochBar, History, SeedSteps, make_loggers, quiet_lightning

MONITOR = "validation_loss"


def make_module(
    encoder: WindowEncoder, objective: ObjectiveSettings, data: LookModule, settings: PretrainerSettings, seed: int
) -> PretrainModule:
    """The step that trains an encoder (in place) on these data."""
    encoder.recompute = settings.recompute
    # Every rank takes its share of the same batches, so the number of steps does not depend on the ranks.
    steps = -(-len(data.sampler()) // settings.accumulate) * settings.max_epochs
    return PretrainModule(
        objective.build(encoder, seed),
        encoder.prepare,
        settings.optimiser,
        steps=steps,
        seed=seed,
        gather=gather_with_gradient if objective.negatives == "all_ranks" else None,
    )


def train(
    module: PretrainModule,
    data: LookModule,
    folder: Path,
    settings: PretrainerSettings,
    *,
    seed: int,
    progress: bool = True,
) -> tuple[int, list[dict[str, float]]]:
    """Train with early stopping, leaving the best weights in the module.

    Parameters
    ----------
    module, data
        What to train and on what.
    folder : Path
        Checkpoints and logs; a ``last.ckpt`` found there is resumed.

    Returns
    -------
    best_epoch : int
        Counted from 1.
    history : list of dict
        One row per epoch.
    """
    history = History()
    keep = ModelCheckpoint(
        dirpath=folder, filename="best", monitor=MONITOR, mode="min", save_last=True, enable_version_counter=False,
        save_on_train_epoch_end=True,
    )  # fmt: skip
    stop = EarlyStopping(MONITOR, mode="min", patience=settings.patience)
    callbacks: list[Callback] = [SeedSteps(seed), history, keep, stop]
    if progress:
        callbacks.append(EpochBar(MONITOR, "validation loss"))
    quiet_lightning()
    trainer = lightning.Trainer(
        max_epochs=settings.max_epochs,
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy=settings.strategy,
        precision=settings.precision,
        gradient_clip_val=settings.gradient_clip or None,
        accumulate_grad_batches=settings.accumulate,
        callbacks=callbacks,
        logger=make_loggers(settings.loggers, folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,  # our batches are already one rank's share
    )
    module.train()  # encoders come in evaluation mode, which Lightning keeps
    last = folder / "last.ckpt"
    with warnings.catch_warnings():
        # Windows are read from memory maps; loader workers pay for volumes only, and are an option.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*(Checkpoint|logs) directory .* exists and is not empty.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")
        trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    best = torch.load(folder / "best.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])
    return int(best["epoch"]) + 1, history.rows
