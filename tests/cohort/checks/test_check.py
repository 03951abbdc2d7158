from __future__ import annotations

import numpy as np
import pytest

from genebrain.cohort.checks.check import check_cohort
from genebrain.common.types import UserError
from tests.cohort.small_cohort import SmallCohort


@pytest.fixture
def small(tmp_path) -> SmallCohort:
    made = SmallCohort(tmp_path)
    for row in made.participants:  # silences the warning about unknown relatedness
        row["family_id"] = row["participant_id"]
    return made


def kinds(result) -> dict[str, dict[str, float]]:
    return {problem.kind: problem.counts for problem in result.problems}


def test_a_clean_cohort_has_no_problem_and_a_funnel_to_read(small):
    result = check_cohort(small.write())
    assert result.problems == []
    assert result.ok
    assert result.funnel["split"] == {"train": 14, "validation": 2, "test": 8}
    assert result.funnel["records_looked_at"] == len(small.sites)
    for words in ("listed in the participants table", "with both", "validation", "nothing forbids a run"):
        assert words in result.text


def test_ten_planted_problems_come_at_once(small):
    small.participants.append(dict(small.participants[0]))  # 1 a person twice
    small.samples[1] = "stranger"  # 2 a person without genome, 3 a genome without person
    small.scans[2]["participant_id"] = "nobody"  # 4 a person without scan, 5 a scan without person
    small.scans[3]["tr"] = ""  # 6 unknown time step
    small.scans[4]["path"] = "scans/gone.npy"  # 7 missing scan
    small.series["005"][:, 1] = 3.0  # 8 constant parcel
    small.genotypes[0][6] = "0/1"  # 9 unphased
    small.genotypes[1][7] = "./."  # 10 missing call
    original = small.sequence  # 11 REF of the first ten records differs from the reference
    shifted = original[210:400].translate(str.maketrans("ACGT", "CGTA"))
    small.sequence = original[:210] + shifted + original[400:]
    small.write_reference = original
    small.keys["atlsa"] = "atlas.nii"  # 12 misspelt key
    result = check_cohort(small.write())
    found = kinds(result)
    assert {
        "duplicate participant_id",
        "no genotypes",
        "unlisted genotypes",
        "no scans",
        "unlisted scans",
        "time step",
        "missing path",
        "flawed parcels",
        "unphased",
        "missing genotypes",
        "reference mismatch",
        "unknown key",
    } == set(found)
    assert found["unphased"]["unphased"] == 1
    assert found["missing genotypes"]["missing"] == 1
    assert found["reference mismatch"]["mismatches"] == 10
    assert not result.ok
    assert "mend the errors first" in result.text
    assert all(problem.message in result.text for problem in result.problems)


def test_no_more_than_five_ids_of_one_kind_are_named(small):
    small.samples[:12] = [f"stranger{i}" for i in range(12)]
    text = check_cohort(small.write()).text
    assert "stranger4 and 7 more" in text
    assert "stranger5" not in text


def test_contigs_named_another_way_warn_and_absent_contigs_are_errors(small):
    small.contig = "1"
    result = check_cohort(small.write())
    assert kinds(result) == {"contig naming": {"contigs": 1}}
    assert result.funnel["records_looked_at"] == len(small.sites)
    small.contig = "7"
    found = kinds(check_cohort(small.write()))
    assert found == {"contig absent": {"windows": 1, "contigs": 1}}


def test_another_build_is_named_as_the_likely_cause(small):
    small.write_reference = small.sequence[3:] + "ACG"
    result = check_cohort(small.write())
    assert list(kinds(result)) == ["reference mismatch"]
    assert "another genome build" in result.text
    small.write_reference = small.sequence[:1000]
    assert "window beyond contig" in kinds(check_cohort(small.write()))


def test_the_policy_of_the_run_decides_how_bad_unphased_calls_are(small):
    small.genotypes = [[call.replace("|", "/") for call in row] for row in small.genotypes]
    path = small.write()
    assert not check_cohort(path).ok
    result = check_cohort(path, unphased="random")
    assert result.ok
    counts = kinds(result)["unphased"]
    assert counts["unphased"] == counts["heterozygous"] > 0


def test_too_few_people_make_no_split(tmp_path):
    found = kinds(check_cohort(SmallCohort(tmp_path, n=8).write()))
    assert found["no split"] == {"people": 8}


def test_nothing_in_common_is_an_error_that_shows_both_sides(small):
    small.samples = [f"X{i}" for i in range(24)]
    result = check_cohort(small.write())
    assert kinds(result) == {"empty overlap": {"listed": 24, "found": 24}}
    assert "000, 001" in result.text
    assert "X0, X1" in result.text


def test_site_that_follows_ancestry_asks_for_strata(small):
    for i, row in enumerate(small.participants):
        row["ancestry"] = "EUR" if i % 2 == 0 or i == 1 else "AFR"
    found = kinds(check_cohort(small.write()))
    assert found["site and ancestry"]["cramers_v"] > 0.8
    random = np.random.default_rng(1)
    for row in small.participants:
        row["ancestry"] = random.choice(["EUR", "AFR"])
    assert "site and ancestry" not in kinds(check_cohort(small.write()))


def test_relatives_and_a_giant_family_are_told(small):
    for i, row in enumerate(small.participants):
        row["family_id"] = "clan" if i < 6 else row["participant_id"]
    assert kinds(check_cohort(small.write()))["relatives"] == {"people": 6, "largest": 6}
    for row in small.participants[:21]:
        row["family_id"] = "clan"
    assert kinds(check_cohort(small.write()))["giant family"] == {"largest": 21}


def test_unknown_twins_are_found_by_equal_genotypes(tmp_path):
    small = SmallCohort(tmp_path, spacing=5)
    for row in small.genotypes:
        row[3] = row[2]
    small.participants[2]["genome_id"] = ""
    assert kinds(check_cohort(small.write()))["unknown duplicates"] == {"groups": 1, "apart": 1}
    for i in (2, 3):
        small.participants[i]["genome_id"] = "same"
    assert "unknown duplicates" not in kinds(check_cohort(small.write()))


def test_only_a_missing_yaml_raises(tmp_path):
    with pytest.raises(UserError, match=r"no cohort file"):
        check_cohort(tmp_path / "none.yaml")
    (tmp_path / "cohort.yaml").write_text("name: empty\n")
    result = check_cohort(tmp_path)
    assert [problem.kind for problem in result.problems] == ["missing key"] * 5


def test_a_big_window_is_read_in_pieces_and_a_budget_is_kept(small, monkeypatch):
    path = small.write()
    whole = check_cohort(path).funnel["records_looked_at"]
    monkeypatch.setattr("genebrain.cohort.checks.genotypes.SLICE_BP", 37)
    assert check_cohort(path).funnel["records_looked_at"] == whole
    assert check_cohort(path, most_records=30).funnel["records_looked_at"] == 30


def test_unreadable_genotypes_are_a_problem_and_not_a_crash(small):
    path = small.write()
    (small.folder / "genotypes.vcf.gz").write_bytes(b"no genotypes")
    assert "unreadable genotypes" in kinds(check_cohort(path))
