"""How long, how fast and on what a scan encoder is pretrained."""

from __future__ import annotations

from dataclasses import dataclass

from genebrain.brain.pretraining.module import OptimiserSettings
from genebrain.common.types import UserError
from genebrain.training.trainer import DeviceSettings


@dataclass(frozen=True)
class PretrainerSettings(DeviceSettings):
    """Settings of the training loop.

    Parameters
    ----------
    max_epochs, patience : int
        Training stops after ``patience`` epochs without a lower validation loss.
    batch_size : int
        People per batch over all devices.
    passes, validation_passes : int
        Random looks at every training person per epoch, fixed looks at every validation person.
    learning_rate, warmup, weight_decay
        As in :class:`~genebrain.brain.pretraining.module.OptimiserSettings`.
    gradient_clip : float
        Largest norm of the gradient; 0 leaves it as it is.
    accumulate : int
        Batches per optimiser step.
    recompute : bool
        Make activations again in the backward pass: a fraction of the memory, the same gradients.
    workers : int
        Processes that read ahead; 0 is best for parcel series.
    precision, accelerator, devices, strategy, loggers
        As in :class:`~genebrain.training.trainer.DeviceSettings`.
    """

    max_epochs: int = 50
    patience: int = 10
    batch_size: int = 32
    passes: int = 4
    validation_passes: int = 2
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    accumulate: int = 1
    recompute: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        problems = self.device_problems()
        for key, least in (
            ("max_epochs", 1), ("patience", 1), ("batch_size", 2), ("passes", 1), ("validation_passes", 1),
            ("accumulate", 1), ("workers", 0), ("gradient_clip", 0),
        ):  # fmt: skip
            if getattr(self, key) < least:
                problems.append(f"trainer.{key}={getattr(self, key)} must be at least {least}")
        try:
            _ = self.optimiser
        except UserError as error:
            problems.append(str(error))
        if problems:
            raise UserError("; ".join(problems))

    @property
    def optimiser(self) -> OptimiserSettings:
        """Learning rate, warm-up and decay."""
        return OptimiserSettings(self.learning_rate, self.warmup, self.weight_decay)
