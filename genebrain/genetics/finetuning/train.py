"""Run Lightning on a fine-tuning module so that a killed run ends with the numbers of an undisturbed one.

Every epoch leaves ``last.ckpt`` in the folder of its fold and training goes on from it; the best epoch by the
monitored metric is judged on the test rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from genebrain.common.types import UserError
from genebrain.genetics.finetuning.batches import FinetuningData
from genebrain.genetics.finetuning.module import SCHEDULES, FinetuningModule
from genebrain.training.trainer import BEST, DeviceSettings, Watch, quiet_known_warnings, train_resumably

RATES = {"frozen": 1e-3, "lora": 2e-4, "full": 1e-5}
"""Learning rate by tuning, where none is given; 1e-5 is the published one for full fine-tuning."""


@dataclass(frozen=True)
class TrainingSettings(DeviceSettings):
    """How long, how fast and on what to train.

    Parameters
    ----------
    max_epochs, patience : int
        Training stops after ``patience`` epochs without a better monitored metric.
    monitor : str, optional
        Validation metric; by default mcc, f1_max, mse or nats_per_base.
    batch_size : int
        Sequences per step over all devices.
    accumulate : int
        Steps whose gradients are added up.
    learning_rate : float, optional
        By default 1e-3 (frozen), 2e-4 (lora) or 1e-5 (full).
    weight_decay : float
    schedule, warmup_steps
        See :class:`~genebrain.genetics.finetuning.module.OptimiserSettings`.
    clip : float
        Largest norm of a gradient; 0 for none.
    precision, accelerator, devices, strategy, loggers
        As in :class:`~genebrain.training.trainer.DeviceSettings`.
    """

    section: ClassVar[str] = "training"
    strategies: ClassVar[tuple[str, ...]] = ("auto", "ddp", "fsdp", "deepspeed_stage_2", "deepspeed_stage_3")

    precision: str = "auto"
    max_epochs: int = 20
    patience: int = 5
    monitor: str | None = None
    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float | None = None
    weight_decay: float = 0.1
    schedule: str = "plateau"
    warmup_steps: int = 0
    clip: float = 1.0

    def __post_init__(self) -> None:
        problems = self.device_problems()
        if min(self.max_epochs, self.patience, self.batch_size, self.accumulate) < 1:
            problems.append(
                f"training: max_epochs={self.max_epochs}, patience={self.patience}, batch_size={self.batch_size} and "
                f"accumulate={self.accumulate} must be at least 1"
            )
        if self.schedule not in SCHEDULES:
            problems.append(f"training.schedule={self.schedule}: use {', '.join(SCHEDULES)}")
        if self.learning_rate is not None and self.learning_rate <= 0:
            problems.append(f"training.learning_rate={self.learning_rate} must be positive")
        if self.weight_decay < 0 or self.clip < 0 or self.warmup_steps < 0:
            problems.append("training: weight_decay, clip and warmup_steps must not be negative")
        if problems:
            raise UserError("; ".join(problems))

    def rate(self, tuning: str) -> float:
        """Learning rate."""
        return self.learning_rate or RATES[tuning]


@dataclass(frozen=True)
class TrainedFold:
    """Outcome of :func:`train_fold`.

    Attributes
    ----------
    best_epoch : int
        Counted from 1.
    history : list of dict
        One row per epoch.
    predictions : dict
        Test row -> prediction of the best epoch.
    """

    best_epoch: int
    history: list[dict[str, float]]
    predictions: dict[int, Tensor]


def train_fold(
    make_module: Callable[[], FinetuningModule],
    data: FinetuningData,
    folder: Path,
    settings: TrainingSettings,
    *,
    seed: int,
    progress: bool = True,
) -> TrainedFold:
    """Train with early stopping and predict the test rows with the best epoch, on every rank.

    Parameters
    ----------
    make_module : callable
        Builds the module on the CPU.
    folder : Path
        Checkpoints (``best.ckpt`` holds the trained weights afterwards) and logs.
    """
    module = make_module()
    smaller, name = module.optimiser.smaller_is_better, module.optimiser.monitor
    monitor, mode = f"validation_{name}", "min" if smaller else "max"
    trained = train_resumably(
        module, data, folder, settings, seed=seed, max_epochs=settings.max_epochs, progress=progress,
        watch=Watch(monitor, mode, settings.patience, f"validation {name}"), strategy=_strategy(settings.strategy),
        gradient_clip_val=settings.clip or None, accumulate_grad_batches=settings.accumulate,
    )  # fmt: skip
    with quiet_known_warnings():
        trained.trainer.test(
            module, datamodule=data, ckpt_path=str(folder / BEST), verbose=False, weights_only=True
        )  # fmt: skip
    return TrainedFold(_best_epoch(trained.history, monitor, smaller), trained.history, dict(module.predictions))


def trained_weights(path: Path) -> dict[str, Tensor]:
    """Trained tensors of a checkpoint by their names in the module; also of a folder that DeepSpeed left."""
    if path.is_dir():
        from pytorch_lightning.utilities.deepspeed import convert_zero_checkpoint_to_fp32_state_dict

        whole = path.with_suffix(".whole")
        convert_zero_checkpoint_to_fp32_state_dict(path, whole)
        path = whole
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return dict(content["state_dict"])


def _best_epoch(rows: list[dict[str, float]], monitor: str, smaller: bool) -> int:
    values = [row[monitor] for row in rows]
    return int(rows[values.index((min if smaller else max)(values))]["epoch"])


def _strategy(name: str) -> Any:
    if name == "fsdp":
        from pytorch_lightning.strategies import FSDPStrategy
        from transformers.models.llama.modeling_llama import LlamaDecoderLayer

        # One whole state dict in a checkpoint, so that weights can be written out of it.
        return FSDPStrategy(auto_wrap_policy={LlamaDecoderLayer}, state_dict_type="full", use_orig_params=True)
    return name
