"""Moments of a cohort from a store: pooling of scans, and gaps."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.brain.connectome.features import (
    moments_from_store,
    scan_moments,
    subject_moments,
)


class Memory:
    """Stands for a scan store: series, masks and frame numbers in memory."""

    def __init__(self, n: int = 40, frames: int = 120, parcels: int = 10) -> None:
        rng = np.random.default_rng(0)
        mixing = rng.normal(size=(parcels, parcels))
        self.series = {}
        for i in range(n):
            noise = rng.normal(size=(frames, parcels)) * np.exp(0.3 * rng.normal(size=parcels))
            smooth = noise[1:] + 0.5 * noise[:-1]
            self.series[f"k{i}"] = (smooth @ mixing).astype(np.float32)
        self.masks = {key: np.ones(parcels, bool) for key in self.series}
        self.masks["k3"][4] = False

    def read(self, scan_key, t0=None, t1=None):
        return self.series[scan_key][t0:t1]

    def valid(self, scan_key):
        return self.masks[scan_key]

    def frame_numbers(self, scan_key):
        numbers = np.arange(len(self.series[scan_key]))
        return numbers + (numbers > 50) if scan_key == "k5" else numbers


@pytest.fixture(scope="module")
def store() -> Memory:
    return Memory()


def test_subjects_come_in_order_and_scans_of_one_person_are_pooled(store):
    got = moments_from_store(store, ["k7", ["k1", "k2"]])
    np.testing.assert_array_equal(got.C0[0], scan_moments(store.read("k7")).C0[0])
    pooled = subject_moments([scan_moments(store.read(key)) for key in ("k1", "k2")])
    np.testing.assert_array_equal(got.C0[1], pooled.C0[0])
    assert got.C0.dtype == got.C1.dtype == got.edges.dtype == np.float32
    assert got.frames.tolist() == [[119, 118], [238, 236]]


def test_gaps_and_masks_of_the_store_are_used(store):
    got = moments_from_store(store, ["k3", "k5"])
    assert not got.C0[0, 4].any()
    assert got.frames[1].tolist() == [119, 117]
