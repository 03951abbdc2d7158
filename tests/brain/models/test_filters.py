"""Bank of filters: its formula, what it is blind to, and what contrast between stretches teaches it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logit
from torch.nn import functional

from genebrain.brain.models.filters.bank import FilterBank
from genebrain.brain.models.filters.config import FilterBankConfig
from genebrain.brain.pretraining.report import MODEL, compare
from genebrain.brain.pretraining.stretches import LEAST, StretchContrast
from genebrain.simulation.mechanisms.registry import Conditions
from genebrain.simulation.mechanisms.sweeps import LOUDNESS, Sweeps, upward

PARCELS, FRAMES = 6, 60


def bank(dtype: torch.dtype = torch.float64, parcels: int = PARCELS, filters: int = 3) -> FilterBank:
    torch.manual_seed(0)
    return FilterBank(FilterBankConfig(parcels, filters=filters)).to(dtype)


def windows(n: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, FRAMES, PARCELS)))


def sweeping(up: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Scans of people with these shares of upward sweeps ``[people, groups]``, two parcels a group."""
    n, k = up.shape
    model = Sweeps(np.repeat(np.arange(k), 2), np.ones(2 * k))
    none = Conditions(np.zeros((n, 1)), np.zeros(n, np.int64), np.zeros(n))
    return model.scans(logit(up) / LOUDNESS, none, frames, rng)


def test_a_vector_is_the_log_kurtosis_of_responses() -> None:
    model, x = bank(), windows()
    with torch.no_grad():
        model.log_scale.copy_(torch.tensor([0.5, 0.0, -1.0]))
        found = model(x).numpy().reshape(4, PARCELS, 3)
    series = (x.numpy() - x.numpy().mean(axis=1, keepdims=True)) / x.numpy().std(axis=1, keepdims=True)
    for f, shape in enumerate(model.shapes.detach().numpy()[:, 0]):
        kernel = (shape - shape.mean()) / np.linalg.norm(shape - shape.mean())
        response = np.array(
            [[np.correlate(series[i, :, p], kernel, "valid") for p in range(PARCELS)] for i in range(4)]
        )
        kurtosis = (response**4).mean(axis=2) / (response**2).mean(axis=2) ** 2
        np.testing.assert_allclose(found[:, :, f], np.log(kurtosis) * np.exp([0.5, 0.0, -1.0][f]), rtol=1e-4)


def test_units_signs_and_levels_of_a_parcel_mean_nothing() -> None:
    model, x = bank(), windows()
    gain = torch.tensor([3.0, -0.5, 1.0, 20.0, -7.0, 0.1], dtype=torch.float64)
    torch.testing.assert_close(model(x * gain + 5.0), model(x), rtol=1e-4, atol=1e-4)


def test_silent_parcels_give_finite_values_and_gradients() -> None:
    model, x = bank(), windows()
    x[:, :, 2] = 1.0
    model(x).sum().backward()
    assert torch.isfinite(model(x)).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_gradients_are_those_of_differences() -> None:
    model, x = bank(parcels=2, filters=2), windows(2)[:, :40, :2]
    assert torch.autograd.gradcheck(
        lambda shapes, scale: torch.func.functional_call(model, {"shapes": shapes, "log_scale": scale}, x),
        (model.shapes, model.log_scale),
    )


def test_the_contrast_is_the_loss_of_the_four_blocks_of_cosines() -> None:
    model = bank()
    objective = StretchContrast(model)
    clips = torch.stack([windows(5, 1), windows(5, 2)], dim=1)
    vectors = []
    for part in (clips[:, 0], clips[:, 1]):
        peaked = model.peakedness(part)
        peaked = (peaked - peaked.mean(0)) / (peaked.std(0, correction=0) + LEAST) * model.log_scale.exp()
        vectors.append(functional.normalize(peaked.flatten(1), dim=1))
    both = torch.cat(vectors)
    logits = (objective.logit_scale.exp() * both @ both.T).fill_diagonal_(-torch.inf)
    expected = functional.cross_entropy(logits, torch.arange(10).roll(5))
    outcome = objective({"clips": clips, "subject": torch.arange(5)}, torch.Generator(), compare=True)
    torch.testing.assert_close(outcome.loss, expected)
    assert outcome.trivial["all clips alike"].item() == pytest.approx(np.log(9))


def test_sweeps_up_and_down_differ_in_shape_alone() -> None:
    rng = np.random.default_rng(3)
    up, down = (sweeping(np.full((240, 3), share), 400, rng).astype(np.float64) for share in (0.98, 0.02))
    for lag in (0, 1, 3, 6):
        a, b = (np.einsum("itp,itq->pq", x[:, lag:], x[:, : 400 - lag]) / (240 * (400 - lag)) for x in (up, down))
        np.testing.assert_allclose(a, b, atol=0.008)
    a, b = (np.abs(np.fft.rfft(x, axis=1)) ** 2 for x in (up, down))
    np.testing.assert_allclose(*(p.mean(axis=(0, 2))[1:].reshape(20, -1).sum(axis=1) for p in (a, b)), rtol=0.1)
    model = FilterBank(FilterBankConfig(6, filters=1, length=len(upward())))
    with torch.no_grad():
        model.shapes.copy_(torch.from_numpy(upward())[None, None])
        a, b = (model(torch.from_numpy(x.astype(np.float32))).numpy() for x in (up, down))
    assert (a.mean() - b.mean()) / np.sqrt(a.var() / 2 + b.var() / 2) > 2


def test_contrast_between_stretches_finds_the_shape() -> None:
    rng = np.random.default_rng(4)
    x = torch.from_numpy(sweeping(rng.uniform(0.02, 0.98, (60, 3)), 240, rng))
    torch.manual_seed(1)
    model = FilterBank(FilterBankConfig(6, filters=4))
    objective = StretchContrast(model)
    steps = torch.optim.Adam(objective.parameters(), lr=0.1)
    clips = torch.stack([x[:, :120], x[:, 120:]], dim=1)

    def nearest() -> float:
        shapes = functional.normalize(model.shapes - model.shapes.mean(dim=2, keepdim=True), dim=2).detach().numpy()
        loud = shapes[int(model.log_scale.argmax()), 0]
        return max(np.abs(np.correlate(loud, one, "full")).max() for one in (upward(), upward()[::-1]))

    before = nearest()
    for _ in range(25):
        steps.zero_grad()
        objective({"clips": clips}, torch.Generator()).loss.backward()
        steps.step()
    assert nearest() > max(0.8, before + 0.1)


def test_the_report_speaks_of_partners_and_not_of_reconstruction() -> None:
    objective = StretchContrast(bank())
    clips = torch.stack([windows(5, 1), windows(5, 2)], dim=1)
    outcome = objective({"clips": clips, "subject": torch.arange(5)}, torch.Generator(), compare=True)
    values = {MODEL: outcome.loss, **outcome.trivial, **outcome.figures}
    losses = {name: np.array([value.item()]) for name, value in values.items()}
    found = compare(objective, losses, losses, None, origin="random weights")
    assert found["partner_found_by_chance"] == pytest.approx(1 / 9)
    assert "clip finds the other clip" in found["verdict"]
