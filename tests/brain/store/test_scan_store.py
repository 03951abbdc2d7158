"""Ingest: complete accounts, resumption, privacy; and reading back."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from genebrain.brain.connectome.features import scan_moments
from genebrain.brain.images.cleaning import Cleaning
from genebrain.brain.store import spread
from genebrain.brain.store.journal import PARTIAL, known_records, read_records, remove_scans, scan_keys
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.scan_table import read_scan_table
from genebrain.brain.store.store import ScanStore, fill_store
from genebrain.common.files import ArrayWriter, StorageError
from genebrain.common.types import UserError
from genebrain.engines.run import using
from genebrain.engines.settings import EngineSettings
from genebrain.engines.shard import Shard


def series_of(seed: int, frames: int = 50, parcels: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(10_000, 50, size=(frames, parcels))


def make_table(folder: Path, scans: dict[str, np.ndarray], tr: float | str = 0.8) -> pd.DataFrame:
    folder.mkdir(exist_ok=True)
    lines = ["participant_id\tpath\ttr"]
    for name, series in scans.items():
        np.save(folder / f"{name}.npy", series)
        lines.append(f"{name}\t{name}.npy\t{tr}")
    (folder / "scans.tsv").write_text("\n".join(lines) + "\n")
    return read_scan_table(folder / "scans.tsv")


@pytest.fixture
def table(tmp_path) -> pd.DataFrame:
    return make_table(tmp_path / "in", {f"person{i}": series_of(i) for i in range(5)})


def run(table, out, short="error", jobs=None, **options):
    return fill_store(table, out, ReadingOptions(**options), short=short, jobs=jobs, progress=False)


def test_series_come_back_demeaned_and_scaled_by_one_number(table, tmp_path):
    report = run(table, tmp_path / "store")
    assert (report.n_scans, report.n_stored, report.n_parcels, report.time_steps) == (5, 5, 6, {"0.8": 5})
    store = ScanStore(tmp_path / "store")
    keys = store.keys(table)
    assert store.index.loc[keys, "n_frames"].tolist() == [50] * 5
    assert store.index.tr.tolist() == [0.8] * 5
    source = series_of(2)
    got = store.read(keys[2])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got * store.index.scale[keys[2]], source - source.mean(0), atol=0.2)
    np.testing.assert_array_equal(store.read(keys[2], 10, 20), got[10:20])
    # float16 storage leaves the moments as they were.
    np.testing.assert_allclose(scan_moments(got).C0, scan_moments(source).C0, atol=1e-3)


def test_windows_outside_the_scan_and_unknown_keys_are_refused(table, tmp_path):
    run(table, tmp_path / "store")
    store = ScanStore(tmp_path / "store")
    key = store.keys(table)[0]
    for window in [(0, 51), (-1, 5), (7, 7)]:
        with pytest.raises(ValueError, match="do not lie in"):
            store.read(key, *window)
    with pytest.raises(UserError, match="not among the 5 scans"):
        store.read("nobody")


def test_stores_of_more_scans_than_a_process_may_open_files_are_read(tmp_path):
    """Several stores are open where a model meets a second cohort: they share what the process may have open."""
    scans = {f"s{i:03d}": series_of(i, frames=30, parcels=3) for i in range(150)}
    run(make_table(tmp_path, scans), tmp_path / "store")
    stores = [ScanStore(tmp_path / "store") for _ in range(3)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 100, before[1]))
    try:
        first, again, third = ([store.read(key) for key in store.index.index] for store in stores)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(first) == 150
    assert all(np.array_equal(*pair) for other in (again, third) for pair in zip(first, other, strict=True))


def test_a_file_that_the_system_does_not_open_is_not_called_damaged(table, tmp_path, monkeypatch):
    """Who follows the advice about damaged scans deletes them."""
    run(table, tmp_path / "store")
    store = ScanStore(tmp_path / "store")

    def refused(*args, **kwargs):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(np.lib.format, "open_memmap", refused)
    monkeypatch.setattr(np, "load", refused)
    monkeypatch.setattr(np, "memmap", refused)
    with pytest.raises(UserError, match=r"cannot be read: Too many open files \(ulimit.*leave the file") as error:
        store.read(store.index.index[0])
    assert "damaged" not in str(error.value)
    assert "delete" not in str(error.value)


def test_files_are_private_and_hold_no_ids(table, tmp_path):
    run(table, tmp_path / "store")
    files = [p for p in (tmp_path / "store").rglob("*") if p.is_file()]
    assert len(files) == 5 + 4
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "person" not in path.name
        assert b"person" not in path.read_bytes()
    # Another store has another secret, so its keys cannot be joined with these.
    run(table, tmp_path / "other")
    assert not set(ScanStore(tmp_path / "store").keys(table)) & set(ScanStore(tmp_path / "other").keys(table))


def test_bad_scans_go_to_quarantine_with_reasons(tmp_path):
    scans = {f"p{i}": series_of(i) for i in range(6)}
    scans["p1"][:] = np.nan
    scans["p2"] = scans["p2"][:, :5]  # another atlas
    scans["p3"][:, 4] = 7  # one constant parcel
    scans["p4"][[5, 30]] = np.nan  # two lost frames
    table = make_table(tmp_path / "in", scans)
    (tmp_path / "in" / "p5.npy").write_bytes(b"broken")
    report = run(table, tmp_path / "store")
    assert report.n_stored == 3
    assert [entry["row"] for entry in report.quarantine] == [1, 2, 5]
    reasons = [entry["reason"] for entry in report.quarantine]
    assert "no finite value" in reasons[0]
    assert reasons[1] == "5 parcels, most scans have 6 parcels"
    assert (report.n_with_invalid_parcels, report.n_with_gaps) == (1, 1)
    assert sum(report.summary()["quarantine"]["reasons"].values()) == 3
    store = ScanStore(tmp_path / "store")
    keys = store.keys(table)
    assert [key is None for key in keys] == [False, True, True, False, False, True]
    assert store.reasons(table) == [None, reasons[0], reasons[1], None, None, reasons[2]]
    assert store.valid(keys[3]).tolist() == [True] * 4 + [False, True]
    assert not store.read(keys[3])[:, 4].any()
    assert store.frame_numbers(keys[4]).tolist() == [t for t in range(50) if t not in (5, 30)]


def test_an_atlas_that_is_none_is_refused_before_any_scan(tmp_path):
    table = make_table(tmp_path / "in", {"a": series_of(0)})
    (tmp_path / "atlas.nii.gz").write_text("text")
    with pytest.raises(UserError, match=r"atlas=.*atlas\.nii\.gz: the label image cannot be read"):
        fill_store(table, tmp_path / "store", ReadingOptions(atlas=tmp_path / "atlas.nii.gz"), progress=False)
    assert not (tmp_path / "store" / "index.partial.jsonl").exists()


def test_nothing_readable_is_an_error(tmp_path):
    table = make_table(tmp_path / "in", {"a": np.full((50, 4), np.nan), "b": np.zeros((50, 4))})
    with pytest.raises(UserError, match="none of 2 scans can be used"):
        run(table, tmp_path / "store")
    with pytest.raises(UserError, match="no finished scan store"):
        ScanStore(tmp_path / "store")


def test_short_scans_follow_the_policy(tmp_path):
    table = make_table(tmp_path / "in", {"a": series_of(0), "b": series_of(1, frames=10)})
    with pytest.raises(UserError, match=r"1 of 2 scans: too short .* the shortest has 10 frames"):
        run(table, tmp_path / "store")
    report = run(table, tmp_path / "store", short="skip")
    assert (report.n_stored, len(report.short), report.n_reused) == (1, 1, 1)
    report = run(table, tmp_path / "store", short="keep")
    assert (report.n_stored, len(report.short)) == (2, 0)
    message = r"none of 2 scans can be used: 2 scans: fewer than 60 frames \(the longest has 50 frames"
    with pytest.raises(UserError, match=message):
        run(table, tmp_path / "store", short="skip", min_frames=60)
    # What was kept once is judged again when the next run does not keep it.
    report = run(table, tmp_path / "store", short="skip")
    assert (report.n_stored, len(report.short)) == (1, 1)
    with pytest.raises(UserError, match="shorter than 45 s"):
        run(table, tmp_path / "other", min_seconds=45, min_frames=5)


def test_duration_cannot_be_judged_without_a_time_step(tmp_path):
    table = make_table(tmp_path / "in", {"a": series_of(0)}, tr="n/a")
    with pytest.raises(UserError, match="time step is unknown"):
        run(table, tmp_path / "store", min_seconds=10)
    assert run(table, tmp_path / "store").time_steps == {"unknown": 1}
    with pytest.raises(UserError, match="time step is unknown"):  # also when it is stored already
        run(table, tmp_path / "store", min_seconds=10)


def test_mixed_time_steps_are_reported(tmp_path):
    table = make_table(tmp_path / "in", {f"p{i}": series_of(i) for i in range(3)})
    table.loc[0, "tr"] = 2.0
    report = run(table, tmp_path / "store")
    assert report.time_steps == {"0.8": 2, "2": 1}
    assert report.summary()["mixed_time_steps"]


def test_an_interrupted_ingest_goes_on_where_it_stopped(table, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    run(table, whole)
    calls = []
    real = spread.process

    def dies_at_the_third(job, options):
        calls.append(job.key)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(job, options)

    monkeypatch.setattr(spread, "process", dies_at_the_third)
    store = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        run(table, store)
    with pytest.raises(UserError, match="no finished scan store"):
        ScanStore(store)
    with (store / "index.partial.jsonl").open("a") as journal:
        journal.write('{"key": "cut li')  # as a kill in the middle of a write would leave it
    report = run(table, store)
    assert len(calls) == 6  # 2 done, 1 interrupted, 3 in the second run
    assert (report.n_reused, report.n_stored) == (2, 5)
    a, b = ScanStore(whole), ScanStore(store)
    for first, second in zip(a.keys(table), b.keys(table), strict=True):
        np.testing.assert_array_equal(a.read(first), b.read(second))
    assert not (store / "index.partial.jsonl").exists()
    assert run(table, store).n_reused == 5


def test_what_jobs_of_an_array_noted_of_a_removed_scan_goes_too(table, tmp_path, monkeypatch):
    monkeypatch.setattr(spread, "MANY", 0)
    with using(EngineSettings("array"), Shard(claims=True)):
        run(table, tmp_path)
    first, *others = sorted(known_records(tmp_path))
    noted = list((tmp_path / "shares").glob("*.done.json"))
    assert len(noted) == 1
    assert first in noted[0].read_text()
    assert remove_scans(tmp_path, [first]) == 1
    assert sorted(known_records(tmp_path)) == others
    assert first not in noted[0].read_text()


class FullDisk:
    """A disk with room for so many arrays."""

    def __init__(self, room: int, number: int = errno.ENOSPC) -> None:
        self.room, self.number, self.written = room, number, 0
        self._real = ArrayWriter.write

    def write(self, writer: ArrayWriter, content: bytes) -> int:
        if content.startswith(b"\x93NUMPY"):
            self.written += 1
        if self.written > self.room:
            raise OSError(self.number, os.strerror(self.number))
        return self._real(writer, content)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_store_that_cannot_be_written_stops_the_run_and_blames_no_scan(table, tmp_path, monkeypatch, number):
    whole, store = tmp_path / "whole", tmp_path / "store"
    run(table, whole)
    disk = FullDisk(2, number)
    with monkeypatch.context() as patched:
        patched.setattr(ArrayWriter, "write", lambda writer, content: disk.write(writer, content))
        with pytest.raises(StorageError, match=rf"write to {store}.*{os.strerror(number)}.*2 of 5 scans .*{store}"):
            run(table, store)
    assert disk.written == 3  # no further scan was read
    assert [record["status"] for record in read_records(store / PARTIAL)] == ["stored", "stored"]
    assert not list(store.rglob("*.tmp"))
    report = run(table, store)
    assert (report.n_reused, report.n_stored, report.quarantine) == (2, 5, [])
    a, b = ScanStore(whole), ScanStore(store)
    for first, second in zip(a.keys(table), b.keys(table), strict=True):
        np.testing.assert_array_equal(a.read(first), b.read(second))


def test_a_journal_that_cannot_be_written_stops_the_run(table, tmp_path, monkeypatch):
    store, opened = tmp_path / "store", os.open

    def full(path, flags, *more):
        return opened("/dev/full", os.O_WRONLY) if str(path).endswith(PARTIAL) else opened(path, flags, *more)

    with monkeypatch.context() as patched:
        patched.setattr("genebrain.brain.store.journal.os.open", full)
        with pytest.raises(StorageError, match=rf"write to {store}: No space left"):
            run(table, store)
    store.mkdir(exist_ok=True)
    (tmp_path / "victim").write_text("precious")
    (store / PARTIAL).unlink(missing_ok=True)
    (store / PARTIAL).symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match=r"partial.jsonl is a link"):
        run(table, store)
    assert (tmp_path / "victim").read_text() == "precious"
    (store / PARTIAL).unlink()
    assert run(table, store).n_stored == 5


def test_a_refusal_in_a_worker_keeps_what_the_others_have_finished(tmp_path):
    table, atlas = image_table(tmp_path / "in", n=12)
    store = tmp_path / "store"
    store.mkdir()
    key = scan_keys(store, table, create=True)[3]
    blocked = store / key[:2] / f"{key}.npy"
    blocked.mkdir(parents=True)
    with pytest.raises(StorageError, match=r"Is a directory.* of 12 scans are stored"):
        run(table, store, atlas=atlas, jobs=2)
    arrays = {path.stem for path in store.rglob("*.npy") if path.is_file()}
    noted = {record["key"] for record in read_records(store / PARTIAL)}
    assert arrays == noted
    blocked.rmdir()
    report = run(table, store, atlas=atlas, jobs=2)
    assert (report.n_reused, report.n_stored) == (len(noted), 12)


def test_a_scan_that_cannot_be_read_is_an_error_of_that_scan(table, tmp_path, monkeypatch):
    real = np.load

    def forbidden(path, *rest, **options):
        if Path(path) == table.path[1]:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *rest, **options)

    monkeypatch.setattr(np, "load", forbidden)
    report = run(table, tmp_path / "store")
    assert report.n_stored == 4
    assert [entry["row"] for entry in report.quarantine] == [1]


def test_a_changed_source_is_read_again(table, tmp_path):
    run(table, tmp_path / "store")
    np.save(table.path[0], series_of(99))
    os.utime(table.path[0], ns=(1, 1))
    assert run(table, tmp_path / "store").n_reused == 4
    store = ScanStore(tmp_path / "store")
    source = series_of(99)
    got = store.read(store.keys(table)[0])
    assert np.corrcoef(got[:, 0], source[:, 0])[0, 1] > 0.999


def test_other_settings_in_the_same_folder_are_refused(table, tmp_path):
    run(table, tmp_path / "store")
    with pytest.raises(UserError, match=r"other settings .*cleaning"):
        run(table, tmp_path / "store", cleaning=Cleaning(detrend=True))


def test_damaged_files_are_found(table, tmp_path):
    run(table, tmp_path / "store")
    store = ScanStore(tmp_path / "store")
    assert store.verify() == []
    key = store.keys(table)[1]
    path = tmp_path / "store" / key[:2] / f"{key}.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert store.verify() == [key]


def test_scans_that_cannot_be_told_apart_are_refused(table, tmp_path):
    doubled = pd.concat([table, table.iloc[:1]])
    with pytest.raises(UserError, match="same participant, session and file name"):
        run(doubled, tmp_path / "store")


def image_table(folder: Path, n: int = 3) -> tuple[pd.DataFrame, Path]:
    """Small images of a 3-label atlas."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(1, 4), 4).reshape(3, 2, 2).astype(np.int16)
    affine = np.diag([2, 2, 2, 1.0])
    nib.save(nib.Nifti1Image(labels, affine), folder / "atlas.nii.gz")
    lines = ["participant_id\tpath\ttr"]
    for i in range(n):
        data = rng.integers(900, 1100, size=(3, 2, 2, 40)).astype(np.int16)
        nib.save(nib.Nifti1Image(data, affine), folder / f"scan{i}.nii.gz")
        lines.append(f"p{i}\tscan{i}.nii.gz\t2")
    (folder / "scans.tsv").write_text("\n".join(lines))
    return read_scan_table(folder / "scans.tsv"), folder / "atlas.nii.gz"


