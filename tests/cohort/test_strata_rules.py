"""Strata and confounds by rule: numbers are cut whatever their name, and what nothing uses is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genebrain.cohort.checks.check import check_cohort
from genebrain.cohort.column_roles import column_roles, roles_in_words
from genebrain.cohort.participants import load_cohort
from genebrain.common.types import UserError
from genebrain.evaluation.limits import limits
from genebrain.evaluation.nulls import permutation_test
from genebrain.evaluation.verdict import FEWEST_EXCHANGEABLE, judge
from tests.cohort.small_cohort import SmallCohort


@pytest.fixture
def small(tmp_path: Path) -> SmallCohort:
    return SmallCohort(tmp_path)


RANKS = np.random.default_rng(0).permutation(24)
THIRDS = {rank: ("low", "middle", "high")[rank // 8] for rank in range(24)}
NUMBERS = {
    "years under another name": [20 + int(rank) for rank in RANKS],
    "negative": [int(rank) - 12 for rank in RANKS],
    "exponents": [f"{rank + 1}e3" for rank in RANKS],
    "fractions as text": [f"{rank}.50" for rank in RANKS],
    "leading blanks": [f"  {rank} " for rank in RANKS],
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_are_cut_into_thirds_whatever_their_name(case: str, small: SmallCohort) -> None:
    for row, value in zip(small.participants, NUMBERS[case], strict=True):
        row["scanner_hours"] = value
    assert load_cohort(small.write()).strata(["scanner_hours"]) == [THIRDS[int(rank)] for rank in RANKS]


def test_missing_numbers_are_a_stratum_and_few_values_are_labels(small: SmallCohort) -> None:
    for i, row in enumerate(small.participants):
        row["dose"], row["arm"], row["lot"] = "n/a" if i == 3 else i, i % 6, f"L{i}"
    cohort = load_cohort(small.write())
    assert cohort.strata(["dose"])[3] == "missing"
    assert set(cohort.strata(["arm"])) == set("012345")
    assert len(set(cohort.strata(["lot"]))) == 24  # words are labels


@pytest.mark.parametrize("words", [("unknown",), ("?", "refused")])
def test_numbers_with_a_word_among_them_are_asked_about(small: SmallCohort, words: tuple[str, ...]) -> None:
    """As labels every number would be a stratum of its own, in which nothing can be exchanged."""
    for i, row in enumerate(small.participants):
        row["dose"] = words[i] if i < len(words) else i
    with pytest.raises(UserError, match=r"column `dose` holds 2\d numbers and the words"):
        load_cohort(small.write()).strata(["dose"])


def test_labels_with_and_without_letters_are_labels(small: SmallCohort) -> None:
    for i, row in enumerate(small.participants):
        row["lot"], row["arm"] = f"{i}{'ABC'[i % 3] if i % 2 else ''}", "unknown" if i == 0 else i % 5
    cohort = load_cohort(small.write())
    assert len(set(cohort.strata(["lot"]))) == 24
    assert set(cohort.strata(["arm"])) == {"unknown", *"01234"}


def test_sites_written_as_numbers_are_labels(small: SmallCohort) -> None:
    for i, row in enumerate(small.participants):
        row["site"] = 11000 + i % 8
    assert len(set(load_cohort(small.write()).strata(["site"]))) == 8


def test_columns_that_tell_nobody_apart_are_told(small: SmallCohort) -> None:
    """Within strata of one value nothing else is tested than without; the user must see it."""
    for i, row in enumerate(small.participants):
        row["site"], row["own"], row["lot"], row["arm"] = "A", 7, f"L{i}", "ab"[i] if i < 2 else "n/a"
    cohort = load_cohort(small.write())
    told = roles_in_words(column_roles(cohort.table, ["own", "lot"]))
    assert "site (everybody has the same)" in told
    assert "as strata: own (everybody has the same), lot;" in told
    assert "sex (" not in told
    assert "arm (22 unknown)" in roles_in_words(column_roles(cohort.table, ["arm"]))


def test_columns_and_what_they_are_used_for_are_told(small: SmallCohort) -> None:
    for row in small.participants:
        row["age_years"], row["PC1"] = row["age"], 0.1
    path = small.write()
    roles = column_roles(load_cohort(path).table, ["site"])
    assert set(roles["confounds"]) == {"site", "sex", "age", "PC1"}
    assert roles["strata"] == ["site"]
    assert roles["unused"] == ["age_years"]
    assert "not used: age_years" in roles_in_words(roles)
    assert "not used: age_years" in check_cohort(path).text


def metrics(exchangeable: float, p_stratified: float = 0.5) -> dict:
    mean = {
        "recall@1": {"value": 0.6, "ci": [0.5, 0.7]},
        "percentile_rank": {"value": 0.9, "ci": [0.85, 0.95]},
    }
    test = {"p_free": 0.001, "p_stratified": p_stratified, "exchangeable_stratified": exchangeable}
    return {
        "n_subjects": 64,
        "gallery_size": 64,
        "chance": {"recall@1": 1 / 64},
        "retrieval": {"mean": mean},
        "permutation": test,
        "strata_columns": ["postcode"],
        "columns": {"confounds": ["site"], "strata": ["postcode"], "unused": ["age_years"]},
    }


@pytest.mark.parametrize(
    ("exchangeable", "words"),
    [
        (0.0, "cannot be tested within these strata (postcode)"),
        (FEWEST_EXCHANGEABLE - 0.01, "cannot be tested within these strata (postcode)"),
        (FEWEST_EXCHANGEABLE, "Explained by postcode"),
        (1.0, "Explained by postcode"),
    ],
)
def test_strata_without_exchange_explain_nothing(exchangeable: float, words: str) -> None:
    kind, text = judge(metrics(exchangeable))
    assert words in text
    assert kind == ("open" if "cannot" in words else "confounded")
    assert any("Not used: age_years" in line for line in limits(metrics(exchangeable)))


def test_people_who_are_strata_of_their_own_cannot_be_exchanged() -> None:
    rng = np.random.default_rng(0)
    gene = rng.normal(size=(20, 4))
    test = permutation_test(gene, gene + 0.1 * rng.normal(size=(20, 4)), strata=[f"s{i}" for i in range(20)], n=100)
    assert test["exchangeable_stratified"] == 0
    assert "cannot be tested" in judge(metrics(1.0) | {"permutation": test}).text
