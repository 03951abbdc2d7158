"""Z-scored volumes in a box."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.common.types import UserError
from tests.oracles.volume_scaling import normalise_volumes


@pytest.fixture
def data() -> np.ndarray:
    volumes = np.zeros((7, 8, 9, 5))
    volumes[2:5, 2:6, 3:7] = np.random.default_rng(0).normal(900, 40, size=(3, 4, 4, 5))
    return volumes


def test_brain_has_mean_zero_and_unit_spread_and_background_is_the_minimum(data):
    got = normalise_volumes(data, (7, 8, 9))
    brain = np.moveaxis(data != 0, 3, 0)
    assert got.dtype == np.float32
    assert got.shape == (5, 7, 8, 9)
    assert got[brain].mean() == pytest.approx(0, abs=1e-5)
    assert got[brain].std(ddof=1) == pytest.approx(1, abs=1e-5)
    assert (got[~brain] == got[brain].min()).all()


def test_crop_and_pad_are_centred(data):
    whole = normalise_volumes(data, (7, 8, 9))
    got = normalise_volumes(data, (5, 8, 12))
    assert got.shape == (5, 5, 8, 12)
    np.testing.assert_array_equal(got[..., 1:10], whole[:, 1:6])
    assert (got[..., [0, 10, 11]] == whole.min()).all()


def test_brain_is_never_cut_silently(data):
    with pytest.raises(UserError, match="brain voxels lie outside"):
        normalise_volumes(data, (2, 8, 9))
    assert normalise_volumes(data, (2, 8, 9), allow_cut=True).shape == (5, 2, 8, 9)


def test_unusable_volumes_are_refused(data):
    with pytest.raises(UserError, match="no variance"):
        normalise_volumes(np.zeros((4, 4, 4, 3)), (4, 4, 4))
    with pytest.raises(UserError, match=r"\[X, Y, Z, T\]"):
        normalise_volumes(data[..., 0], (4, 4, 4))
