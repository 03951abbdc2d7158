"""Batches depend on (seed, epoch) alone, ranks share them fairly, and strata never mix when told so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genebrain.common.types import UserError
from genebrain.sides.pairs import PairDataset
from genebrain.training.sampling import EpochBatches


def batches(sampler, epoch):
    sampler.set_epoch(epoch)
    return [np.array(b) for b in sampler]


def test_an_epoch_is_the_same_whatever_ran_before():
    fresh, used = (EpochBatches(np.arange(100), 32, seed=3) for _ in range(2))
    for epoch in range(5):
        batches(used, epoch)
    for a, b in zip(batches(fresh, 7), batches(used, 7), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(batches(fresh, 7), batches(fresh, 8), strict=True))


@pytest.mark.parametrize("strata", [None, np.arange(90) % 4])
def test_ranks_together_see_what_one_process_sees(strata):
    alone = EpochBatches(np.arange(90), 24, 0, strata)
    ranks = [EpochBatches(np.arange(90), 24, 0, strata, rank=r, world_size=2) for r in range(2)]
    for whole, *parts in zip(batches(alone, 1), *(batches(r, 1) for r in ranks), strict=True):
        assert len(parts[0]) == len(parts[1])
        assert set(np.concatenate(parts)) <= set(whole)
        assert len(whole) - len(np.concatenate(parts)) < 2


def test_full_batch_holds_everybody_once():
    (batch,) = batches(EpochBatches(np.arange(50), 1024, 0), 0)
    np.testing.assert_array_equal(np.sort(batch), np.arange(50))


def test_within_stratum_batches_hold_one_stratum_and_singletons_are_counted():
    strata = np.array([0] * 40 + [1] * 21 + [2])
    sampler = EpochBatches(np.arange(62), 16, 0, strata)
    seen = batches(sampler, 0)
    assert all(len(set(strata[b])) == 1 for b in seen)
    assert sampler.n_left_out == 1
    assert set(np.concatenate(seen)) == set(range(61))


def test_a_batch_without_negatives_is_refused():
    with pytest.raises(UserError, match="no negatives"):
        EpochBatches(np.arange(3), 3, 0, world_size=2)
    with pytest.raises(UserError, match="no stratum"):
        EpochBatches(np.arange(3), 3, 0, strata=np.arange(3))


def test_sides_of_different_length_are_refused():
    with pytest.raises(ValueError, match="one row per subject"):
        PairDataset(torch.zeros(3, 1), torch.zeros(4, 1), torch.zeros(3), torch.zeros(3))
