"""Robust scaling per scan and with training statistics."""

from __future__ import annotations

import numpy as np

from genebrain.brain.models.scaling import CohortScaling
from tests.oracles.parcel_scaling import robust_scale

RNG = np.random.default_rng(0)


def test_median_zero_and_interquartile_range_one():
    got = robust_scale(RNG.normal(900, 30, size=(101, 3)))
    np.testing.assert_allclose(np.median(got, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.subtract(*np.percentile(got, [75, 25], axis=0)), 1)


def test_a_constant_parcel_becomes_zero_not_infinite():
    series = RNG.normal(size=(50, 3))
    series[:, 1] = 4
    assert not robust_scale(series)[:, 1].any()
    assert np.isfinite(CohortScaling.fit([series]).apply(series)).all()


def test_training_statistics_do_not_depend_on_the_level_of_a_scan():
    a, b = RNG.normal(size=(60, 3)), RNG.normal(size=(40, 3))
    plain, shifted = CohortScaling.fit([a, b]), CohortScaling.fit([a + 100, b - 7])
    np.testing.assert_allclose(plain.spread, shifted.spread)
    np.testing.assert_allclose(plain.apply(a), shifted.apply(a + 5), atol=1e-12)
    # The range divides the whole difference: twice the amplitude is twice the value.
    centred = CohortScaling(np.zeros(3), plain.spread)
    np.testing.assert_allclose(centred.apply(2 * a), 2 * centred.apply(a), atol=1e-12)
