"""Weights & Biases as a logger: curves and settings of a training, and nothing that names a person or a place.

What the package adds by itself (the command line, the console, the machine, the user, the code) is switched off: a
command line holds paths, and a console may print ids. ``WANDB_MODE=offline`` writes into the run folder; without
``WANDB_MODE`` nothing is logged at all.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from genebrain.common.reading import read_record

log = logging.getLogger(__name__)

PROJECT = "genebrain"
OFF = {
    "console": "off", "disable_code": True, "disable_git": True, "save_code": False, "x_disable_meta": True,
    "x_disable_machine_info": True, "x_disable_stats": True, "disable_job_creation": True, "silent": True,
    "host": "hidden", "program": "genebrain", "x_save_requirements": False,
}  # fmt: skip
"""Settings of wandb, of which those are used that the installed version knows."""


def wandb_logger(folder: Path) -> Any:
    """Logger of a training whose checkpoints go into this folder.

    The name is that of the run folder and of the training, the configuration that of the run without its paths.
    """
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    if os.environ.get("WANDB_MODE", "disabled") == "disabled":
        log.warning("note: trainer.loggers has wandb, and WANDB_MODE is disabled or not set: nothing is logged there; "
              "WANDB_MODE=offline writes into the run folder, WANDB_MODE=online sends")  # fmt: skip
    off = {key: value for key, value in OFF.items() if key in wandb.Settings.model_fields}
    run = run_folder(folder)
    name = f"{run.name} {folder.name}" if run != folder else folder.name
    return WandbLogger(
        project=os.environ.get("WANDB_PROJECT", PROJECT), name=name, group=run.name, save_dir=str(folder),
        config=told_settings(run), settings=wandb.Settings(**off),
    )  # fmt: skip


def finish(trainer: Any) -> None:
    """End the runs of wandb that a trainer logged into, so that the next training gets one of its own."""
    for logger in trainer.loggers:
        if type(logger).__name__ == "WandbLogger":
            logger.experiment.finish()


def run_folder(folder: Path) -> Path:
    """The run that a folder of checkpoints belongs to; the folder itself where there is none."""
    above = (parent for parent in folder.absolute().parents if (parent / "settings.json").is_file())
    return next((parent for parent, _ in zip(above, range(1), strict=False)), folder)


def told_settings(run: Path) -> dict[str, Any]:
    """Settings of a run as flat names and values, without anything that is a path."""
    path = run / "settings.json"
    return _flat(read_record(path)) if path.is_file() else {}


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(node, dict):
        found: dict[str, Any] = {}
        for key, value in node.items():
            if key not in ("path", "_target_"):
                found |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
        return found
    place = isinstance(node, str) and ("/" in node or os.sep in node)
    return {} if place else {prefix: node}
