"""A fit that is broken off in the middle of an epoch and called again, beside one that nobody disturbs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from genebrain import tasks
from genebrain.training.steps import SeedSteps


@contextmanager
def breaking_off(step: int) -> Iterator[None]:
    """Trainings inside break off before this step with a RuntimeError."""
    seed = SeedSteps.on_train_batch_start

    def breaks(self, trainer, *rest) -> None:
        if trainer.global_step == step:
            raise RuntimeError("broken off")
        seed(self, trainer, *rest)

    with pytest.MonkeyPatch.context() as context:
        context.setattr(SeedSteps, "on_train_batch_start", breaks)
        yield


def whole_and_broken(cohort: Any, folder: Path, **options: Any) -> tuple[Path, Path]:
    """Checkpoints of the undisturbed run, and of the one that broke off at its fourth step and went on."""
    tasks.fit(cohort, run=folder / "whole", **options)
    # Two steps an epoch: in the middle of the second.
    with breaking_off(step=3), pytest.raises(RuntimeError, match="broken off"):
        tasks.fit(cohort, run=folder / "broken", **options)
    assert (folder / "broken" / "checkpoints" / "training" / "last.ckpt").exists()
    tasks.fit(cohort, run=folder / "broken", **options)
    return folder / "whole" / "checkpoints", folder / "broken" / "checkpoints"
