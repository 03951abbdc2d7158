"""The pretraining step as a LightningModule: prepare clips, one loss, AdamW with warm-up and cosine.

What a step draws (masks, views) depends on the seed, the step and the rank alone, what validation draws on the seed
and the batch alone; so a resumed run repeats an undisturbed one, and validation losses of different epochs are those
of the same masks. The learning rate moves with every optimiser step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from genebrain.brain.pretraining.contrast import Ranks
from genebrain.brain.pretraining.objectives import Objective, Outcome
from genebrain.brain.pretraining.schedule import learning_rate, parameter_groups
from genebrain.brain.pretraining.trainer import OptimiserSettings

VALIDATION = 1
"""Marks the draws of validation, which must not depend on the epoch."""


class PretrainModule(lightning.LightningModule):
    """Self-supervised training of one encoder.

    Parameters
    ----------
    objective : Objective
    prepare : callable
        Windows ``[batch, frames, ...]`` as stored -> input of the encoder.
    settings : OptimiserSettings
    steps : int
        Optimiser steps of the whole training, over which the learning rate falls.
    seed : int
    gather : callable, optional
        Collects rows of all processes with their gradient: the negatives of a contrastive objective then come from
        all of them.
    """

    def __init__(
        self,
        objective: Objective,
        prepare: Callable[[Tensor], Tensor],
        settings: OptimiserSettings,
        *,
        steps: int,
        seed: int,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.objective = objective
        self.prepare, self.settings, self.steps, self.seed, self.gather = prepare, settings, steps, seed, gather

    def outcome(self, batch: dict[str, Tensor], draw: list[int], compare: bool = False) -> Outcome:
        """Loss of a batch of windows ``clips [batch, clips, frames, ...]``; ``draw`` seeds what is random."""
        clips = batch["clips"]
        prepared = torch.stack([self.prepare(clips[:, i]) for i in range(clips.shape[1])], dim=1)
        seed = np.random.SeedSequence([self.seed, *draw]).generate_state(1, np.uint64)[0] >> 1
        generator = torch.Generator(device=prepared.device).manual_seed(int(seed))
        return self.objective({**batch, "clips": prepared}, generator, compare)

    def on_fit_start(self) -> None:
        """Tell a contrastive objective its rank."""
        if self.gather is not None:
            self.objective.ranks = Ranks(self.gather, self.trainer.global_rank)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """One step."""
        trainer = self.trainer
        loss = self.outcome(batch, [0, trainer.current_epoch, batch_index, trainer.global_rank]).loss
        rows = len(batch["clips"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=rows)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """The same loss on fixed clips with fixed masks; every rank sees all of them."""
        outcome = self.outcome(batch, [VALIDATION, batch_index])
        self.log("validation_loss", outcome.loss, on_epoch=True, batch_size=len(batch["clips"]))

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW in two groups; the schedule counts optimiser steps."""
        peak = self.settings.learning_rate
        groups = parameter_groups(self, self.settings.weight_decay)
        optimiser = torch.optim.AdamW(groups, lr=1.0)
        warmup = int(self.settings.warmup * self.steps)

        def rate(step: int) -> float:
            # After the last step the schedule would start again; Lightning asks once more.
            return learning_rate(min(step, self.steps - 1), self.steps, peak, 0.01 * peak, warmup)

        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": LambdaLR(optimiser, rate), "interval": "step"}}
