"""A fit that is broken off in the middle of an epoch and called again, beside one that nobody disturbs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genebrain import tasks
from genebrain.training.steps import SeedSteps


def whole_and_broken(cohort: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Path, Path]:
    """Checkpoints of the undisturbed run, and of the one that broke off at its fourth step and went on."""
    tasks.fit(cohort, run=folder / "whole", **options)
    seed = SeedSteps.on_train_batch_start

    def breaks(self, trainer, *rest) -> None:
        if trainer.global_step == 3:  # two steps an epoch: in the middle of the second
            raise RuntimeError("broken off")
        seed(self, trainer, *rest)

    with monkeypatch.context() as context:
        context.setattr(SeedSteps, "on_train_batch_start", breaks)
        with pytest.raises(RuntimeError, match="broken off"):
            tasks.fit(cohort, run=folder / "broken", **options)
    assert (folder / "broken" / "checkpoints" / "training" / "last.ckpt").exists()
    tasks.fit(cohort, run=folder / "broken", **options)
    return folder / "whole" / "checkpoints", folder / "broken" / "checkpoints"
