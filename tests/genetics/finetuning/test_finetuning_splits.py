"""Folds share no sequence, spread classes evenly, and follow the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genebrain.common.types import UserError
from genebrain.genetics.finetuning.settings import FoldSettings
from genebrain.genetics.finetuning.splits import folds_as_given, given_parts, joined_groups, make_folds, sequence_groups


def test_a_sequence_and_its_reverse_complement_are_one_group():
    groups = sequence_groups(["AACCGT", "ACGGTT", "AACCGA", "AACCGT"])
    assert groups[0] == groups[1] == groups[3] != groups[2]


def test_sequences_and_given_groups_link_rows_in_chains():
    groups = joined_groups(np.array([0, 1, 1, 2, 3]), ["a", "a", "b", "b", "c"])
    assert len(set(groups[:4])) == 1
    assert groups[4] != groups[0]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 99), folds=st.sampled_from([0, 2, 5]), n=st.integers(40, 90))
def test_every_row_is_tested_once_and_no_group_stands_on_two_sides(seed, folds, n):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, n // 2, n)
    strata = (groups % 2).astype(np.int64)
    made = make_folds(groups, strata, FoldSettings(folds=folds), seed)
    for fold in made:
        sides = [set(groups[rows]) for rows in (fold.train, fold.validation, fold.test)]
        assert all(sides)
        assert sum(map(len, sides)) == len(set.union(*sides))
        assert sorted(np.concatenate([fold.train, fold.validation, fold.test])) == list(range(n))
    if folds:
        assert sorted(np.concatenate([fold.test for fold in made])) == list(range(n))


def test_classes_are_spread_evenly_and_the_seed_decides():
    groups, strata = np.arange(200), np.repeat([0, 1], [180, 20])
    made = make_folds(groups, strata, FoldSettings(folds=10), seed=1)
    assert [int(strata[fold.test].sum()) for fold in made] == [2] * 10
    again = make_folds(groups, strata, FoldSettings(folds=10), seed=1)
    other = make_folds(groups, strata, FoldSettings(folds=10), seed=2)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(made, again, strict=True))
    assert not np.array_equal(made[0].test, other[0].test)


def test_classes_too_small_for_the_folds_are_all_named():
    strata = np.repeat([0, 1, 2], [50, 4, 2])
    with pytest.raises(UserError, match=r"2 class\(es\).*5 folds.*rare \(4\), rarer \(2\)"):
        make_folds(np.arange(56), strata, FoldSettings(folds=5), 0, ("common", "rare", "rarer"))


def test_large_groups_of_mixed_labels_are_divided_whole():
    groups, strata = np.repeat(np.arange(12), 10), np.tile([0, 1], 60)
    fold = make_folds(groups, strata, FoldSettings(), 0, ("a", "b"))[0]
    assert min(map(len, (fold.train, fold.validation, fold.test))) >= 10
    rare = np.where(groups < 2, 2, strata)
    with pytest.raises(UserError, match=r"c \(2\)"):
        make_folds(groups, rare, FoldSettings(), 0, ("a", "b", "c"))
    with pytest.raises(UserError, match="2 distinct sequences"):
        make_folds(groups // 6, strata, FoldSettings(), 0)


def test_a_given_split_is_kept_and_its_leaks_are_refused_or_dropped():
    parts = given_parts(["Train", "train", "dev", "test", "test"])
    groups, strata = np.array([0, 1, 2, 3, 1]), np.zeros(5, np.int64)
    with pytest.raises(UserError, match=r"1 of 5 rows.*folds.leaks=drop"):
        folds_as_given(parts, groups, strata, FoldSettings(), 0)
    fold, dropped = folds_as_given(parts, groups, strata, FoldSettings(leaks="drop"), 0)
    assert dropped == 1
    assert (fold.train.tolist(), fold.validation.tolist(), fold.test.tolist()) == ([0], [2], [3, 4])


def test_sides_that_the_table_lacks_come_from_its_training_rows():
    parts = ["train"] * 20 + ["test"] * 5
    fold, _ = folds_as_given(parts, np.arange(25), np.zeros(25, np.int64), FoldSettings(validation=0.25), 0)
    assert fold.test.tolist() == list(range(20, 25))
    assert len(fold.validation) == 5
    assert len(fold.train) == 15


def test_unknown_words_of_a_split_are_named():
    with pytest.raises(UserError, match="holdout"):
        given_parts(["train", "holdout"])


def test_wrong_settings_are_named_together():
    with pytest.raises(UserError, match=r"folds=1.*test=1.5.*leaks=keep"):
        FoldSettings(folds=1, test=1.5, leaks="keep")
