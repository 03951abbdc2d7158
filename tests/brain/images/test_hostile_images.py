"""Images and arrays whose headers lie: refused in a sentence, before memory is taken for what they claim."""

from __future__ import annotations

import gzip
import os
import pickle
import resource
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from genebrain.brain.images.array_files import open_array
from genebrain.brain.images.atlas import Atlas
from genebrain.brain.images.image_files import load_image
from genebrain.brain.images.nifti import open_image
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.scan_table import read_scan_table, repetition_time
from genebrain.brain.store.store import ScanStore, fill_store
from genebrain.common.types import UserError

SHAPE = (4, 4, 4, 40)


def image(kind: type = nib.Nifti1Image) -> nib.Nifti1Image:
    values = np.random.default_rng(0).integers(100, 200, size=SHAPE).astype(np.int16)
    made = kind(values, np.diag([3.0, 3, 3, 1]))
    made.header.set_xyzt_units("mm", "sec")
    made.header["pixdim"][4] = 2.0
    return made


def atlas(folder: Path) -> Path:
    labels = 1 + np.arange(64).reshape(SHAPE[:3], order="F") // 8
    nib.save(nib.Nifti1Image(labels.astype(np.int16), np.diag([3.0, 3, 3, 1])), folder / "atlas.nii.gz")
    return folder / "atlas.nii.gz"


def patched(*places: tuple[int, str, object], kind: type = nib.Nifti1Image) -> Callable[[], bytes]:
    """A good image of which some bytes of the header are others: (place, format, value)."""

    def content() -> bytes:
        raw = bytearray(image(kind).to_bytes())
        for place, form, value in places:
            raw[place : place + struct.calcsize(form)] = struct.pack(form, value)
        return bytes(raw)

    return content


def extension(size: int) -> Callable[[], bytes]:
    """An extension that says how long it is."""

    def content() -> bytes:
        raw = bytearray(image().to_bytes())
        raw[348:352] = b"\1\0\0\0"
        raw[108:112] = struct.pack("<f", 352 + 64)
        return bytes(raw[:352]) + struct.pack("<ii", size, 6) + b"x" * 56 + bytes(raw[352:])

    return content


