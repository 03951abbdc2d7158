"""Run Lightning on a fine-tuning module so that a killed run ends with the numbers of an undisturbed one.

Contract: every epoch leaves ``last.ckpt`` in the folder of its fold and training goes on from it; the best epoch by
the monitored metric is judged on the test rows. What this module does NOT know: labels, models.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import Tensor

from genebrain.genetics.finetuning_data import FinetuningData
from genebrain.genetics.finetuning_module import SCHEDULES, FinetuningModule
from genebrain.lightning_steps import EpochBar, History, SeedSteps, make_loggers, quiet_lightning
from genebrain.types import UserError

SHARDED = ("fsdp", "deepspeed")
STRATEGIES = ("auto", "ddp", "fsdp", "deepspeed_stage_2", "deepspeed_stage_3")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
RATES = {"frozen": 1e-3, "lora": 2e-4, "full": 1e-5}
"""Learning rate by tuning, where none is given; 1e-5 is the published one for full fine-tuning."""


@dataclass(frozen=True)
class TrainingSettings:
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
        See :class:`~genebrain.genetics.finetuning_module.OptimiserSettings`.
    clip : float
        Largest norm of a gradient; 0 for none.
    precision, accelerator, devices, strategy
        Words of Lightning's Trainer (``PRECISIONS``, ``ACCELERATORS``, ``STRATEGIES``), checked before a model is read;
        precision ``auto`` is float32 on CPU and bfloat16 (mixed) on GPU.
    loggers : sequence of {"csv", "tensorboard", "wandb"}
    """

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
    precision: str = "auto"
    accelerator: str = "auto"
    devices: int | str = 1
    strategy: str = "auto"
    loggers: tuple[str, ...] = ("csv",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "loggers", tuple(self.loggers))
        problems = []
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
        if unknown := set(self.loggers) - {"csv", "tensorboard", "wandb"}:
            problems.append(f"training.loggers={sorted(unknown)}: use csv, tensorboard or wandb")
        for key, known in (("strategy", STRATEGIES), ("precision", PRECISIONS), ("accelerator", ACCELERATORS)):
            if (word := getattr(self, key)) not in known:
                problems.append(f"training.{key}={word}: use one of {', '.join(known)}")
        if self.devices != "auto" and not (isinstance(self.devices, int) and self.devices >= 1):
            problems.append(f"training.devices={self.devices}: use a whole number from 1 on, or auto")
        if self.accelerator == "cpu":
            problems += self._gpu_only()
        if problems:
            raise UserError("; ".join(problems))

    def on_gpu(self) -> bool:
        """Whether training will run on a GPU; refuses what needs one where there is none."""
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise UserError("training.accelerator=gpu: this machine shows no CUDA GPU; use training.accelerator=auto")
        gpu = self.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        if not gpu and (problems := self._gpu_only()):
            raise UserError("; ".join(problems))
        return gpu

    def rate(self, tuning: str) -> float:
        """Learning rate."""
        return self.learning_rate or RATES[tuning]

    def _gpu_only(self) -> list[str]:
        problems = []
        if self.strategy.startswith(SHARDED):
            problems.append(f"training.strategy={self.strategy} needs GPUs; on CPU use auto or ddp")
        if self.precision.startswith("16"):
            problems.append(f"training.precision={self.precision} needs a GPU; on CPU use 32-true or bf16-mixed")
        return problems


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
    history = History()
    keep = ModelCheckpoint(
        dirpath=folder, filename="best", monitor=monitor, mode=mode, save_last=True, enable_version_counter=False,
        save_on_train_epoch_end=True,
    )  # fmt: skip
    callbacks: list[Callback] = [
        SeedSteps(seed), history, keep, EarlyStopping(monitor, mode=mode, patience=settings.patience)
    ]  # fmt: skip
    if progress:
        callbacks.append(EpochBar(monitor, f"validation {name}"))
    quiet_lightning()
    trainer = lightning.Trainer(
        max_epochs=settings.max_epochs,
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy=_strategy(settings.strategy),
        precision=_precision(settings),
        gradient_clip_val=settings.clip or None,
        accumulate_grad_batches=settings.accumulate,
        callbacks=callbacks,
        logger=make_loggers(settings.loggers, folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,  # our batches are already one rank's share
    )
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    with warnings.catch_warnings():
        # Batches are cut from rows in memory; loader workers would only copy them.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
        warnings.filterwarnings("ignore", ".*Experiment logs directory .* exists and is not empty.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")
        warnings.filterwarnings("ignore", ".*It is recommended to use .*sync_dist=True.*")
        warnings.filterwarnings("ignore", ".*Using .DistributedSampler. with the dataloaders.*")
        trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        trainer.test(module, datamodule=data, ckpt_path=str(best), verbose=False, weights_only=True)
    return TrainedFold(_best_epoch(history.rows, monitor, smaller), history.rows, dict(module.predictions))


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


def _precision(settings: TrainingSettings) -> str:
    if settings.precision != "auto":
        return settings.precision
    return "bf16-mixed" if settings.on_gpu() else "32-true"
