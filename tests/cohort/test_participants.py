from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from genebrain.cohort.participants import load_cohort
from genebrain.cohort.tables.problems import Problems
from genebrain.cohort.tables.sources import read_participants
from genebrain.common.types import UserError
from tests.cohort.small_cohort import SmallCohort, write_table


@pytest.fixture
def small(tmp_path: Path) -> SmallCohort:
    return SmallCohort(tmp_path)


def test_a_clean_cohort_keeps_order_and_leading_zeros(small):
    cohort = load_cohort(small.write())
    assert list(cohort.table.columns[:4]) == ["participant_id", "genotype_id", "family", "genome"]
    assert list(cohort.table["participant_id"]) == [f"{i:03d}" for i in range(24)]
    assert cohort.funnel["listed"] == cohort.funnel["after_filters"] == cohort.funnel["scans"] == 24
    assert all(count == 0 for count in cohort.funnel["dropped"].values())
    assert cohort.table["age"].dtype.kind == "f"
    assert all(Path(path).is_absolute() for path in cohort.scans["path"])


def test_an_id_column_that_looks_like_a_number_stays_text(small):
    small.participants[0]["participant_id"] = small.scans[0]["participant_id"] = small.samples[0] = "1e5"
    assert "1e5" in set(load_cohort(small.write()).table["participant_id"])


def test_losses_on_every_side_are_counted_and_the_rest_stays(small):
    small.samples[0] = "stranger"  # 000 has no genome, the file has somebody unknown
    small.scans[1]["participant_id"] = "nobody"  # 001 has no scan, a scan has nobody
    small.participants.append({"participant_id": "900", "site": "A"})
    cohort = load_cohort(small.write())
    assert list(cohort.table["participant_id"]) == [f"{i:03d}" for i in range(2, 24)]
    steps = ("listed", "genotyped", "scanned", "both", "after_filters", "scans")
    assert [cohort.funnel[step] for step in steps] == [25, 23, 23, 22, 22, 22]
    dropped = cohort.funnel["dropped"]
    assert dropped["participants without genotypes"] == dropped["participants without scans"] == 2
    assert dropped["genotypes without participant"] == dropped["scanned ids without participant"] == 1
    assert dropped["scan rows of people not kept"] == 2
    assert {"no genotypes", "no scans", "unlisted genotypes", "unlisted scans"} <= {w.kind for w in cohort.warnings}


def test_scans_point_at_their_person_whatever_the_order_of_the_tables(small):
    small.scans.reverse()
    small.samples.reverse()
    small.scans.append(small.scans[3] | {"session": "2", "path": "scans/second.npy"})
    small.series["second"] = small.series["000"]
    cohort = load_cohort(small.write())
    ids = cohort.table["participant_id"].to_numpy()
    assert list(ids[cohort.scans["person"]]) == list(cohort.scans["participant_id"])
    assert list(cohort.scans["person"]) == sorted(cohort.scans["person"])
    assert (cohort.scans["participant_id"] == "020").sum() == 2


@pytest.mark.parametrize(
    ("in_genotypes", "in_scans"),
    [("sub-{}", "{}"), ("{}", "sub-{}"), ("FAM{}_{}", "{}"), ("{}_{}", "sub-{}"), ("{}_sub-{}", "{}")],
)
def test_prefixes_and_family_ids_are_resolved_and_reported(small, in_genotypes, in_scans):
    small.samples = [in_genotypes.replace("{}", name) for name in small.samples]
    for scan in small.scans:
        scan["participant_id"] = in_scans.replace("{}", str(scan["participant_id"]))
    cohort = load_cohort(small.write())
    assert len(cohort) == 24
    assert cohort.table["genotype_id"].iloc[3] == in_genotypes.replace("{}", "003")
    changed = (in_genotypes != "{}") + (in_scans != "{}")
    assert sum(w.kind == "ids matched by rule" for w in cohort.warnings) == changed


def test_an_ambiguous_rule_is_not_applied_but_named(small):
    small.samples = [f"F{i % 2}_{i // 2:03d}" for i in range(24)]  # every IID twice
    with pytest.raises(UserError, match=r"no id of the participants table.*FID_IID"):
        load_cohort(small.write())


def test_lost_leading_zeros_are_named_as_the_cause(small):
    for row in small.participants:
        row["participant_id"] = str(int(str(row["participant_id"])))
    with pytest.raises(UserError, match="leading zeros"):
        load_cohort(small.write())


