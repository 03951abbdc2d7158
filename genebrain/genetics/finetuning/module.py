"""Base of fine-tuning modules: optimiser, schedule, predictions gathered over ranks, small checkpoints.

A subclass gives ``loss`` and ``predict``; every epoch logs ``validation_<metric>``; a checkpoint holds what was
trained and nothing that was frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor
from transformers import get_cosine_with_min_lr_schedule_with_warmup

from genebrain.common.types import UserError
from genebrain.genetics.finetuning.metrics import METRICS, score
from genebrain.training.weight_decay import decay_groups


@dataclass(frozen=True)
class OptimiserSettings:
    """AdamW and how its rate moves.

    Parameters
    ----------
    learning_rate, weight_decay : float
        One-dimensional parameters are not decayed.
    schedule : {"constant", "plateau", "cosine"}
        ``plateau`` halves the rate after two epochs without a better monitored metric; ``cosine`` falls to a tenth.
    warmup_steps : int
        For ``cosine``: steps of linear rise.
    monitor : str
        Metric of early stopping and of ``plateau``, logged as ``validation_<monitor>``.
    smaller_is_better : bool
    """

    learning_rate: float
    weight_decay: float = 0.1
    schedule: str = "plateau"
    warmup_steps: int = 0
    monitor: str = "loss"
    smaller_is_better: bool = True


class FinetuningModule(lightning.LightningModule):
    """Base of the fine-tuning modules.

    Parameters
    ----------
    task : str
        Key of :data:`~genebrain.genetics.finetuning.metrics.METRICS`.
    targets : Tensor [rows, ...]
        Of all rows, for metrics.
    columns : int
        Numbers that :meth:`predict` gives per row.
    optimiser : OptimiserSettings
    """

    def __init__(self, task: str, targets: Tensor, columns: int, optimiser: OptimiserSettings) -> None:
        super().__init__()
        self.task, self.columns, self.optimiser = task, columns, optimiser
        self.targets = targets
        self.predictions: dict[int, Tensor] = {}
        """Row number -> float32 [columns] of the last evaluation, on every rank."""
        self._seen: list[tuple[Tensor, Tensor]] = []

    @property
    def strict_loading(self) -> bool:
        """Checkpoints leave out what was frozen."""
        return False

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """What is minimised, a scalar."""
        raise NotImplementedError

    def predict(self, batch: dict[str, Tensor]) -> Tensor:
        """What the metrics read: float32 [batch, columns]."""
        raise NotImplementedError

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """One step."""
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss became {float(loss)} at step {self.global_step}; lower training.learning_rate or use "
                "training.precision=32-true"
            )
        size = len(batch["row"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=size)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Collect predictions: most metrics need all rows."""
        self._seen.append((batch["row"], self.predict(batch).float()))

    def on_validation_epoch_end(self) -> None:
        """Log every metric over all validation rows."""
        self._gather()
        numbers = sorted(self.predictions)
        predicted = torch.stack([self.predictions[i] for i in numbers])
        for name, value in score(self.task, predicted, self.targets[numbers]).items():
            self.log(f"validation_{name}", value)

    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        """Leave the predictions in :attr:`predictions`."""
        self._gather()

    def _gather(self) -> None:
        """All ranks' predictions on every rank; a row that two ranks met gets their mean, which is either."""
        dense = torch.zeros(len(self.targets), self.columns + 1, device=self.device)
        for rows, values in self._seen:
            dense[rows] = torch.cat([values, torch.ones(len(rows), 1, device=values.device)], 1).to(dense)
        self._seen.clear()
        if self.trainer.world_size > 1:
            dense = self.trainer.strategy.reduce(dense, reduce_op="sum")
        dense = dense.cpu()
        met = dense[:, -1] > 0
        values = dense[:, :-1] / dense[:, -1:].clamp(min=1)
        self.predictions = {int(i): values[i] for i in met.nonzero().flatten()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was trained; a frozen 3B decoder need not be written every epoch."""
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in frozen}

    def configure_optimizers(self) -> Any:
        """AdamW on what is trainable, with the schedule."""
        settings = self.optimiser
        groups = decay_groups(self.parameters(), settings.weight_decay)
        optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.995))
        if settings.schedule == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimiser, mode="min" if settings.smaller_is_better else "max", factor=0.5, patience=1
            )
            watched = {"scheduler": plateau, "monitor": f"validation_{settings.monitor}", "interval": "epoch"}
            return {"optimizer": optimiser, "lr_scheduler": watched}
        if settings.schedule == "cosine":
            steps = int(self.trainer.estimated_stepping_batches)
            cosine = get_cosine_with_min_lr_schedule_with_warmup(
                optimiser, settings.warmup_steps, steps, min_lr_rate=0.1
            )  # fmt: skip
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
        return optimiser


def known_metric(task: str, monitor: str) -> None:
    """Refuse a metric that the task does not have."""
    if monitor not in METRICS[task]:
        raise UserError(f"training.monitor={monitor}: task={task} has {', '.join(METRICS[task])}")
