"""Labels of sites and families that may not mean what they say: taken as they are, and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from genebrain.cohort.participants import load_cohort
from genebrain.cohort.tables.problems import Problems
from genebrain.cohort.tables.sources import read_participants
from tests.cohort.small_cohort import SmallCohort


@pytest.fixture
def small(tmp_path: Path) -> SmallCohort:
    return SmallCohort(tmp_path)


@pytest.mark.parametrize(
    ("labels", "alike"),
    [
        (("A", "B"), None),
        (("A", "a"), "A and a"),
        (("north 1", "north  1"), "north  1 and north 1"),
        (("1", "1.0"), "1 and 1.0"),
        (("1", "01"), "01 and 1"),
        (("Z\u00fcrich", "Zu\u0308rich"), "Zu\u0308rich and Z\u00fcrich"),
        (("10", "100"), None),
        (("1.0.0", "1.0"), None),
    ],
)
def test_labels_that_differ_hardly_are_told(small, labels, alike):
    """Two strata of one site would be exchanged apart."""
    for number, person in enumerate(small.participants):
        person["site"] = labels[number % 2]
    problems = Problems()
    read_participants(small.write().parent / "participants.tsv", problems)
    found = [problem.message for problem in problems if problem.kind == "labels alike"]
    assert len(found) == (alike is not None)
    assert alike is None or f"({alike})" in found[0] or f": {alike};" in found[0]


@pytest.mark.parametrize(
    ("label", "told"), [("0", True), ("-9", True), ("unknown", True), ("F1", False), ("", False), ("NA", False)]
)
def test_families_that_may_stand_for_not_known_are_told(small, label, told):
    """PLINK writes 0 where no family is known: taken as one family, strangers are never each other's negatives."""
    for number, person in enumerate(small.participants):
        person["family_id"] = label if number < 5 else f"own{number}"
    words = [warning.message for warning in load_cohort(small.write()).warnings if warning.kind == "codes"]
    assert len(words) == told
    assert not told or f"column `family_id`: everybody with {label} (5 people) is taken as one" in words[0]
