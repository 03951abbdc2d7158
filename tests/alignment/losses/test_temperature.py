"""The scale of the scores."""

from __future__ import annotations

import math

import pytest
import torch

from genebrain.alignment.losses.temperature import LogitScale


def test_starts_at_the_inverse_temperature_and_is_capped_after_the_step():
    scale = LogitScale()
    assert scale().shape == (1,)
    assert scale.scale == pytest.approx(1 / 0.07, rel=1e-6)
    optimiser = torch.optim.SGD(scale.parameters(), lr=10.0)
    (-scale()).sum().backward()
    optimiser.step()
    assert scale.scale > 100
    scale.clamp_()
    assert scale.scale == pytest.approx(100, rel=1e-6)
    # At the cap the gradient still flows, so that the scale can come down again.
    optimiser.zero_grad()
    scale().sum().backward()
    optimiser.step()
    assert scale.scale < 100


def test_fixed_scale_has_no_gradient():
    scale = LogitScale(init=0.0, learnable=False)
    assert not scale.log_scale.requires_grad
    assert scale.scale == 1


def test_travels_in_the_state():
    scale = LogitScale(init=0.0)
    scale.load_state_dict(LogitScale(init=1.0).state_dict())
    assert scale.scale == pytest.approx(math.e)


@pytest.mark.parametrize(("init", "maximum"), [(5.0, 100.0), (math.nan, 100.0), (0.0, 0.0)])
def test_impossible_start(init, maximum):
    with pytest.raises(ValueError, match=r"ln\(maximum\)"):
        LogitScale(init=init, maximum=maximum)
