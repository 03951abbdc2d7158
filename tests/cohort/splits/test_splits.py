from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genebrain.cohort.checks.check import check_cohort
from genebrain.cohort.participants import Cohort, load_cohort
from genebrain.cohort.splits.allocation import allocate_families
from genebrain.cohort.splits.splits import load_split, make_split
from genebrain.common.types import UserError
from tests.cohort.small_cohort import SmallCohort


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """Sixty people of two sites; every third pair of neighbours is a family."""
    small = SmallCohort(tmp_path, n=60)
    for i, row in enumerate(small.participants):
        row["family_id"] = f"f{i // 2}" if i // 2 % 3 == 0 else f"s{i}"
    return load_cohort(small.write())


def test_sizes_are_exact_and_no_family_crosses(cohort):
    split = make_split(cohort)
    assert (len(split.train), len(split.validation), len(split.test)) == (34, 6, 20)
    assert split.audit["families_crossing"] == split.audit["pairs_crossing"] == 0
    assert split.audit["pairs_checked"] == 10
    everybody = np.concatenate([split.train, split.validation, split.test])
    assert sorted(everybody) == list(range(60))
    assert sorted(split.training) == sorted(set(range(60)) - set(split.test))


def test_fifteen_hundred_single_people_give_exactly_five_hundred_test_people():
    sites = pd.Series(np.repeat(["A", "B", "C"], [1000, 400, 100]))
    part = allocate_families(np.arange(1500), sites, [850, 150, 500], seed=0)
    assert np.bincount(part).tolist() == [850, 150, 500]
    table = pd.crosstab(sites, part).to_numpy()
    expected = np.outer([1000, 400, 100], [850, 150, 500]) / 1500
    assert np.abs(table - expected).max() <= 1.5


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=20, max_size=80),
    st.integers(0, 1000),
    st.floats(0.1, 0.5),
    st.integers(1, 5),
)
def test_allocation_laws_for_any_families(family_sizes, seed, share, n_sites):
    family = np.repeat(np.arange(len(family_sizes)), family_sizes)
    random = np.random.default_rng(seed)
    sites = pd.Series(random.choice(list("ABCDE")[:n_sites], len(family)))
    n_test = round(len(family) * share)
    sizes = [len(family) - n_test, n_test]
    order = random.permutation(len(family))  # labels need not be contiguous
    part = allocate_families(family[order], sites, sizes, seed)
    assert (pd.Series(part).groupby(family[order]).nunique() == 1).all()
    assert np.abs(np.bincount(part, minlength=2) - sizes).max() < max(family_sizes)
    assert np.array_equal(part, allocate_families(family[order], sites, sizes, seed))


def test_the_same_seed_gives_the_same_split_and_another_seed_another(cohort):
    assert np.array_equal(make_split(cohort, seed=3).test, make_split(cohort, seed=3).test)
    assert not np.array_equal(make_split(cohort, seed=3).test, make_split(cohort, seed=4).test)


def test_sites_keep_their_share(cohort):
    table = pd.DataFrame(make_split(cohort).audit["site_table"]).T
    assert (table["test"] - 10).abs().max() <= 2
    assert make_split(cohort).audit["site_chi_square_p"] > 0.5


def test_leaving_a_site_out_takes_its_relatives_out_of_training(cohort):
    split = make_split(cohort, held_out_site="B")
    site, family = cohort.table["site"].to_numpy(), cohort.table["family"].to_numpy()
    assert site[split.test].tolist() == ["B"] * 30
    assert len(split.left_out) == split.audit["left_out"] == 10
    assert not set(family[split.training]) & set(family[split.test])
    assert not (site[split.left_out] == "B").any()
    with pytest.raises(UserError, match="no site `C`"):
        make_split(cohort, held_out_site="C")


