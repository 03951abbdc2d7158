"""Confounds, strata and names of columns that the user gives in cohort.yaml."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genebrain.cohort.checks.check import check_cohort
from genebrain.cohort.column_roles import column_roles, roles_in_words, strata_columns
from genebrain.cohort.participants import load_cohort
from genebrain.common.types import UserError
from genebrain.studies.baselines import confound_matrix
from tests.cohort.small_cohort import SmallCohort


@pytest.fixture
def small(tmp_path: Path) -> SmallCohort:
    made = SmallCohort(tmp_path)
    for i, row in enumerate(made.participants):
        row["gender"], row["scanner_id"] = row.pop("sex"), row.pop("site")
        row["handedness"] = "n/a" if i == 3 else ("left", "right")[i % 3 == 0]
        row["iq"] = "" if i in (1, 2) else 90 + i
    return made


def test_columns_of_other_names_are_read(small):
    small.keys["columns"] = {"sex": "gender", "site": "scanner_id"}
    cohort = load_cohort(small.write())
    assert cohort.table["sex"].tolist()[:4] == ["F", "F", "M", "M"]
    assert cohort.strata(["site"])[:2] == ["A", "B"]
    assert strata_columns(cohort.table, cohort.own.strata) == ["site"]
    roles = column_roles(cohort.table, ["site"], cohort.own.confounds)
    assert set(roles["confounds"]) == {"sex", "site", "age"}


def test_without_them_it_is_told_how(small):
    cohort = load_cohort(small.write())
    words = roles_in_words(column_roles(cohort.table, []))
    assert words.endswith("not used: gender, scanner_id, handedness, iq. `columns: {sex: gender, site: scanner_id}` in "
                          "cohort.yaml would use them")  # fmt: skip


def test_confounds_are_those_that_are_named(small):
    small.keys |= {"confounds": ["iq", "handedness"], "strata": ["handedness"]}
    cohort = load_cohort(small.write())
    rows = np.arange(len(cohort))
    matrix = confound_matrix(cohort.table, rows, cohort.own.confounds)
    iq = np.array([np.nan if i in (1, 2) else 90 + i for i in range(24)])
    filled = np.where(np.isnan(iq), np.nanmean(iq), iq)
    assert np.allclose(matrix[:, 0], (filled - filled.mean()) / filled.std(), atol=1e-5)
    assert matrix.shape == (24, 3)  # iq; missing and right beside left
    assert confound_matrix(cohort.table, rows, None).shape[1] == 2  # age and its square, by the usual names
    assert strata_columns(cohort.table, cohort.own.strata) == ["handedness"]
    text = check_cohort(small.write()).text
    assert "columns taken as confounds: iq (2 unknown), handedness (1 unknown); as strata: handedness" in text


def test_the_column_of_an_own_split_is_used(small):
    for i, row in enumerate(small.participants):
        row |= {"fold": "test" if i % 3 else "train", "hand": "left"}
    small.keys["split"] = "fold"
    unused = column_roles(load_cohort(small.write()).table, [])["unused"]
    assert "hand" in unused
    assert "fold" not in unused


def test_none_at_all(small):
    small.keys |= {"confounds": [], "strata": []}
    cohort = load_cohort(small.write())
    assert confound_matrix(cohort.table, np.arange(24), cohort.own.confounds) is None
    assert strata_columns(cohort.table, cohort.own.strata) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"confounds": ["handednes", "iq"]},
            r"`confounds:` names columns that .* does not have: `handednes`.*handedness",
        ),
        ({"strata": "sites"}, r"`strata:` names columns that .* does not have: `sites`"),
        ({"columns": {"sex": "gendre"}}, r"participants.tsv has no column `gendre`.*gender"),
        ({"columns": {"age": "iq"}}, r"participants.tsv has a column `age` too"),
        ({"columns": {"sx": "gender"}}, r"`columns:` knows no `sx`"),
        ({"columns": ["gender"]}, r"write names that are read and names of the table"),
        ({"confounds": {"a": 1}}, r"a list of columns of the participants table is wanted"),
        ({"confounds": ["iq", "iq"]}, r"names iq twice"),
    ],
)
def test_what_is_wrong_is_named(small, keys, words):
    small.keys |= keys
    with pytest.raises(UserError, match=words):
        load_cohort(small.write())
