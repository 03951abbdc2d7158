"""The input contract: what it scales, and all that it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.brain.models.scaling import VIT_DIVISOR, CohortScaling
from genebrain.brain.parcels.a424 import a424_coordinates, order_by_y
from genebrain.common.types import UserError
from tests.oracles.parcel_scaling import robust_scale

GENERATOR = np.random.default_rng(0)
COORDINATES = GENERATOR.normal(size=(5, 3)).astype(np.float32)
SERIES = GENERATOR.normal(3, 2, size=(2, 12, 5))
SERIES[:, :, 4] = 0


def contract(scaling: object = "window", **settings: object) -> ParcelInput:
    options = {"coordinates": COORDINATES, "frames": 12, **settings}
    return ParcelInput(scaling, **options)  # type: ignore[arg-type]


def test_window_scaling_is_the_robust_scaling_of_each_window():
    got = contract().prepare(torch.tensor(SERIES), 0.735)
    np.testing.assert_allclose(got.numpy(), np.stack([robust_scale(x) for x in SERIES]), atol=1e-12)
    assert (got[..., 4] == 0).all()


def test_cohort_scaling_is_that_of_the_training_scans():
    scaling = CohortScaling.fit(GENERATOR.normal(1, 3, size=(4, 20, 5)))
    got = contract(scaling, divisor=VIT_DIVISOR).prepare(torch.tensor(SERIES), [0.72, 0.735])
    expected = np.stack([scaling.apply(x) for x in SERIES]) / VIT_DIVISOR
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)
    assert contract(scaling).prepare(torch.tensor(SERIES).half(), 0.735).dtype == torch.float32


def test_the_toolkit_formula_divides_only_the_median():
    scaling = CohortScaling(np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 4, 8, 16, 0]))
    got = contract(scaling, formula="toolkit").prepare(torch.tensor(SERIES), 0.735).numpy()
    centred = SERIES - SERIES.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(got, centred - np.array([0.5, 0.5, 0.375, 0.25, 0]), atol=1e-12)


def test_scaled_series_pass_through():
    assert torch.equal(contract("done").prepare(torch.tensor(SERIES), 0.735), torch.tensor(SERIES))


def test_all_problems_of_a_scan_are_named_together():
    series = torch.full((2, 5, 12), torch.nan)
    with pytest.raises(UserError) as error:
        contract().prepare(series, 2.0)
    for part in (
        "12 parcels, the encoder takes 5",
        "transposed",
        "5 frames",
        "windows of 12",
        "2 s",
        "0.735",
        "2 of 2",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("tr", "message"), [(float("nan"), "unknown"), ([0.735, 1.0], "1 of 2"), ([0.735] * 3, "3 repetition times")]
)
def test_repetition_times_are_checked(tr, message):
    with pytest.raises(UserError, match=message):
        contract().prepare(torch.tensor(SERIES), tr)


def test_series_without_batch_axis_are_refused():
    with pytest.raises(UserError, match="batch, frames, parcels"):
        contract().prepare(torch.tensor(SERIES[0]), 0.735)


def test_any_length_where_the_contract_names_none():
    assert contract(frames=None).prepare(torch.tensor(SERIES[:, :7]), 0.735).shape == (2, 7, 5)


@pytest.mark.parametrize("scaling", ["window", "done", CohortScaling(np.arange(5.0), np.arange(1.0, 6))])
@pytest.mark.parametrize("frames", [None, 12])
def test_a_contract_survives_its_state(tmp_path, scaling, frames):
    before = contract(scaling, frames=frames, formula="toolkit", tr=0.72, tr_tolerance=0.1, divisor=2.5)
    save_file(before.state(), tmp_path / "contract.safetensors")
    after = ParcelInput.from_state(load_file(tmp_path / "contract.safetensors"))
    assert (after.frames, after.tr, after.tr_tolerance) == (frames, 0.72, 0.1)
    assert np.array_equal(after.coordinates, COORDINATES)
    series = torch.tensor(SERIES)
    assert torch.equal(after.prepare(series, 0.72), before.prepare(series, 0.72))


def test_a_contract_must_hold_together():
    with pytest.raises(UserError) as error:
        contract(CohortScaling(np.ones(4), np.ones(5)), formula="mine", tr=0.0)
    for part in ("median covers 4 parcels, the coordinates 5", "'mine'", "tr 0.0"):
        assert part in str(error.value)
    with pytest.raises(UserError, match="'zscore'"):
        contract("zscore")
    with pytest.raises(UserError, match=r"\[5, 2\]"):
        contract(coordinates=COORDINATES[:, :2])


def test_shipped_coordinates_and_their_stable_order():
    xyz = a424_coordinates()
    assert xyz.shape == (424, 3)
    assert (xyz[:180, 0] > 0).mean() > 0.95  # right cortex first, in RAS
    order = order_by_y(xyz)
    assert sorted(order) == list(range(424))
    ranks = list(zip(xyz[order, 1], order, strict=True))
    assert ranks == sorted(ranks)


def test_unreadable_coordinates(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        a424_coordinates(tmp_path / "nothing.dat")
    (tmp_path / "three.dat").write_text("1 2 3\n")
    with pytest.raises(UserError, match="3 columns"):
        a424_coordinates(tmp_path / "three.dat")
    (tmp_path / "gap.dat").write_text("1 2 3 4\n3 2 3 4\n")
    with pytest.raises(UserError, match="1 to 2"):
        a424_coordinates(tmp_path / "gap.dat")
