"""Covariance without the global signal: equal to the regression of series, blind to how strong the signal is."""

from __future__ import annotations

import numpy as np

from genebrain.brain.connectome.features import scan_moments, stack_moments
from genebrain.brain.connectome.tangent import Lag0Tangent
from genebrain.brain.connectome.without_global import WithoutGlobalSignal
from tests.brain.connectome.test_dynamics import smooth

PEOPLE, FRAMES, PARCELS = 30, 200, 12


def series(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y = smooth(rng, FRAMES, 4) @ rng.normal(size=(4, PARCELS)) + smooth(rng, FRAMES, PARCELS)
    return y - y.mean(axis=0)


def moments(people: list[np.ndarray]):
    return stack_moments((scan_moments(y.astype(np.float32)) for y in people), len(people))


def test_moments_alone_give_the_regression_of_series() -> None:
    people = [series(i) for i in range(PEOPLE)]
    signal = [y.mean(axis=1, keepdims=True) for y in people]
    cleaned = [y - s @ (s.T @ y) / (s.T @ s) for y, s in zip(people, signal, strict=True)]
    feature = WithoutGlobalSignal(6)
    got, want = moments(people), moments(cleaned)
    feature.fit(*got)
    found = np.concatenate([c0 for _, c0, _, _ in feature.batches(got.C0, got.C1, got.edges)])
    np.testing.assert_allclose(found, want.C0, atol=2e-5)


def test_a_global_signal_of_other_strength_moves_the_features_little() -> None:
    people, rng = [series(i) for i in range(PEOPLE)], np.random.default_rng(7)
    louder = [y + g * smooth(rng, FRAMES, 1) for y, g in zip(people, rng.gamma(2, 1, PEOPLE), strict=True)]
    louder = [y - y.mean(axis=0) for y in louder]

    def moved(kind: type[Lag0Tangent]) -> float:
        feature = kind(6).fit(*moments(people))
        plain, loud = (feature.transform(*moments(those)) for those in (people, louder))
        return float(np.abs(loud - plain).mean() / plain.std(axis=0).mean())

    assert moved(WithoutGlobalSignal) < 0.5 * moved(Lag0Tangent)


def test_saved_is_fitted() -> None:
    made = moments([series(i) for i in range(PEOPLE)])
    feature = WithoutGlobalSignal(6).fit(*made)
    again = WithoutGlobalSignal.from_state(feature.state())
    np.testing.assert_array_equal(again.transform(*made), feature.transform(*made))
