"""Trainer settings of pretraining."""

from __future__ import annotations

from dataclasses import dataclass

from genebrain.common.types import UserError
from genebrain.training.settings import DeviceSettings


@dataclass(frozen=True)
class OptimiserSettings:
    """How the weights move.

    Parameters
    ----------
    learning_rate : float
        Peak, reached after the warm-up; a cosine then takes it to a hundredth.
    warmup : float
        Share of all optimiser steps.
    weight_decay : float
        Of the weights of linear maps and convolutions; norms, biases, positions, class tokens and the decay rates of
        state-space layers are left alone.
    """

    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        if problems := self.optimiser_problems():
            raise UserError("; ".join(problems))

    def optimiser_problems(self) -> list[str]:
        """What cannot be, in words."""
        if self.learning_rate > 0 and self.weight_decay >= 0 and 0 <= self.warmup < 1:
            return []
        return [
            f"optimiser: learning_rate={self.learning_rate:g} must be above 0, weight_decay={self.weight_decay:g} "
            f"not below, warmup={self.warmup:g} in [0, 1)"
        ]


@dataclass(frozen=True)
class PretrainerSettings(DeviceSettings, OptimiserSettings):
    """Settings of the training loop.

    Parameters
    ----------
    max_epochs : int
        Passes over the training people at most.
    patience : int
        Epochs without a lower validation loss before stopping.
    batch_size : int
        People per batch over all devices; a contrast has more negatives in larger ones.
    passes : int
        Random looks at every training person per epoch.
    validation_passes : int
        Fixed looks at every validation person.
    gradient_clip : float
        Largest norm of the gradient; 0: none.
    accumulate : int
        Batches per optimiser step.
    recompute : bool
        Make activations again in the backward pass: less memory, same gradients.
    workers : int
        Processes that read ahead; pays for volumes.
    """

    max_epochs: int = 50
    patience: int = 10
    batch_size: int = 32
    passes: int = 4
    validation_passes: int = 2
    gradient_clip: float = 1.0
    accumulate: int = 1
    recompute: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        problems = self.device_problems() + self.optimiser_problems()
        for key, least in (
            ("max_epochs", 1), ("patience", 1), ("batch_size", 2), ("passes", 1), ("validation_passes", 1),
            ("accumulate", 1), ("workers", 0), ("gradient_clip", 0),
        ):  # fmt: skip
            if getattr(self, key) < least:
                problems.append(f"trainer.{key}={getattr(self, key)} must be at least {least}")
        if problems:
            raise UserError("; ".join(problems))
