"""The projector's form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genebrain.alignment.towers.projector import Projector
from genebrain.common.types import UserError


def test_multilayer_form():
    projector = Projector(7)
    assert [type(layer) for layer in projector.project] == [
        nn.Linear,
        nn.GELU,
        nn.Dropout,
        nn.Linear,
        nn.LayerNorm,
    ]
    assert projector.project[0].out_features == 1024
    assert projector.project[2].p == 0.1
    assert projector.out_features == 512
    out = projector.eval()(torch.randn(3, 2, 7, generator=torch.Generator().manual_seed(0)))
    assert out.shape == (3, 2, 512)
    # Layer normalisation comes last: before training every vector has mean 0 and variance 1.
    torch.testing.assert_close(out.mean(dim=-1), torch.zeros(3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dim=-1, correction=0), torch.ones(3, 2), atol=1e-3, rtol=0)


def test_dropout_only_in_training():
    projector = Projector(4, hidden=64, out_features=8, dropout=0.5)
    x = torch.ones(2, 4)
    assert not torch.equal(projector(x), projector(x))
    projector.eval()
    assert torch.equal(projector(x), projector(x))


def test_linear_form_is_affine():
    projector = Projector(4, out_features=3, kind="linear")
    x, y = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(projector((x + y) / 2), (projector(x) + projector(y)) / 2)


def test_wrong_options():
    with pytest.raises(UserError, match=r"no projector 'conv' \(known: mlp, linear"):
        Projector(4, kind="conv")
    with pytest.raises(ValueError, match=r"dropout=1.0"):
        Projector(4, dropout=1.0)
    with pytest.raises(ValueError, match="in_features=0"):
        Projector(0)
    with pytest.raises(ValueError, match="takes 4 features, got 5"):
        Projector(4)(torch.ones(2, 5))