def test_images_in_two_processes_equal_one(tmp_path):
    table, atlas = image_table(tmp_path / "in")
    stores = []
    for jobs in (1, 2):
        run(table, tmp_path / f"store{jobs}", atlas=atlas, jobs=jobs)
        stores.append(ScanStore(tmp_path / f"store{jobs}"))
    for a, b in zip(stores[0].keys(table), stores[1].keys(table), strict=True):
        np.testing.assert_array_equal(stores[0].read(a), stores[1].read(b))
    provenance = json.loads((tmp_path / "store1" / "provenance.json").read_text())
    assert len(provenance["settings"]["atlas"]["sha256"]) == 64
    assert provenance["settings"]["order"][0] == "parcel summary"


def test_images_without_an_atlas_are_an_error(tmp_path):
    table, _ = image_table(tmp_path / "in", n=1)
    with pytest.raises(UserError, match="an image needs an atlas"):
        run(table, tmp_path / "store")


def test_reasons_hold_no_file_names(tmp_path):
    table, atlas = image_table(tmp_path / "in", n=2)
    (tmp_path / "in" / "scan1.nii.gz").write_bytes(b"no image")
    report = run(table, tmp_path / "store", atlas=atlas, jobs=1)
    assert "scan1" not in report.quarantine[0]["reason"]
    assert "not a readable NIfTI image" in report.quarantine[0]["reason"]


def test_many_small_tables_are_read_fast(tmp_path):
    """300 scans of [200, 80] take a second here; a process per scan or a slow reader would take ten."""
    rng = np.random.default_rng(0)
    table = make_table(tmp_path / "in", {f"p{i}": rng.normal(size=(200, 80)).astype(np.float32) for i in range(300)})
    start = time.perf_counter()
    assert run(table, tmp_path / "store").n_stored == 300
    assert time.perf_counter() - start < 8