def test_a_split_of_the_user_is_honoured_and_audited(tmp_path):
    small = SmallCohort(tmp_path)
    small.keys["split"] = "fold"
    words = ["train"] * 12 + ["val"] * 3 + ["test"] * 8 + [""]
    for row, word in zip(small.participants, words, strict=True):
        row["fold"] = word
    split = make_split(load_cohort(small.write()))
    assert split.train.tolist() == list(range(12))
    assert split.test.tolist() == list(range(15, 23))
    assert split.left_out.tolist() == [23]
    for i, row in enumerate(small.participants):
        row["family_id"] = "one" if i in (11, 15) else f"s{i}"  # planted: train and test
    cohort = load_cohort(small.write())
    with pytest.raises(UserError, match="puts 1 families"):
        make_split(cohort)
    audit = make_split(cohort, crossing="report").audit
    crossing = [audit[f"{what}_crossing"] for what in ("families", "pairs", "genomes")]
    assert crossing == [1, 1, 0]
    small.participants[0]["fold"] = "trian"
    with pytest.raises(UserError, match="trian"):
        make_split(load_cohort(small.write()))


def test_of_a_split_without_validation_people_some_train_people_are_taken(tmp_path):
    small = SmallCohort(tmp_path)
    small.keys["split"] = "fold"
    for i, row in enumerate(small.participants):
        row["fold"] = "test" if i >= 16 else "train"
        row["family_id"] = f"f{i // 2}"
    path = small.write()
    split = make_split(load_cohort(path), validation=0.2)
    assert split.test.tolist() == list(range(16, 24))
    assert len(split.validation) in (4, 5, 6)
    assert set(split.validation // 2).isdisjoint(split.train // 2), "whole families"
    assert sorted(split.training) == list(range(16))
    assert len(make_split(load_cohort(path), validation=0).validation) == 0
    assert "`split:` names no validation people: 2 of its train people are taken" in check_cohort(path).text


def test_a_saved_split_holds_no_ids_and_belongs_to_its_cohort(cohort, tmp_path):
    split = make_split(cohort)
    split.save(tmp_path / "split.json")
    again = load_split(tmp_path / "split.json", cohort)
    assert np.array_equal(again.test, split.test)
    assert again.audit == split.audit
    text = (tmp_path / "split.json").read_text()
    assert not any(f'"{name}"' in text for name in cohort.table["participant_id"])
    with pytest.raises(UserError, match=r"another cohort.*genebrain forget ids\.txt"):
        load_split(tmp_path / "split.json", dataclasses.replace(cohort, fingerprint="0" * 32))
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(UserError, match="not a saved split"):
        load_split(tmp_path / "broken.json", cohort)


def test_a_saved_split_is_audited_when_it_is_read(cohort, tmp_path):
    split, path = make_split(cohort), tmp_path / "split.json"
    family = cohort.table["family"].to_numpy()
    kin = next(row for row in split.train if (family == family[row]).sum() == 2)
    single = next(row for row in split.test if (family == family[row]).sum() == 1)
    rows = {part: getattr(split, part).tolist() for part in ("train", "validation", "test", "left_out")}
    changes = {
        r"20 people on two sides": {"test": rows["train"][:20]},
        r"1 rows are no people of this cohort of 60": {"test": [*rows["test"], 60]},
        r"20 people on no side": {"test": []},
        r"1 families are on two sides; 1 pairs are on two sides": {
            "train": [single if row == kin else row for row in rows["train"]],
            "test": [kin if row == single else row for row in rows["test"]],
        },
    }
    for told, change in changes.items():
        dataclasses.replace(split, **{part: np.array(r, np.int64) for part, r in (rows | change).items()}).save(path)
        with pytest.raises(UserError, match=rf"split.json was changed or damaged: {told}"):
            load_split(path, cohort)
    # What was known and let through when the split was made is let through again.
    crossing = {part: np.array(r, np.int64) for part, r in (rows | change).items()}
    dataclasses.replace(split, audit={"families_crossing": 1, "pairs_crossing": 1}, **crossing).save(path)
    assert kin in load_split(path, cohort).test


def test_too_few_people_and_impossible_shares_are_refused_with_numbers(tmp_path):
    cohort = load_cohort(SmallCohort(tmp_path, n=9).write())
    with pytest.raises(UserError, match=r"9 people are too few.*train 5 \(at least 10\).*test 3 \(at least 5\)"):
        make_split(cohort)
    with pytest.raises(UserError, match="room for training"):
        make_split(cohort, test=0.7, validation=0.4)