# Places in the header of NIfTI-1: dim 40 (8 int16), datatype 70, bitpix 72, pixdim 76, vox_offset 108, slope 112,
# inter 116, xyzt_units 123, magic 344; of NIfTI-2: dim 16 (8 int64).
NIFTI: dict[str, tuple[Callable[[], bytes], str]] = {
    "a thousand billion voxels": (
        patched(*((16 + 8 * i, "<q", 10_000) for i in (1, 2, 3)), kind=nib.Nifti2Image), "header claims"),
    "a thousand billion frames": (patched((16 + 32, "<q", 10**12), kind=nib.Nifti2Image), "header claims|too large"),
    "sizes whose product overflows": (
        patched(*((16 + 8 * i, "<q", 2**62) for i in (1, 2, 3, 4)), kind=nib.Nifti2Image), "header claims"),
    "negative size": (patched((42, "<h", -4)), "axis without length|not a readable"),
    "no voxels": (patched((42, "<h", 0)), "axis without length|not a readable"),
    "no frames": (patched((48, "<h", 0)), "axis without length"),
    "no axes": (patched((40, "<h", 0)), "not a readable|four axes|axis without"),
    "twelve axes": (patched((40, "<h", 12)), "not a readable"),
    "three axes": (patched((40, "<h", 3)), "four axes"),
    "a type that nobody knows": (patched((70, "<h", 999)), "not a readable"),
    "a byte order of its own": (patched((40, "<h", 0x0400)), "not a readable|header claims|axis"),
    "values that begin nowhere": (patched((108, "<f", float("nan"))), "begin at byte nan"),
    "values that begin after the end": (patched((108, "<f", 1e7)), "cut or damaged"),
    "values that begin after a gigabyte": (patched((108, "<f", 2e9)), "begin at byte"),
    "no slope is a number": (patched((112, "<f", 2.0), (116, "<f", float("nan"))), "not a readable"),
    "wrong magic": (patched((344, "4s", b"abc\0")), "not a readable|expected a single-file"),
    "magic of a pair": (patched((344, "4s", b"ni1\0")), "not a readable|expected a single-file"),
    "an extension of two gigabytes": (extension(2**31 - 16), "extension of the header"),
    "an extension of negative length": (extension(-16), "extension of the header"),
    "an extension without length": (extension(0), "extension of the header"),
    "cut in the header": (lambda: image().to_bytes()[:200], "not a readable"),
    "cut in the values": (lambda: image().to_bytes()[:3000], "cut or damaged"),
    "another format": (lambda: b"\x89HDF\r\n\x1a\n" + b"\0" * 600, "not a readable"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("case", NIFTI)
def test_lying_headers_are_a_sentence_and_a_good_scan_beside_is_stored(tmp_path, case, suffix):
    content, words = NIFTI[case]
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(gzip.compress(content()) if suffix == ".nii.gz" else content())
    nib.save(image(), tmp_path / "good.nii.gz")
    (tmp_path / "scans.tsv").write_text(f"participant_id\tpath\ttr\ng\tgood.nii.gz\t2\nb\t{path.name}\t2\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table = read_scan_table(tmp_path / "scans.tsv")
    report = fill_store(table, tmp_path / "store", ReadingOptions(atlas=atlas(tmp_path)), jobs=1, progress=False)
    assert report.n_stored == 1
    (entry,) = report.quarantine
    assert pytest.approx(1) == entry["row"]
    assert any(word in entry["reason"] for word in words.split("|")), entry["reason"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB
    if case != "three axes":
        with pytest.raises(UserError, match=r"cannot be read|three axes"):
            Atlas.load(path)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (((92, "<f", 0.0),), "0 s"),
        (((92, "<f", float("nan")),), "nan s"),
        (((92, "<f", -2.0),), "-2 s"),
        (((92, "<f", 2000.0),), r"milliseconds\? it would be 2 s"),
        (((92, "<f", 2.0), (123, "B", 2 | 16)), "0.002 s"),  # milliseconds, but seconds are meant
        (((92, "<f", 2.0), (123, "B", 2 | 32)), "fourth axis of the image is in hz"),
        (((92, "<f", 1.0), (123, "B", 0)), "unknown unit"),
        (((92, "<f", 1.0), (123, "B", 7 | 56)), "unknown unit"),
    ],
)
def test_time_steps_of_headers_are_not_believed_blindly(tmp_path, places, words):
    (tmp_path / "a.nii").write_bytes(patched(*places)())
    with pytest.raises(UserError, match=words):
        repetition_time(tmp_path / "a.nii", open_image(tmp_path / "a.nii").header)


def test_values_keep_slope_and_intercept_and_survive_what_is_not_finite(tmp_path):
    values = image().get_fdata()
    values[0, 0, 0, 3], values[1, 1, 1, 5], values[2, 2, 2, :] = np.nan, np.inf, -np.inf
    odd = nib.Nifti1Image(values.astype(np.float32), np.diag([3.0, 3, 3, 1]))
    nib.save(odd, tmp_path / "odd.nii.gz")
    (tmp_path / "sloped.nii").write_bytes(patched((112, "<f", 0.5), (116, "<f", -7.0))())
    (tmp_path / "plain.nii").write_bytes(image().to_bytes())
    (tmp_path / "scans.tsv").write_text(
        "participant_id\tpath\ttr\na\todd.nii.gz\t2\nb\tsloped.nii\t2\nc\tplain.nii\t2\n"
    )
    table = read_scan_table(tmp_path / "scans.tsv")
    fill_store(table, tmp_path / "store", ReadingOptions(atlas=atlas(tmp_path)), jobs=1, progress=False)
    store = ScanStore(tmp_path / "store")
    a, b, c = store.keys(table)
    np.testing.assert_array_equal(store.read(b), store.read(c))  # scaled to the same, whatever the unit
    labels = np.arange(64).reshape(SHAPE[:3], order="F") // 8
    means = np.array([np.nanmean(np.where(np.isfinite(values), values, np.nan)[labels == k], axis=0) for k in range(8)])
    right = (means - means.mean(axis=1, keepdims=True)).T
    np.testing.assert_allclose(store.read(a), right / np.sqrt((right**2).mean()), atol=3e-3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), "it is a folder"),
        (lambda path: path.symlink_to("none.nii.gz"), "points nowhere"),
        (lambda path: path.symlink_to(path.name), "points nowhere"),
        (os.mkfifo, "it is no file"),
        (lambda path: path.write_bytes(image().to_bytes()), "not compressed by gzip"),
        (lambda path: path.write_bytes(gzip.compress(image().to_bytes())[:-8]), "cut or damaged"),
        (lambda path: path.write_bytes(gzip.compress(image().to_bytes())[:-2000] + b"x" * 2000), "cut or damaged"),
    ],
)
def test_what_is_no_image_file_is_said(tmp_path, make, words):
    path = tmp_path / "a.nii.gz"
    make(path)
    with pytest.raises(UserError, match=words):
        list(open_image(path).volumes())