def test_all_problems_of_the_tables_come_in_one_error(small):
    small.keys |= {"windows": "absent.bed", "kinshp": "x.kin0"}
    del small.keys["reference"]
    small.participants.append(dict(small.participants[0]))
    small.participants[4]["age"] = "old"
    del small.series["007"]
    with pytest.raises(UserError) as caught:
        load_cohort(small.write())
    text = str(caught.value)
    for part in (
        "absent.bed",
        "`reference` is missing",
        "did you mean `kinship`?",
        "1 rows repeat the participant_id",
        "'old'",
        "column `path`: 1 of 24 files do not exist",
    ):
        assert part in text


def test_a_misspelt_column_is_guessed(small):
    small.participants = [{"Participant": row["participant_id"]} for row in small.participants]
    with pytest.raises(UserError, match="did you mean `Participant`"):
        load_cohort(small.write())


def test_exclude_list_and_motion_filter_are_applied_and_counted(small):
    small.keys |= {"exclude": "withdrawn.txt", "exclude_unknown": "ignore", "max_mean_fd": 0.5}
    for i, row in enumerate(small.participants):
        row["mean_fd"] = "n/a" if i == 5 else 0.6 if i in (6, 7) else 0.1
    (small.folder / "withdrawn.txt").write_text("# withdrawn 2026\nsub-003\n004\n999\n")
    cohort = load_cohort(small.write())
    assert set(cohort.table["participant_id"]) == {f"{i:03d}" for i in range(24)} - {
        "003",
        "004",
        "005",
        "006",
        "007",
    }
    dropped = cohort.funnel["dropped"]
    assert dropped["withdrawn (exclude list)"] == 2
    assert dropped["mean_fd above 0.5 mm or unknown"] == 3
    assert [w.counts for w in cohort.warnings if w.kind == "exclude list"] == [{"ids": 1}]


def test_capitals_of_a_column_name_do_not_matter(small):
    for row in small.participants:
        row["Site"], row["pc1"] = row.pop("site"), 0.5
    cohort = load_cohort(small.write())
    assert cohort.table["PC1"].tolist() == [0.5] * 24
    assert set(cohort.strata(["site"])) == {"A", "B"}


def test_motion_of_the_scans_is_averaged_over_a_person(small):
    for scan in small.scans:
        scan["mean_fd"] = 0.1
    small.scans.append(small.scans[2] | {"session": "2", "path": "scans/second.npy", "mean_fd": 0.3})
    small.series["second"] = small.series["002"]
    assert load_cohort(small.write()).table["mean_fd"].tolist()[1:4] == pytest.approx([0.1, 0.2, 0.1])


def test_strata_join_columns_and_band_numbers_in_thirds(small):
    cohort = load_cohort(small.write())
    labels = pd.Series(cohort.strata(["site", "age"]))
    assert set(labels) == {f"{site} x {band}" for site in "AB" for band in ("low", "middle", "high")}
    assert labels.value_counts().eq(4).all()
    with pytest.raises(UserError, match="did you mean `site`"):
        cohort.strata(["sites"])


def test_fingerprint_survives_a_copy_and_changes_with_people_and_files(small, tmp_path):
    first = load_cohort(small.write()).fingerprint
    copy = SmallCohort(tmp_path / "copy")
    assert load_cohort(copy.write()).fingerprint == first
    assert load_cohort(SmallCohort(tmp_path / "other", seed=1).write()).fingerprint != first
    copy.participants[0], copy.participants[1] = copy.participants[1], copy.participants[0]
    assert load_cohort(copy.write()).fingerprint == first, "rows in another order are the same people"
    copy.participants.pop()
    assert load_cohort(copy.write()).fingerprint != first
    assert "000" not in first


def test_family_column_and_kinship_table_join_into_families(small):
    for row, family in zip(small.participants, ["x", "x", "", "y", "n/a"], strict=False):
        row["family_id"] = family
    small.keys["kinship"] = "pairs.kin0"
    rows = [("001", "003", 0.12), ("002", "stranger", 0.25), ("005", "006", 0.05), ("007", "008", 0.49)]
    write_table(small.folder / "pairs.kin0", [{"#IID1": a, "IID2": b, "NSNP": 9999, "KINSHIP": k} for a, b, k in rows])
    cohort = load_cohort(small.write())
    family, genome = cohort.table["family"].tolist(), cohort.table["genome"].tolist()
    assert family[0] == family[1] == family[3]
    assert len({family[i] for i in (0, 2, 4, 5, 6, 7)}) == 6
    assert (family[7], genome[7]) == (family[8], genome[8])
    assert len(set(genome)) == 23
    assert [w.counts["pairs"] for w in cohort.warnings if w.kind == "identical genomes"] == [1]
    assert len(cohort.relatedness) == 2


