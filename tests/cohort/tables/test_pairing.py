from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genebrain.cohort.tables.names import match_names

names = st.lists(st.text("abAB01_-", min_size=1, max_size=6), min_size=1, max_size=12, unique=True)


@pytest.mark.parametrize(
    ("wanted", "available", "rows", "n_exact"),
    [
        (["a", "b"], ["b", "a", "c"], [1, 0], 2),
        (["sub-01", "02"], ["01", "sub-02"], [0, 1], 0),
        (["01", "02"], ["F_02", "F_01"], [1, 0], 0),
        (["A_1", "B_2"], ["A_1_A_1", "B_2_B_2"], [0, 1], 0),
        (["F1_7", "F2_8"], ["8", "7"], [1, 0], 0),
        (["sub-7"], ["F_7"], [0], 0),
        (["J\u00fcrgen", "Ann"], ["Ann", "Ju\u0308rgen"], [1, 0], 1),  # one letter with a mark, or letter and mark
        (["x"], ["y"], [-1], 0),
    ],
)
def test_rules_find_the_partner(wanted, available, rows, n_exact):
    match = match_names(wanted, available)
    assert match.rows.tolist() == rows
    assert match.n_exact == n_exact
    assert bool(match.rule) == (n_exact < len(rows) and rows != [-1])


def test_numbers_that_became_fractions_are_a_hint():
    match = match_names(["1.0", "2.0"], ["1", "2"])
    assert match.n_matched == 0
    assert "2 instead of 0 would match if one file has .0 behind each number" in match.hint


def test_an_exact_match_is_never_given_up_for_a_rule():
    """``b`` is there as itself and as an IID: the rule would move it, so it is not applied."""
    match = match_names(["b", "c", "d"], ["b", "F_b", "F_c", "F_d"])
    assert match.rows.tolist() == [0, -1, -1]
    assert "FID_IID" in match.hint


def test_two_names_that_a_rule_makes_equal_are_not_guessed():
    match = match_names(["1", "2"], ["A_1", "B_1", "A_2"])
    assert match.n_matched == 0
    assert "mend one of the files" in match.hint


@given(names, names)
def test_partners_are_never_shared_and_exact_ones_always_found(wanted, available):
    match = match_names(wanted, available)
    used = match.rows[match.rows >= 0]
    assert len(np.unique(used)) == len(used)
    for name, row in zip(wanted, match.rows, strict=True):
        if name in available:
            assert available[row] == name