def test_compressed_content_under_a_plain_name(tmp_path):
    (tmp_path / "a.nii").write_bytes(gzip.compress(image().to_bytes()))
    with pytest.raises(UserError, match="it is compressed by gzip"):
        load_image(tmp_path / "a.nii")


def npy(header: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def saved(folder: Path, array: np.ndarray) -> bytes:
    np.save(folder / "x.npy", array, allow_pickle=True)
    return (folder / "x.npy").read_bytes()


def claims(shape: str, dtype: str = "<f8") -> bytes:
    return npy(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}", b"\0" * 80)


ARRAYS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "huge": (lambda f: claims("(1000000, 1000000)"), "its header says"),
    "huge beyond all bounds": (lambda f: claims("(10" + "0" * 30 + ", 10)"), "its header says"),
    "negative": (lambda f: claims("(-1, 10)"), "claims the shape"),
    "cut": (lambda f: saved(f, np.zeros((40, 5)))[:-9], "cut or damaged"),
    "two arrays": (lambda f: saved(f, np.zeros((40, 5))) * 2, "cut or damaged"),
    "pickled objects": (lambda f: saved(f, np.array([{}, None], object)), "Python objects"),
    "a pickle": (lambda f: pickle.dumps([1.0]), "cannot be read"),
    "an archive": (lambda f: b"PK\3\4" + b"\0" * 100, "npz archive"),
    "text": (lambda f: saved(f, np.array([["a", "b"]] * 40)), "expected numbers"),
    "records": (lambda f: saved(f, np.zeros(40, [("a", "f4"), ("b", "f4")])), "expected numbers"),
    "dates": (lambda f: saved(f, np.zeros((40, 3), "M8[s]")), "expected numbers"),
    "code instead of a header": (lambda f: npy("__import__('os').system('touch x')"), "cannot be read"),
    "another version": (lambda f: npy("{}", version=b"\x09\0"), "cannot be read"),
    "a tower of brackets": (lambda f: npy("(" * 110), "cannot be read"),
    "nothing": (lambda f: b"", "cannot be read"),
    "no rows": (lambda f: saved(f, np.zeros((0, 5))), "it is empty"),
    "a text table": (lambda f: b"1\t2\n3\t4\n", "cannot be read"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_none_are_a_sentence(tmp_path, case):
    content, words = ARRAYS[case]
    path = tmp_path / "bad.npy"
    path.write_bytes(content(tmp_path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=words):
        open_array(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    np.save(tmp_path / "good.npy", np.random.default_rng(0).normal(size=(40, 5)))
    (tmp_path / "scans.tsv").write_text("participant_id\tpath\ng\tgood.npy\nb\tbad.npy\n")
    report = fill_store(
        read_scan_table(tmp_path / "scans.tsv"), tmp_path / "store", ReadingOptions(), jobs=1, progress=False
    )
    assert (report.n_stored, len(report.quarantine)) == (1, 1)
    assert words in report.quarantine[0]["reason"]


@pytest.mark.parametrize(
    "array",
    [np.arange(200).reshape(40, 5), np.asfortranarray(np.arange(200.0).reshape(40, 5)), np.ones((40, 5), ">f4")],
    ids=["integers", "columns first", "big endian"],
)
def test_arrays_of_numbers_are_what_was_saved(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(open_array(tmp_path / "a.npy"), array)
