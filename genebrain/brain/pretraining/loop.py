"""Run Lightning on a PretrainModule: early stop on fixed looks, and a killed run ends like an undisturbed one."""

from __future__ import annotations

from pathlib import Path

from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.pretraining.data import LookModule
from genebrain.brain.pretraining.module import PretrainModule
from genebrain.brain.pretraining.settings import ObjectiveSettings
from genebrain.brain.pretraining.trainer import PretrainerSettings
from genebrain.training.collectives import gather_with_gradient
from genebrain.training.trainer import Watch, train_resumably

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
        settings,
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
    module.train()  # encoders come in evaluation mode, which Lightning keeps
    trained = train_resumably(
        module, data, folder, settings, seed=seed, max_epochs=settings.max_epochs, progress=progress,
        watch=Watch(MONITOR, "min", settings.patience, "validation loss"),
        gradient_clip_val=settings.gradient_clip or None, accumulate_grad_batches=settings.accumulate,
    )  # fmt: skip
    return trained.load_best(module), trained.history
