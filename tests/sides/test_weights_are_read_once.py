"""Weights of the DNA model are read when it must run, and for nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import genebrain
from genebrain.genetics.finetuning.folds import optimiser_for, parameter_line
from genebrain.genetics.finetuning.predictor import HeadSettings
from genebrain.genetics.finetuning.recipe import BaseModel, Recipe, make_module
from genebrain.genetics.finetuning.train import TrainingSettings
from genebrain.genetics.model.weights import WeightSource
from genebrain.simulation.cohort import simulate_cohort
from genebrain.training.adapters import LoraSettings, count_parameters

SMALL = {"n_windows": 2, "window_bp": 6000, "n_frames": 60, "n_parcels": 30, "n_genomewide": 100}


@pytest.fixture
def reads(monkeypatch) -> list[int]:
    """One entry per reading of weights."""
    seen: list[int] = []
    read = WeightSource.read

    def counted(self, *arguments):
        seen.append(1)
        return read(self, *arguments)

    monkeypatch.setattr(WeightSource, "read", counted)
    return seen


def test_a_fit_reads_the_weights_once_and_evaluate_not_at_all(reads, tmp_path):
    cohort: Path = simulate_cohort(tmp_path / "c", n_subjects=60, seed=5, **SMALL)
    run = genebrain.fit(
        cohort, run=tmp_path / "run", alignment=genebrain.AlignmentSettings(train="none"), progress=False
    )
    assert len(reads) == 1
    genebrain.evaluate(run, gallery_size=8, n_bootstrap=20, n_permutations=20, progress=False)
    assert len(reads) == 1
    genebrain.fit(
        cohort,
        run=tmp_path / "again",
        alignment=genebrain.AlignmentSettings(train="none", score="cosine"),
        progress=False,
    )
    assert len(reads) == 1  # every chunk is stored


@pytest.mark.parametrize(
    ("task", "tuning"),
    [("classification", "frozen"), ("classification", "lora"), ("regression", "full"), ("causal_lm", "lora")],
)
def test_parameters_are_counted_without_weights(task, tuning, reads):
    base, head, training = BaseModel(), HeadSettings(), TrainingSettings()
    recipe, values = Recipe(task, tuning, LoraSettings(), head), torch.tensor([0, 1, 0, 1])
    if task == "regression":
        values = values.float()[:, None]
    labels = SimpleNamespace(names=("a", "b") if task == "classification" else ("a",), values=values)
    data = SimpleNamespace(labels=labels, folds=[SimpleNamespace(train=np.arange(4))])
    line = parameter_line(base, recipe, data, training)  # type: ignore[arg-type]
    assert not reads
    outputs = 2 if task == "causal_lm" else len(labels.names)
    optimiser = optimiser_for(task, tuning, training)
    real = make_module(base, recipe, values, outputs, np.arange(4), optimiser, 0)
    assert len(reads) == 1
    assert line == str(count_parameters(real))
