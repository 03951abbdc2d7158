"""Which tokens stay, in which order, and that nothing is lost on the way back."""

from __future__ import annotations

import pytest
import torch

from genebrain.brain.models.masking import mask_by_noise, masking_noise, n_kept


def test_the_least_noise_stays():
    noise = torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.1, 0.2, 0.3, 0.4]])
    masking = mask_by_noise(noise, 2, "shuffled")
    assert masking.kept.tolist() == [[1, 3], [0, 1]]
    assert masking.mask.tolist() == [[True, False, True, False], [False, False, True, True]]
    noise[0, 1] = 0.4
    assert mask_by_noise(noise, 2, "shuffled").kept[0].tolist() == [3, 1]
    assert mask_by_noise(noise, 2, "raster").kept[0].tolist() == [1, 3]


def test_ties_go_to_the_earlier_token():
    noise = torch.randint(2, (2, 700), generator=torch.Generator().manual_seed(0))
    kept = mask_by_noise(noise, 200, "shuffled").kept
    assert kept.tolist() == [row.eq(0).nonzero().flatten()[:200].tolist() for row in noise]


@pytest.mark.parametrize("order", ["raster", "shuffled"])
def test_restore_puts_every_token_back(order):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 11, 4, generator=generator)
    masking = mask_by_noise(torch.rand(3, 11, generator=generator), 7, order)
    back = masking.restore(masking.keep(tokens), torch.full((1, 1, 4), 9.0))
    assert torch.equal(back, torch.where(masking.mask[..., None], 9.0, tokens))
    assert masking.mask.sum(dim=1).tolist() == [4, 4, 4]


def test_counts_and_refusals():
    assert [n_kept(78, ratio) for ratio in (0.0, 0.2, 0.75)] == [78, 62, 19]
    for ratio in (-0.1, 1.0, 0.95, float("nan")):
        with pytest.raises(ValueError, match="leaves none"):
            n_kept(10, ratio)
    with pytest.raises(ValueError, match="token order"):
        mask_by_noise(torch.zeros(1, 3), 2, "random")  # type: ignore[arg-type]


def test_noise_is_given_or_drawn_from_a_named_generator():
    like = torch.zeros(1)
    assert masking_noise((2, 3), 0.0, None, None, like).tolist() == [[0, 1, 2], [0, 1, 2]]
    with pytest.raises(ValueError, match="generator"):
        masking_noise((2, 3), 0.5, None, None, like)
    with pytest.raises(ValueError, match=r"\[2, 4\]"):
        masking_noise((2, 3), 0.5, torch.zeros(2, 4), None, like)
    first, again = (masking_noise((2, 3), 0.5, None, torch.Generator().manual_seed(5), like) for _ in range(2))
    assert torch.equal(first, again)
