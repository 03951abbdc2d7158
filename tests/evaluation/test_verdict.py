"""The verdict never says more than the numbers."""

from __future__ import annotations

import pytest

from genebrain.evaluation.retrieval import chance
from genebrain.evaluation.verdict import judge, number, share_of_possible, verdict


def measured(recall: float, percentile: float, spread: float = 0.03) -> dict:
    return {
        "recall@1": {"value": recall, "ci": [max(recall - spread, 0), recall + spread]},
        "percentile_rank": {"value": percentile, "ci": [percentile - spread, percentile + spread]},
    }


def metrics(recall: float = 0.64, percentile: float = 0.95, **changes: object) -> dict:
    base = {
        "gallery_size": 64,
        "chance": chance(64),
        "ceiling": {"recall@1": 0.81, "recall@5": 0.97, "source": "theory"},
        "retrieval": {"mean": measured(recall, percentile)},
        "within_stratum": {"mean": measured(0.5, 0.9)},
        "permutation": {"n": 1000, "p_free": 0.001, "p_stratified": 0.001},
        "baselines": {"confound_only": measured(0.05, 0.6)},
    }
    return base | changes


def test_signal_within_strata_above_confounds():
    kind, text = judge(metrics())
    assert kind == "shared"
    assert "Above the confound-only model" in text
    assert "79 % of the possible" in text
    assert "p = .001" in text
    assert "among 64 candidates, chance .016" in text
    assert verdict(metrics()) == text


@pytest.mark.parametrize(("dosage", "said"), [(0.7, True), (0.6, False)])
def test_plain_dosages_that_do_as_well_are_mentioned(dosage: float, said: bool):
    baselines = {"confound_only": measured(0.05, 0.6), "dosage": measured(dosage, 0.96)}
    assert ("no gain over them" in judge(metrics(baselines=baselines)).text) is said


def test_chance():
    kind, text = judge(metrics(0.02, 0.51, permutation={"p_free": 0.4, "p_stratified": 0.6}, within_stratum=None))
    assert kind == "chance"
    assert text.startswith("Not distinguishable from chance")
    assert "possible" not in text


@pytest.mark.parametrize("within", [None, {"mean": measured(0.07, 0.5)}])
def test_site_effect_is_called_so(within: dict | None):
    changed = metrics(permutation={"p_free": 0.001, "p_stratified": 0.3}, within_stratum=within)
    kind, text = judge(changed)
    assert kind == "confounded"
    assert text.startswith("Explained by site/ancestry")
    assert "within strata p = .30" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"permutation": {"p_free": 0.001, "p_stratified": None}}, "Without strata"),
        ({"permutation": None}, "no permutation test"),
        ({"within_stratum": {"mean": measured(0.07, 0.51)}}, "Weak"),
        ({"permutation": {"p_free": 0.001, "p_stratified": 0.2}}, "Unclear"),
        ({"permutation": {"p_free": 0.3, "p_stratified": 0.01}}, "only the permutation within strata"),
        ({"baselines": {"confound_only": measured(0.63, 0.9)}}, "not clearly above the confound-only"),
    ],
)
def test_what_was_not_excluded_stays_open(changes: dict, words: str):
    kind, text = judge(metrics(**changes))
    assert kind == "open"
    assert words in text


def test_missing_confound_model_is_said():
    kind, text = judge(metrics(baselines={}))
    assert kind == "shared"
    assert "No confound-only model was fitted" in text


def test_above_the_ceiling_is_a_leak():
    kind, text = judge(metrics(0.95))
    assert kind == "leak"
    assert "ceiling of .81" in text
    assert judge(metrics(0.83)).kind == "shared"  # within three standard errors


def test_below_chance_is_reversed():
    found = judge(metrics(0.0, 0.3))
    assert found.kind == "reversed"
    assert "percentile rank .30 (95 %" in found.text, "what is below chance, not the recall whose interval holds it"


def test_without_permutation_the_interval_decides():
    assert judge(metrics(0.02, 0.51, permutation=None)).kind == "chance"


def test_share_of_possible():
    assert share_of_possible(metrics(ceiling=None)) is None
    assert share_of_possible(metrics(0.81)) == pytest.approx(1.0)
    assert share_of_possible(metrics(1 / 64)) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.001, ".001"), (0.43, ".43"), (1.0, "1"), (0.0001, "1e-4"), (0.999, "1.00"), (0, "0")],
)
def test_numbers_in_the_form_of_the_field(value: float, text: str):
    assert number(value) == text
