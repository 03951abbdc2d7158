"""Predictors without a model look at visible values only and do what their names say."""

from __future__ import annotations

import numpy as np
import torch

from genebrain.brain.pretraining.trivial_predictors import trivial_predictions


def example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, 12, generator=generator), torch.rand(3, 5, 12, generator=generator) < 0.5


def test_hidden_values_are_never_used():
    signal, hidden = example()
    other = torch.where(hidden, 1e6, signal)
    for name, guess in trivial_predictions(signal, hidden).items():
        assert torch.equal(guess, trivial_predictions(other, hidden)[name]), name


def test_each_predictor_against_a_loop():
    signal, hidden = example()
    hidden[0, 1] = True  # a parcel that is hidden throughout
    hidden[1, :, 3] = True  # a frame that is hidden throughout
    guesses = trivial_predictions(signal, hidden)
    for b in range(3):
        seen = ~hidden[b].numpy()
        x = signal[b].numpy()
        everything = x[seen].mean()
        for p in range(5):
            at = np.flatnonzero(seen[p])
            line = np.interp(np.arange(12), at, x[p, at]) if len(at) else np.full(12, everything)
            np.testing.assert_allclose(guesses["neighbouring frames"][b, p], line, atol=1e-5)
            mean = x[p, at].mean() if len(at) else everything
            np.testing.assert_allclose(guesses["parcel mean"][b, p], mean, atol=1e-5)
        for t in range(12):
            at = np.flatnonzero(seen[:, t])
            mean = x[at, t].mean() if len(at) else everything
            np.testing.assert_allclose(guesses["other parcels"][b, :, t], mean, atol=1e-5)
