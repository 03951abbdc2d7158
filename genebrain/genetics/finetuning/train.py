"""Run Lightning on a fine-tuning module so that a killed run ends with the numbers of an undisturbed one.

Every epoch leaves ``last.ckpt`` in the folder of its fold and training goes on from it; the best epoch by the
monitored metric is judged on the test rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genebrain.genetics.finetuning.batches import FinetuningData
from genebrain.genetics.finetuning.module import FinetuningModule
from genebrain.genetics.finetuning.settings import TrainingSettings
from genebrain.training.trainer import BEST, Watch, quiet_known_warnings, train_resumably


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
        watch=Watch(monitor, mode, settings.patience, f"validation {name}"), **_sharded(settings.strategy),
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


def _sharded(name: object) -> dict[str, Any]:
    if name != "fsdp":
        return {}
    from pytorch_lightning.strategies import FSDPStrategy
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    # One whole state dict in a checkpoint, so that weights can be written out of it.
    whole = FSDPStrategy(auto_wrap_policy={LlamaDecoderLayer}, state_dict_type="full", use_orig_params=True)
    return {"strategy": whole}
