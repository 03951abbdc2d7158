"""The recipe of a fit: training starts where there is something to move, and says so where there is not."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.alignment.settings import AlignmentSettings
from genebrain.alignment.training import TrainerSettings
from genebrain.cohort.recipe import fit_alignment
from genebrain.cohort.tower_inputs import Subjects

TRAINER = TrainerSettings(max_epochs=2, patience=2, accelerator="cpu", loggers=())


def subjects(link: float) -> Subjects:
    rng = np.random.default_rng(0)
    genes = rng.normal(size=(150, 4)).astype(np.float32)
    brain = (link * genes @ rng.normal(size=(4, 6)) + rng.normal(size=(150, 6))).astype(np.float32)
    return Subjects([genes], {"embedding": brain}, np.arange(150), np.arange(150))


@pytest.mark.parametrize("train", ["residual", "full"])
def test_training_that_has_nothing_to_move_is_left_out_and_said(tmp_path, capsys, train):
    rows = np.arange(150)
    settings = AlignmentSettings(train=train)
    empty = fit_alignment(subjects(0), rows[:100], rows[100:], settings, TRAINER, tmp_path / "a", progress=False)
    assert empty.model.closed_form.calibration.slope == 0
    assert empty.model.kept == "closed_form"
    assert empty.history == []
    assert "alignment=textbook" in empty.model.approval["not_trained"]
    assert "no training: the closed form finds no relation" in capsys.readouterr().out
    assert not (tmp_path / "a").exists(), "no epoch was run"
    found = fit_alignment(subjects(1), rows[:100], rows[100:], settings, TRAINER, tmp_path / "b", progress=False)
    assert len(found.history) == 2
    assert "gain" in found.model.approval
