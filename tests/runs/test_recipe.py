"""The recipe of a fit: training starts where there is something to move, and says so where there is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from genebrain.alignment.model import AlignmentModel
from genebrain.alignment.settings import AlignmentSettings, TrainerSettings
from genebrain.runs.recipe import fit_alignment
from genebrain.sides.people import Subjects

TRAINER = TrainerSettings(max_epochs=2, patience=2, accelerator="cpu", loggers=())


def subjects(link: float) -> Subjects:
    rng = np.random.default_rng(0)
    genes = rng.normal(size=(150, 4)).astype(np.float32)
    brain = (link * genes @ rng.normal(size=(4, 6)) + rng.normal(size=(150, 6))).astype(np.float32)
    return Subjects([genes], {"embedding": brain}, np.arange(150), np.arange(150))


class Reader(nn.Module):
    """Reads people's true brains with weights that let nothing through before training."""

    def __init__(self, brains: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("brains", brains, persistent=False)
        self.mix = nn.Linear(brains.shape[1], 6)
        nn.init.normal_(self.mix.weight, std=0.1)
        self.out_features = 6

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.mix(self.brains[rows])


def test_an_encoder_in_training_starts_from_random_where_its_base_finds_nothing(tmp_path, capsys):
    rows, true = np.arange(150), torch.from_numpy(subjects(2).brain["embedding"])
    people = replace(subjects(0), tuned={"brain": lambda closed, training: Reader(true)})
    trainer = replace(TRAINER, max_epochs=80, patience=80, learning_rate=1e-2)
    fitted = fit_alignment(
        people, rows[:80], rows[80:120], AlignmentSettings(), trainer, tmp_path, seed=1, progress=False
    )
    said = capsys.readouterr().out
    assert "starts from random projectors" in said
    assert "training is used: recall@1 of 40 validation people 0.031 before, " in said
    assert fitted.approval["validation_recall_start"] == pytest.approx(1 / 32), "the closed form is at chance"
    assert fitted.kept == "trained", fitted.approval
    assert fitted.settings.start == "random"
    gene, brain = fitted.vectors(people, rows[120:])
    assert np.mean((gene @ brain.T).argmax(axis=1) == np.arange(30)) > 0.3, "people that it has not seen"
    (tmp_path / "saved").mkdir()
    fitted.save(tmp_path / "saved")
    again = AlignmentModel.load(tmp_path / "saved", people.empty_towers(rows[:80]))
    np.testing.assert_array_equal(again.vectors(people, rows[120:])[1], brain)


@pytest.mark.parametrize("train", ["residual", "full"])
def test_training_that_has_nothing_to_move_is_left_out_and_said(tmp_path, capsys, train):
    rows = np.arange(150)
    settings = AlignmentSettings(train=train)
    empty = fit_alignment(subjects(0), rows[:100], rows[100:], settings, TRAINER, tmp_path / "a", progress=False)
    assert empty.closed_form.calibration.slope == 0
    assert empty.kept == "closed_form"
    assert empty.history == []
    assert "alignment=textbook" in empty.approval["not_trained"]
    assert "no training: the closed form finds no relation" in capsys.readouterr().out
    assert not (tmp_path / "a").exists(), "no epoch was run"
    found = fit_alignment(subjects(1), rows[:100], rows[100:], settings, TRAINER, tmp_path / "b", progress=False)
    assert len(found.history) == 2
    assert "gain" in found.approval
    said = capsys.readouterr().out
    assert ("training is not used" in said) == ("(standard error " in said) == (found.kept == "closed_form")
    assert ("training is used: " in said) == (found.kept == "trained")
