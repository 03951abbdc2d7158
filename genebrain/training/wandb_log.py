"""Weights & Biases as a logger: curves and settings of a training, and nothing that names a person or a place.

What the package adds by itself (the command line, the console, the machine, the user, the code) is switched off: a
command line holds paths, and a console may print ids. ``WANDB_MODE=offline`` writes into the run folder; without
``WANDB_MODE`` nothing is logged at all.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genebrain.common.reading import read_record
from genebrain.training.settings import missing_loggers

log = logging.getLogger(__name__)

PROJECT = "genebrain"
OFF = {
    "console": "off", "disable_code": True, "disable_git": True, "save_code": False, "x_disable_meta": True,
    "x_disable_machine_info": True, "x_disable_stats": True, "disable_job_creation": True, "silent": True,
    "host": "hidden", "program": "genebrain", "x_save_requirements": False,
}  # fmt: skip
"""Settings of wandb, of which those are used that the installed version knows."""
TOLD = ("retrieval", "gallery_full", "chance", "ceiling", "baselines", "permutation", "n_subjects", "gallery_size")
"""Numbers of a judgement that are logged."""


def wandb_logger(folder: Path) -> Any:
    """Logger of a training whose checkpoints go into this folder.

    The name is that of the run folder and of the training, the configuration that of the run without its paths.
    """
    from pytorch_lightning.loggers import WandbLogger

    if switched_off():
        log.warning("note: trainer.loggers has wandb, and WANDB_MODE is disabled or not set: nothing is logged there; "
              "WANDB_MODE=offline writes into the run folder, WANDB_MODE=online sends")  # fmt: skip
    run = run_folder(folder)
    return WandbLogger(save_dir=str(folder), **_of_run(run, folder.name if run != folder else ""))


def switched_off() -> bool:
    """Whether nothing is to be logged: ``WANDB_MODE`` is disabled, or not set."""
    return os.environ.get("WANDB_MODE", "disabled") == "disabled"


def log_results(run: Path, metrics: Mapping[str, Any], figures: Path, split: str) -> None:
    """Log numbers and figures of a judgement as a run of its own, in the group of the trainings of this run.

    Numbers that may name a place or people (strata, columns, what carries a match) are left out.
    """
    if switched_off():
        return
    if missing := missing_loggers(["wandb"]):
        log.warning(f"note: the run logs to wandb, and {missing[0]}: its results are not logged there")
        return
    import wandb

    told = _flat({key: metrics.get(key) for key in TOLD})
    pictures = {path.stem: wandb.Image(str(path)) for path in sorted(figures.glob("*.png"))}
    with wandb.init(dir=str(run), job_type="evaluate", **_of_run(run, split)) as one:
        one.summary.update({key: value for key, value in told.items() if isinstance(value, int | float)})
        one.log(pictures)


def _of_run(run: Path, part: str) -> dict[str, Any]:
    """Project, name, group, configuration and what is switched off, for a part of a run."""
    import wandb

    off = {key: value for key, value in OFF.items() if key in wandb.Settings.model_fields}
    return {
        "project": os.environ.get("WANDB_PROJECT", PROJECT), "name": f"{run.name} {part}".strip(), "group": run.name,
        "config": told_settings(run), "settings": wandb.Settings(**off),
    }  # fmt: skip


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
    words = node if isinstance(node, list | tuple) else (node,)
    place = any(isinstance(word, str) and ("/" in word or os.sep in word) for word in words)
    return {} if place else {prefix: node}
