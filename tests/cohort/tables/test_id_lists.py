"""Lists of people are obeyed in every usual way of writing them, or the run stops."""

from __future__ import annotations

from pathlib import Path

import pytest

from genebrain.cohort.participants import load_cohort
from genebrain.cohort.tables.id_lists import find_people, read_id_list
from genebrain.common.types import UserError
from tests.cohort.small_cohort import SmallCohort

PEOPLE = [f"{i:03d}" for i in range(24)]
OUT = ["003", "004", "017"]

FORMS = {
    "byte order mark, CRLF": b"\xef\xbb\xbf" + "\r\n".join(OUT).encode(),
    "old Mac": "\r".join(OUT).encode(),
    "FID IID": "".join(f"0 {name}\n" for name in OUT).encode(),
    "#FID IID": ("#FID\tIID\n" + "".join(f"F\t{name}\n" for name in OUT)).encode(),
    "FID is somebody else": ("FID IID\n" + "".join(f"000 {name}\n" for name in OUT)).encode(),
    "#IID SEX": ("#IID\tSEX\n" + "".join(f"{name}\t1\n" for name in OUT)).encode(),
    "quoted with header": ('"eid"\n' + "".join(f'"{name}"\n' for name in OUT)).encode(),
    "CSV with reasons": ("participant_id,reason\n" + "".join(f'{name},"moved, left"\n' for name in OUT)).encode(),
    "reason before the id": ("reason;iid\n" + "".join(f"moved;{name}\n" for name in OUT)).encode(),
    "id and words": "".join(f"{name} withdrew by phone # 2026\n" for name in OUT).encode(),
    "BIDS labels": "".join(f"sub-{name}\n" for name in OUT).encode(),
    "comments": ("# withdrawn\n\n" + "".join(f"  {name}  \n" for name in OUT) + "#005\n").encode(),
    "twice": ("\n".join(OUT * 2)).encode(),
    "commas and reasons": "".join(f"{name}, # asked in May\n" for name in OUT).encode(),
    "some with FID": f"{OUT[0]}\n0 {OUT[1]}\n0\t{OUT[2]}".encode(),
}


@pytest.fixture
def small(tmp_path: Path) -> SmallCohort:
    return SmallCohort(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_everybody_on_the_list_is_found(form: str, tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_bytes(FORMS[form])
    found = find_people(read_id_list(tmp_path / "w.txt"), [PEOPLE])
    assert sorted(found.rows) == [int(name) for name in OUT]
    assert found.unknown == []
    assert found.ambiguous == []


def test_who_is_found_nowhere_stops_the_run_unless_told_otherwise(small: SmallCohort) -> None:
    small.keys |= {"exclude": "w.txt"}
    (small.folder / "w.txt").write_text("003\n999\n")
    path = small.write()
    with pytest.raises(UserError, match=r"1 of 2 ids of the exclude list are found nowhere in the cohort: 999"):
        load_cohort(path)
    small.keys |= {"exclude_unknown": "ignore"}
    assert len(load_cohort(small.write())) == 23


@pytest.mark.parametrize("content", ["", "\n \n", "# nobody yet\n#005\n"])
def test_a_list_of_nobody_is_told(small: SmallCohort, content: str) -> None:
    small.keys |= {"exclude": "w.txt"}
    (small.folder / "w.txt").write_text(content)
    cohort = load_cohort(small.write())
    assert len(cohort) == 24
    assert any("the exclude list names nobody" in warning.message for warning in cohort.warnings)


def test_who_is_in_the_genotypes_only_is_known_and_out(small: SmallCohort) -> None:
    small.keys |= {"exclude": "w.txt"}
    small.participants = small.participants[1:]
    (small.folder / "w.txt").write_text("000\n003\n")
    assert len(load_cohort(small.write())) == 22


def test_two_people_on_one_line_stop_the_run(small: SmallCohort) -> None:
    small.keys |= {"exclude": "w.txt"}
    (small.folder / "w.txt").write_text("003 004\n")
    with pytest.raises(UserError, match="name somebody by the first and somebody else by the second"):
        load_cohort(small.write())


@pytest.mark.parametrize("content", ["003\n".encode("utf-16"), b"00\xe93\n"])
def test_a_list_that_is_no_text_stops_the_run(content: bytes, small: SmallCohort) -> None:
    small.keys |= {"exclude": "w.txt"}
    (small.folder / "w.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"the exclude list cannot be read: .*UTF"):
        load_cohort(small.write())


def test_the_split_file_is_obeyed_too(small: SmallCohort) -> None:
    small.keys |= {"split": "split.tsv"}
    rows = [f"{name}\t{'test' if name in OUT else 'train'}" for name in PEOPLE]
    (small.folder / "split.tsv").write_text("\n".join(["participant_id\tsplit", *rows, "999\ttest"]))
    with pytest.raises(UserError, match="of the split list are found nowhere in the cohort: 999"):
        load_cohort(small.write())
    (small.folder / "split.tsv").write_text("\n".join(["participant_id\tsplit", *rows, "003\ttrain"]))
    with pytest.raises(UserError, match="gives 1 person several sides: 003"):
        load_cohort(small.write())
    (small.folder / "split.tsv").write_text("\n".join(["participant_id\tsplit", *rows]))
    assert load_cohort(small.write()).table["own_split"].value_counts().to_dict() == {"train": 21, "test": 3}
