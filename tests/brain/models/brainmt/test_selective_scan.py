"""The selective scan against the recurrence written as a loop, in value and gradient."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from genebrain.brain.models.brainmt import selective_scan as module
from genebrain.brain.models.brainmt.selective_scan import selective_scan

NAMES = "u", "delta", "A", "B", "C", "D", "z", "delta_bias", "start"


def loop(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, delta_bias: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Step by step, groups repeated to channels."""
    B, C = (x.repeat_interleave(u.shape[1] // x.shape[1], dim=1) for x in (B, C))
    dt = functional.softplus(delta + delta_bias[:, None])
    h, ys = start, []
    for t in range(u.shape[-1]):
        h = torch.exp(dt[..., t, None] * A) * h + (dt[..., t] * u[..., t])[..., None] * B[..., t]
        ys.append((h * C[..., t]).sum(-1) + D * u[..., t])
    return torch.stack(ys, dim=-1) * functional.silu(z), h


def inputs(length: int, groups: int = 1, batch: int = 2, channels: int = 6, state: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(length + groups)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    series, maps = (batch, channels, length), (batch, groups, state, length)
    values = {
        "u": draw(*series),
        "delta": draw(*series),
        "A": -draw(channels, state).exp(),
        "B": draw(*maps),
        "C": draw(*maps),
        "D": draw(channels),
        "z": draw(*series),
        "delta_bias": draw(channels),
        "start": draw(batch, channels, state),
    }
    return {key: value.requires_grad_() for key, value in values.items()}


def gradients(result: tuple[Tensor, Tensor], values: dict[str, Tensor]) -> list[Tensor]:
    weight = [torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x) for x in result]
    loss = sum((x * w).sum() for x, w in zip(result, weight, strict=True))
    assert isinstance(loss, Tensor)
    return list(torch.autograd.grad(loss, list(values.values())))


@pytest.mark.parametrize("length", [1, 2, 3, 8, 16, 37, 50])
@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("segment", [None, 1, 7])
def test_equals_the_loop(length, groups, segment):
    values = inputs(length, groups)
    result, expected = selective_scan(**values, segment=segment), loop(**values)
    torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients(result, values), gradients(expected, values), rtol=1e-9, atol=1e-9)


def test_optional_parts_and_ungrouped_maps():
    values = inputs(20)
    plain = {key: values[key] for key in ("u", "delta", "A")}
    B, C = (values[key].squeeze(1) for key in "BC")
    neutral = {
        "D": torch.zeros(6), "delta_bias": torch.zeros(6), "start": torch.zeros(2, 6, 3), "B": values["B"],
        "C": values["C"], "z": torch.full((2, 6, 20), 100.0, dtype=torch.float64),
    }  # fmt: skip
    expected = loop(**plain, **neutral)
    y, last = selective_scan(**plain, B=B, C=C)
    torch.testing.assert_close(y, expected[0] / 100, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(last, expected[1], rtol=1e-10, atol=1e-10)


def test_the_state_can_be_handed_on():
    values = inputs(30)
    whole = selective_scan(**values)
    first = {k: v[..., :11] if v.shape[-1] == 30 else v for k, v in values.items()}
    second = {k: v[..., 11:] if v.shape[-1] == 30 else v for k, v in values.items()}
    y, last = selective_scan(**first)
    y2, last2 = selective_scan(**{**second, "start": last})
    torch.testing.assert_close((torch.cat([y, y2], -1), last2), whole, rtol=1e-10, atol=1e-10)


def test_steep_decays_stay_finite_in_float32():
    values = {k: v.detach().float() for k, v in inputs(400).items()}
    values["A"] = values["A"] - 16
    values["delta"] = values["delta"].abs() * 20
    values = {k: v.requires_grad_() for k, v in values.items()}
    result = selective_scan(**values)
    expected = loop(**{k: v.double() for k, v in values.items()})
    torch.testing.assert_close(result[0].double(), expected[0], rtol=1e-4, atol=1e-3)
    assert all(g.isfinite().all() for g in gradients(result, values))


def test_wrong_shapes_are_named_together():
    values = inputs(10)
    with pytest.raises(ValueError, match=r"delta is \[2, 6, 9\], expected \[2, 6, 10\]; z is \[2, 5, 10\]"):
        selective_scan(**{**values, "delta": values["delta"][..., :9], "z": values["z"][:, :5]})
    with pytest.raises(ValueError, match="6 channels do not divide into 4 groups"):
        selective_scan(**inputs(10, groups=4))
    with pytest.raises(ValueError, match="at least 1 token"):
        selective_scan(**values, segment=0)


def test_the_kernels_are_optional(monkeypatch):
    code = "import sys, genebrain.brain.models.brainmt.selective_scan; sys.exit('mamba_ssm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    module._kernel.cache_clear()
    assert module._kernel() is None
    module._kernel.cache_clear()
