"""JSON sidecars as scanners and people write them: the right time step, or a sentence with the file and the key."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from genebrain.brain.folders.sidecars import sidecar_time_step
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.scan_table import read_scan_table, repetition_time
from genebrain.brain.store.store import fill_store
from genebrain.common.types import UserError

NAME = "sub-{}_task-rest_space-MNI_desc-preproc_bold"

READ = {
    "Latin-1": '{"RepetitionTime": 2.5, "InstitutionName": "Universität"}'.encode("latin-1"),
    "UTF-8": '{"RepetitionTime": 2.5, "InstitutionName": "Universität"}'.encode(),
    "byte order mark": b'\xef\xbb\xbf{"RepetitionTime": 2.5}',
    "UTF-16": '{"RepetitionTime": 2.5}'.encode("utf-16"),
    "UTF-16 without mark": '{"RepetitionTime": 2.5}'.encode("utf-16-le"),
    "a number in quotes": b'{"RepetitionTime": " 2.50 "}',
    "scientific": b'{"RepetitionTime": 25e-1}',
    "Windows lines": b'{\r\n"RepetitionTime": 2.5\r\n}\r\n',
    "said twice alike": b'{"RepetitionTime": 2.5, "RepetitionTime": 2.5}',
}
REFUSED = {
    "list": (b'{"RepetitionTime": [2.5]}', r"RepetitionTime is \[2.5\], expected a number"),
    "n/a": (b'{"RepetitionTime": "n/a"}', 'RepetitionTime is "n/a", expected a number'),
    "empty word": (b'{"RepetitionTime": ""}', "expected a number"),
    "with unit": (b'{"RepetitionTime": "2.5 s"}', "expected a number"),
    "decimal comma": (b'{"RepetitionTime": "2,5"}', "expected a number"),
    "true": (b'{"RepetitionTime": true}', "RepetitionTime is true"),
    "object": (b'{"RepetitionTime": {"value": 2.5}}', "expected a number"),
    "NaN": (b'{"RepetitionTime": NaN}', "expected a number"),
    "infinite": (b'{"RepetitionTime": -Infinity}', "expected a number"),
    "a thousand digits": (b'{"RepetitionTime": 1' + b"0" * 1000 + b"}", "expected a number"),
    "ten thousand digits": (b'{"RepetitionTime": 1' + b"0" * 10000 + b"}", "cannot be read"),
    "milliseconds": (b'{"RepetitionTime": 2500}', r"is 2500 s \(milliseconds\? it would be 2.5 s then\)"),
    "microseconds": (b'{"RepetitionTime": 2500000}', "at most 10 s"),
    "seconds read as milliseconds": (b'{"RepetitionTime": 0.0025}', "0.02 or more"),
    "negative": (b'{"RepetitionTime": -2.5}', "expected more than 0"),
    "zero": (b'{"RepetitionTime": 0}', "expected more than 0"),
    "stray comma": (b'{"RepetitionTime": 2.5,}', "cannot be read"),
    "comment": (b'{"RepetitionTime": 2.5 // seconds\n}', "cannot be read"),
    "two objects": (b'{"RepetitionTime": 2.5}{"RepetitionTime": 2}', "cannot be read"),
    "cut": (b'{"RepetitionTime": 2.', "cannot be read"),
    "empty": (b"", "cannot be read"),
    "zeros": (b"\0" * 64, "cannot be read"),
    "a list of objects": (b'[{"RepetitionTime": 2.5}]', "holds a list"),
    "a number": (b"2.5", "holds a float"),
    "said twice": (b'{"RepetitionTime": 2.5, "RepetitionTime": 2}', "twice"),
    "a tower of brackets": (b"[" * 200_000, "cannot be read"),
}  # fmt: skip


def folder(tmp_path: Path, people: tuple[str, ...] = ("1", "2", "3")) -> Path:
    """Scans of three people that nobody need open: their time steps are in tables beside."""
    for person in people:
        (tmp_path / f"sub-{person}").mkdir()
        (tmp_path / f"sub-{person}" / (NAME.format(person) + ".nii.gz")).touch()
        (tmp_path / f"sub-{person}" / (NAME.format(person) + ".json")).write_text('{"RepetitionTime": 2.5}')
    return tmp_path


@pytest.mark.parametrize("case", READ)
def test_texts_that_can_be_read_are_read(tmp_path, case):
    folder(tmp_path)
    (tmp_path / "sub-2" / (NAME.format("2") + ".json")).write_bytes(READ[case])
    assert read_scan_table(tmp_path).tr.tolist() == [2.5] * 3


@pytest.mark.parametrize("case", REFUSED)
def test_one_bad_sidecar_concerns_one_scan(tmp_path, case):
    folder(tmp_path)
    content, words = REFUSED[case]
    (tmp_path / "sub-2" / (NAME.format("2") + ".json")).write_bytes(content)
    table = read_scan_table(tmp_path)
    assert [math.isnan(tr) for tr in table.tr] == [False, True, False]
    with pytest.raises(UserError, match=words) as error:
        repetition_time(table.path[1], stated=table.tr[1])
    assert "json sidecar '..._task-rest_space-MNI_desc-preproc_bold.json'" in str(error.value)
    assert "sub-2" not in str(error.value)  # reasons reach reports


def test_quarantine_names_the_sidecar_and_the_others_are_stored(tmp_path):
    for person in "123":
        path = tmp_path / f"sub-{person}_task-rest_seg-X_timeseries.tsv"
        values = np.random.default_rng(int(person)).normal(size=(40, 4))
        np.savetxt(path, values, delimiter="\t", header="a\tb\tc\td", comments="")
        path.with_suffix(".json").write_text('{"RepetitionTime": "n/a"}' if person == "2" else '{"RepetitionTime": 2}')
    report = fill_store(read_scan_table(tmp_path), tmp_path / "store", ReadingOptions(), progress=False)
    assert report.n_stored == 2
    (entry,) = report.quarantine
    assert entry["row"] == 1
    words = "'..._task-rest_seg-X_timeseries.json': RepetitionTime is \"n/a\", expected a number of seconds"
    assert entry["reason"] == f"the json sidecar {words}"


def test_the_nearest_and_most_specific_sidecar_counts(tmp_path):
    """The inheritance of BIDS: each level is asked, from the scan to the top of the data set, and no further."""
    top = tmp_path / "data"
    func = top / "sub-1" / "ses-a" / "func"
    func.mkdir(parents=True)
    scan = func / "sub-1_ses-a_task-rest_acq-fast_run-1_bold.nii.gz"
    (top / "dataset_description.json").touch()

    def step(place: Path, value: float) -> None:
        place.write_text(json.dumps({"RepetitionTime": value}))
        assert sidecar_time_step(scan) == value

    assert math.isnan(sidecar_time_step(scan))
    step(top / "bold.json", 1.1)
    step(top / "task-rest_bold.json", 1.2)
    step(top / "task-rest_acq-fast_bold.json", 1.3)
    step(top / "sub-1" / "sub-1_task-rest_bold.json", 1.4)
    step(top / "sub-1" / "ses-a" / "sub-1_ses-a_task-rest_bold.json", 1.5)
    step(func / "sub-1_ses-a_task-rest_acq-fast_run-1_bold.json", 1.6)
    # Of others: another task, another person, another suffix, above the top.
    for place in (func / "task-nback_bold.json", func / "sub-2_task-rest_bold.json", func / "task-rest_sbref.json"):
        place.write_text('{"RepetitionTime": 9}')
    (tmp_path / "task-rest_bold.json").write_text('{"RepetitionTime": 9}')
    assert sidecar_time_step(scan) == 1.6
    (func / "sub-1_ses-a_task-rest_acq-fast_run-1_bold.json").write_text('{"EchoTime": 0.03, "RepetitionTime": null}')
    assert sidecar_time_step(scan) == 1.5


def test_two_sidecars_of_one_level_must_agree(tmp_path):
    scan = tmp_path / "sub-1_task-rest_acq-fast_bold.nii.gz"
    (tmp_path / "task-rest_bold.json").write_text('{"RepetitionTime": 2}')
    (tmp_path / "acq-fast_bold.json").write_text('{"RepetitionTime": 2.0}')
    assert sidecar_time_step(scan) == 2
    (tmp_path / "acq-fast_bold.json").write_text('{"RepetitionTime": 1.0}')
    with pytest.raises(UserError, match=r"contradict each other: RepetitionTime is 1 in 'acq-fast_bold.json' and 2 in"):
        sidecar_time_step(scan)


@pytest.mark.skipif(os.geteuid() == 0, reason="the owner of everything may read everything")
def test_a_forbidden_sidecar_is_a_sentence(tmp_path):
    folder(tmp_path)
    (tmp_path / "sub-2" / (NAME.format("2") + ".json")).chmod(0)
    assert math.isnan(read_scan_table(tmp_path).tr[1])


def test_a_sidecar_that_is_a_folder_or_leads_nowhere_is_none(tmp_path):
    scan = tmp_path / "sub-1_task-rest_bold.nii.gz"
    (tmp_path / "sub-1_task-rest_bold.json").mkdir()
    (tmp_path / "task-rest_bold.json").symlink_to("none")
    assert math.isnan(sidecar_time_step(scan))
