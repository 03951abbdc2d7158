"""Both losses against open_clip where the two must agree: one process, all ids different."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from genebrain.alignment.losses.infonce import InfoNCE
from genebrain.alignment.losses.siglip import SigLIP


@pytest.fixture(scope="module")
def open_clip_losses() -> ModuleType:
    """The one file that holds the losses: importing the package would also import vision models and a hub."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        pytest.skip("open_clip is not installed (extra: oracles)")
    spec = importlib.util.spec_from_file_location("open_clip_losses", Path(package.origin).parent / "loss.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def batch(n: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, y = torch.randn(2, n, 6, dtype=dtype, generator=torch.Generator().manual_seed(n))
    x, y = (v / v.norm(dim=1, keepdim=True) for v in (x, y))
    log_scale = torch.tensor([2.6], dtype=dtype, requires_grad=True)
    return x.requires_grad_(), y.requires_grad_(), log_scale, torch.arange(n) * 7


def compare(loss: Tensor, expected: Tensor, leaves: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    for got, want in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 13])
def test_infonce_is_the_loss_of_clip(open_clip_losses, n):
    x, y, log_scale, ids = batch(n)
    expected = open_clip_losses.ClipLoss()(x, y, log_scale.exp())
    compare(InfoNCE(tile=5)(x, y, log_scale, ids, ids), expected, (x, y, log_scale))


@pytest.mark.parametrize("n", [1, 2, 13])
def test_siglip_is_the_reference(open_clip_losses, n):
    x, y, log_scale, ids = batch(n)
    loss = SigLIP(tile=5, bias=-2.0).double()
    expected = open_clip_losses.SigLipLoss()(x, y, log_scale.exp(), loss.bias)
    compare(loss(x, y, log_scale, ids, ids), expected, (x, y, log_scale, loss.bias))
