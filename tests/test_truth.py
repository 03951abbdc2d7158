"""Cohorts with a known answer: what is there is found, what is not there is not. Minutes; `make truth`."""

from __future__ import annotations

import pytest

from tests.scripts import script

pytestmark = pytest.mark.truth


@pytest.fixture(scope="module")
def judge():
    return script("known_answer/run.py").one


@pytest.mark.parametrize(("tier", "floor"), [("smoke", 0.70), ("default", 0.58)])
@pytest.mark.parametrize("seed", [301, 302])
def test_the_default_recipe_reaches_its_line_and_never_the_impossible(judge, tier, floor, seed):
    row = judge(tier, seed, 1500, light=False)
    error = (row["high"] - row["low"]) / 3.92
    assert row["recall@1"] >= floor
    assert row["recall@1"] >= row["ridge_cca"] - 0.01
    assert row["recall@1"] >= 0.93 * row["dosage"]
    assert row["recall@1"] <= row["ceiling"] + 3 * error
    assert row["recall@1"] > row["textbook"]


@pytest.mark.parametrize("seed", [311, 312, 313])
def test_nothing_is_found_where_nothing_is(judge, seed):
    row = judge("null", seed, 1500, light=True)
    assert row["low"] <= 1 / 64 <= row["high"]
    assert row["p_free"] > 0.005


@pytest.mark.parametrize("seed", [321, 322, 323])
def test_a_confound_is_called_a_confound(judge, seed):
    row = judge("null_confounded", seed, 1500, light=True)
    assert row["p_free"] < 0.01
    assert row["p_stratified"] > 0.01
    assert row["within_low"] <= row["within_chance"] <= row["within_high"]
    assert row["recall@1"] > 3 / 64


def test_a_cause_beside_a_confound_survives_within_strata(judge):
    row = judge("causal_confounded", 331, 1500, light=True)
    assert row["p_stratified"] < 0.01
    assert row["within_low"] > row["within_chance"]
