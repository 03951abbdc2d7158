"""Mechanisms with a known answer: each reaches its line by default, its null twin nothing; `make truth`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.scripts import script

LINES = {
    "hrf": 0.52,
    "oscillators": 0.62,
    "dense": 0.66,
    "motif": 0.66,
    "smoke": 0.85,
    "default": 0.76,
    "mix": 0.48,
    "few_loci": 0.19,
    "switching": 0.55,
    "moments_together": 0.65,
    "recessive": 0.68,
    "delays": 0.68,
    "burden": 0.68,
}
"""Recall@1 of 500 test people in galleries of 64, after 1,000 to learn from; its interval reaches it."""
pytestmark = pytest.mark.truth


@pytest.fixture(scope="module")
def judged():
    module = script("known_answer/mechanisms.py")

    def judge(name, seed, people, test, null=False):
        how = SimpleNamespace(genes="both", null=null, people=people, test=test, cca=False, cache=None)
        return module.rows_of(name, seed, ["default"], how)[0]

    return judge


@pytest.mark.parametrize("name", list(LINES))
def test_every_mechanism_reaches_its_line_and_never_the_impossible(judged, name):
    row = judged(name, seed=401, people=1500, test=1 / 3)
    error = (row["high"] - row["low"]) / 3.92
    assert row["high"] >= LINES[name]
    assert row["recall@1"] <= row["oracle_pair"] + 3 * error
    assert row["recall@1"] <= (row.get("learner") or 1.0) + 3 * error
    assert row["recall@1"] >= max(row["dosages_alone"], row["embeddings_alone"]) - 0.015


@pytest.mark.parametrize("name", list(LINES))
def test_the_null_twin_of_a_mechanism_gives_chance(judged, name):
    row = judged(name, seed=411, people=450, test=1 / 3, null=True)
    error = (row["high"] - row["low"]) / 3.92
    assert abs(row["recall@1"] - 1 / 64) <= 3.5 * error
    assert row["p"] > 0.002