def test_without_any_source_of_relatedness_there_is_a_warning(small):
    assert [w.kind for w in load_cohort(small.write()).warnings] == ["no relatedness"]


def test_scans_may_be_a_derivatives_folder(small):
    image = nib.Nifti1Image(np.zeros((2, 2, 2, 3), np.float32), np.eye(4))
    for name in small.samples[:6]:
        folder = small.folder / "derivatives" / f"sub-{name}" / "func"
        folder.mkdir(parents=True)
        nib.save(image, folder / f"sub-{name}_task-rest_bold.nii")
    small.keys["scans"] = "derivatives"
    cohort = load_cohort(small.write())
    assert list(cohort.table["participant_id"]) == small.samples[:6]
    assert cohort.scans["path"].iloc[2].name == "sub-002_task-rest_bold.nii"


def test_unreadable_sources_of_relatedness_are_named_together(small):
    small.keys |= {"kinship": "empty.kin0", "genomewide": "gone.vcf"}
    (small.folder / "empty.kin0").write_text("")
    (small.folder / "gone.vcf").write_text("no header")
    with pytest.raises(UserError, match=r"(?s)2 problems.*empty\.kin0.*gone\.vcf"):
        load_cohort(small.write())


def test_a_kinship_table_of_other_people_or_columns_is_refused(small):
    small.keys["kinship"] = "pairs.kin0"
    write_table(small.folder / "pairs.kin0", [{"#IID1": "x", "IID2": "y", "KINSHIP": 0.2}])
    with pytest.raises(UserError, match="none of the 2 ids"):
        load_cohort(small.write())
    write_table(small.folder / "pairs.kin0", [{"#IID1": "000", "IID2": "001", "KINSHP": 0.2}])
    with pytest.raises(UserError, match=r"did you mean `KINSHP`"):
        load_cohort(small.write())


def test_genomes_of_some_and_scans_of_others_are_no_cohort(small):
    small.samples = [name if i < 12 else f"X{i}" for i, name in enumerate(small.samples)]
    small.scans = small.scans[12:]
    with pytest.raises(UserError, match="12 people have genotypes and 12 have scans, but nobody has both"):
        load_cohort(small.write())


def test_a_filter_that_leaves_nobody_says_so(small):
    small.keys["max_mean_fd"] = 0.01
    for row in small.participants:
        row["mean_fd"] = 0.2
    with pytest.raises(UserError, match="all 24 people with genome and scan are filtered out"):
        load_cohort(small.write())


@pytest.mark.parametrize(
    ("column", "cell", "kind"),
    [
        ("age", "inf", "not a number"),
        ("age", "-Infinity", "not a number"),
        ("age", "1e400", "not a number"),
        ("age", "1_000", "not a number"),
        ("age", "0x1F", "not a number"),
        ("age", "True", "not a number"),
        ("age", "\u221245", "not a number"),
        ("age", "35 years", "not a number"),
        ("age", "-99", "codes"),
        ("age", "999", "codes"),
        ("PC1", "-9", "codes"),
        ("mean_fd", "-1", "impossible number"),
        ("mean_fd", "Infinity", "not a number"),
    ],
)
def test_numbers_that_are_none_are_told(small, column, cell, kind):
    """An infinite age or a code for "not known" must not become a confound without a word."""
    for person in small.participants:
        person[column] = 1.5
    small.participants[3][column] = cell
    problems = Problems()
    read_participants(small.write().parent / "participants.tsv", problems)
    (found,) = [problem for problem in problems if problem.kind == kind]
    assert f"column `{column}`" in found.message
    assert "1 cells" in found.message


@pytest.mark.parametrize(
    "lines", ["scans: scans.tsv\n", "exclude: a.txt\nexclude: b.txt\n", "columns: {sex: a, sex: b}\n"]
)
def test_a_key_that_stands_twice_is_an_error(small, lines):
    """A second `exclude:` would put the people of the first back in."""
    path = small.write()
    path.write_text(path.read_text() + lines)
    with pytest.raises(UserError, match=r"(scans|exclude|sex) stands there more than once"):
        load_cohort(path)
