"""CIFTI: grayordinate series with an atlas of labels, parcel series as they are; what does not fit is a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, ScalarAxis, SeriesAxis

from genebrain.brain.images.dense_atlas import DenseAtlas
from genebrain.brain.images.nifti import open_image
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.report import IngestReport
from genebrain.brain.store.scan_table import read_scan_table, repetition_time
from genebrain.brain.store.store import ScanStore, fill_store
from genebrain.cohort.checks.scans import check_scans
from genebrain.cohort.tables.problems import Problems
from genebrain.common.types import UserError

LEFT, RIGHT = "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"
N_VERTICES, FRAMES = 30, 40
AFFINE = np.diag([2.0, 2, 2, 1])


def grayordinates(left: Any = range(30), right: Any = range(30), voxels: Any = range(8)) -> BrainModelAxis:
    """Vertices of both hemispheres and voxels of a structure, in this order."""
    axis = BrainModelAxis.from_surface(list(left), N_VERTICES, LEFT)
    if len(list(right)):
        axis = axis + BrainModelAxis.from_surface(list(right), N_VERTICES, RIGHT)
    if len(list(voxels)):
        ijk = np.array([(v // 4, v // 2 % 2, v % 2) for v in voxels])
        more = BrainModelAxis("CIFTI_STRUCTURE_THALAMUS_LEFT", voxel=ijk, affine=AFFINE, volume_shape=(2, 2, 2))
        axis = axis + more
    return axis


def label_of(axis: BrainModelAxis) -> np.ndarray:
    """0 for the medial wall (vertices 0-4), 1-5 on the left, 11-15 on the right, 20 in the voxels."""
    labels = []
    for name, vertex in zip(axis.name, axis.vertex, strict=True):
        base = {LEFT: 0, RIGHT: 10}.get(name)
        labels.append(20 if base is None else 0 if vertex < 5 else base + vertex // 5)
    return np.array(labels)


def atlas(path: Path, axis: BrainModelAxis | None = None, n_maps: int = 1) -> Path:
    axis = grayordinates() if axis is None else axis
    labels = label_of(axis)
    table = {int(i): (f"region {i}" if i else "???", (0.0, 0, 0, 1)) for i in np.unique(labels)}
    maps = LabelAxis([f"map {m}" for m in range(n_maps)], [table] * n_maps)
    nib.save(nib.Cifti2Image(np.tile(labels, (n_maps, 1)).astype(np.float32), (maps, axis)), path)
    return path


def signal(axis: BrainModelAxis) -> np.ndarray:
    """A series per place, the same whatever else is in the file."""
    rows = []
    for name, vertex, voxel in zip(axis.name, axis.vertex, axis.voxel, strict=True):
        seed = [list(dict.fromkeys((LEFT, RIGHT, name))).index(name), abs(int(vertex)), *(abs(int(v)) for v in voxel)]
        rows.append(np.random.default_rng(seed).normal(size=FRAMES))
    return np.array(rows).T.astype(np.float32)


def dense(path: Path, axis: BrainModelAxis, values: np.ndarray | None = None, **series: Any) -> None:
    values = signal(axis) if values is None else values
    time = SeriesAxis(0, series.get("step", 2.0), len(values), series.get("unit", "second"))
    nib.save(nib.Cifti2Image(values, (time, axis)), path)


def parcels(path: Path, names: list[str], seed: int = 0, step: float = 2.0) -> np.ndarray:
    axis = ParcelsAxis(
        names,
        [np.empty((0, 3), int)] * len(names),
        [{LEFT: np.arange(3 * i, 3 * i + 3)} for i in range(len(names))],
        nvertices={LEFT: 100},
    )
    values = np.random.default_rng(seed).normal(size=(FRAMES, len(names))).astype(np.float32)
    nib.save(nib.Cifti2Image(values, (SeriesAxis(0, step, FRAMES), axis)), path)
    return values


def fill(folder: Path, *names: str, atlas: Path | None = None) -> tuple[IngestReport, ScanStore, list[str | None]]:
    lines = "".join(f"P{i}\t{name}\n" for i, name in enumerate(names))
    (folder / "scans.tsv").write_text("participant_id\tpath\n" + lines)
    table = read_scan_table(folder / "scans.tsv")
    report = fill_store(table, folder / "store", ReadingOptions(atlas=atlas), jobs=1, progress=False)
    store = ScanStore(folder / "store")
    return report, store, store.keys(table)


def scaled(series: np.ndarray) -> np.ndarray:
    """What the store keeps of a series, by its definition."""
    centred = series - series.mean(axis=0)
    return centred / np.sqrt((centred**2).mean())


def by_label(axis: BrainModelAxis, values: np.ndarray) -> np.ndarray:
    labels = label_of(axis)
    return np.stack([values[:, labels == i].mean(axis=1) for i in np.unique(labels) if i > 0], axis=1)


def test_parcel_series_are_read_as_they_are_with_names_and_time_step(tmp_path):
    names = ["L_V1_ROI", "R_V1_ROI", "L_A1_ROI"]
    values = parcels(tmp_path / "a.ptseries.nii", names, step=0.72)
    _, store, (key,) = fill(tmp_path, "a.ptseries.nii")
    np.testing.assert_allclose(store.read(key), scaled(values), atol=3e-3)
    assert store.index.tr[key] == pytest.approx(0.72)
    (kept,) = (tmp_path / "store").glob("parcels-*.tsv")
    assert [line.split("\t") for line in kept.read_text().splitlines()] == [
        ["column", "name"], ["1", "L_V1_ROI"], ["2", "R_V1_ROI"], ["3", "L_A1_ROI"],
    ]  # fmt: skip


def test_parcels_of_another_order_are_quarantined(tmp_path):
    """The same count of parcels says nothing: their names must agree."""
    for i in range(3):
        parcels(tmp_path / f"{i}.ptseries.nii", ["A", "B", "C"] if i else ["B", "A", "C"], seed=i)
    report, _, keys = fill(tmp_path, *(f"{i}.ptseries.nii" for i in range(3)))
    assert [key is None for key in keys] == [True, False, False]
    assert "other names, or another order" in report.quarantine[0]["reason"]


@pytest.mark.parametrize(
    "axis",
    [
        grayordinates(),
        grayordinates(left=range(5, 30), right=range(5, 30)),  # without the medial wall, as fMRIPrep and HCP write it
        grayordinates(left=reversed(range(30))),
        grayordinates(voxels=[7, 3, 1, 0, 2, 4, 6, 5]),
    ],
    ids=["as the atlas", "without medial wall", "vertices backwards", "voxels in another order"],
)
def test_grayordinates_are_matched_by_place_and_not_by_position(tmp_path, axis):
    values = signal(axis)
    dense(tmp_path / "a.dtseries.nii", axis, values)
    _, store, (key,) = fill(tmp_path, "a.dtseries.nii", atlas=atlas(tmp_path / "x.dlabel.nii"))
    assert store.shape == (11,)
    np.testing.assert_allclose(store.read(key), scaled(by_label(axis, values)), atol=4e-3)
    assert "region 15" in next((tmp_path / "store").glob("parcels-*.tsv")).read_text()


def test_values_that_are_not_finite_are_left_out_of_their_label(tmp_path):
    axis = grayordinates()
    values = signal(axis)
    values[3, 7], values[5, 8] = np.nan, np.inf
    dense(tmp_path / "a.dtseries.nii", axis, values)
    _, store, (key,) = fill(tmp_path, "a.dtseries.nii", atlas=atlas(tmp_path / "x.dlabel.nii"))
    right = by_label(axis, values)
    right[3, 0], right[5, 0] = values[3, [5, 6, 8, 9]].mean(), values[5, [5, 6, 7, 9]].mean()
    np.testing.assert_allclose(store.read(key), scaled(right), atol=4e-3)
    assert store.index.missing_voxels[key] == 1


def test_the_check_before_a_run_reads_both_kinds(tmp_path):
    dense(tmp_path / "a.dtseries.nii", grayordinates())
    parcels(tmp_path / "b.ptseries.nii", ["A", "B"])
    cut(tmp_path / "c.dtseries.nii")
    plain_image(tmp_path / "d.ptseries.nii")
    table = pd.DataFrame({"path": sorted(tmp_path.glob("*.nii")), "tr": np.nan})
    problems = Problems()
    check_scans(table.assign(participant_id=list("abcd"), session=""), problems)
    kinds = {problem.kind: problem.message for problem in problems}
    assert set(kinds) == {"unreadable scans", "short scans"}
    assert "2 of 4 scans" in kinds["unreadable scans"]


def test_medians_of_labels(tmp_path):
    axis = grayordinates()
    dense(tmp_path / "a.dtseries.nii", axis)
    from genebrain.brain.images.cifti_files import open_series

    loaded = DenseAtlas.load(atlas(tmp_path / "x.dlabel.nii"))
    series = loaded.extract(open_series(tmp_path / "a.dtseries.nii"), "median").series
    np.testing.assert_allclose(series[:, 0], np.median(signal(axis)[:, 5:10], axis=1), rtol=1e-6)
    assert loaded.names[:2] == ["region 1", "region 2"]


STEPS = {
    "hertz": ({"unit": "hertz"}, "in hertz, not in time"),
    "zero": ({"step": 0.0}, "0 s"),
    "milliseconds as seconds": ({"step": 2000.0}, "it would be 2 s then"),
    "negative": ({"step": -2.0}, "-2 s"),
}


@pytest.mark.parametrize("case", STEPS)
def test_time_steps_of_series_axes_are_judged(tmp_path, case):
    series, words = STEPS[case]
    dense(tmp_path / "a.dtseries.nii", grayordinates(), **series)
    with pytest.raises(UserError, match=words):
        repetition_time(tmp_path / "a.dtseries.nii", nib.load(tmp_path / "a.dtseries.nii").header)


def test_the_exponent_of_the_step_counts_and_a_sidecar_comes_first(tmp_path):
    path = tmp_path / "sub-1_task-rest_space-fsLR_den-91k_bold.dtseries.nii"
    dense(path, grayordinates())
    header = nib.load(path).header
    header.matrix.get_index_map(0).series_step, header.matrix.get_index_map(0).series_exponent = 735, -3
    assert repetition_time(path, header) == 0.735
    (tmp_path / "sub-1_task-rest_space-fsLR_den-91k_bold.json").write_text('{"RepetitionTime": 0.8}')
    assert repetition_time(path, header) == 0.8


def plain_image(path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, 40), np.int16), AFFINE), path)


def scalars(path: Path) -> None:
    nib.save(nib.Cifti2Image(np.zeros((1, 68), np.float32), (ScalarAxis(["thickness"]), grayordinates())), path)


def cut(path: Path) -> None:
    dense(path, grayordinates())
    path.write_bytes(path.read_bytes()[:-4000])


def other_surface(path: Path) -> None:
    dense(path, BrainModelAxis.from_surface(range(30), 40, LEFT))


def other_grid(path: Path) -> None:
    ijk = np.array([(0, 0, k) for k in range(8)])
    more = BrainModelAxis("CIFTI_STRUCTURE_THALAMUS_LEFT", voxel=ijk, affine=AFFINE, volume_shape=(2, 2, 8))
    dense(path, BrainModelAxis.from_surface(range(30), N_VERTICES, LEFT) + more)


def lies(old: bytes, new: bytes) -> Any:
    """The XML says something else than the matrix."""

    def make(path: Path) -> None:
        dense(path, grayordinates())
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new.ljust(len(old))))

    return make


DENSE: dict[str, tuple[Any, str]] = {
    "a plain image": (plain_image, "called like a CIFTI file, but it is a plain image"),
    "scalars": (scalars, "SCALARS x BRAIN_MODELS, expected SERIES x BRAIN_MODELS"),
    "parcels under the wrong name": (lambda p: parcels(p, ["A", "B"]) is None, "SERIES x PARCELS, expected"),
    "cut": (cut, "cut or damaged"),
    "another surface": (other_surface, "cortex left has 40 vertices in the scan and 30 in the atlas"),
    "another grid of voxels": (other_grid, "different grids"),
    "one hemisphere": (lambda p: dense(p, grayordinates(right=[], voxels=[])), "6 of 11 labels have no grayordinate"),
    "a count that lies": (lies(b'IndexCount="30"', b'IndexCount="9e"'), "not a readable"),
    "broken XML": (lies(b"</CIFTI>", b"</CIFTY>"), "not a readable|description of the CIFTI file"),
    "vertices beyond the surface": (lies(b"27 28 29", b"27 28 99"), "beyond the 30"),
    "text": (lambda p: p.write_text("no image"), "not a readable"),
    "nothing": (lambda p: p.write_bytes(b""), "not a readable"),
}


@pytest.mark.parametrize("case", DENSE)
def test_what_is_no_series_of_grayordinates_is_said_and_the_good_scan_stored(tmp_path, case):
    make, words = DENSE[case]
    make(tmp_path / "bad.dtseries.nii")
    dense(tmp_path / "good.dtseries.nii", grayordinates())
    report, _, keys = fill(tmp_path, "good.dtseries.nii", "bad.dtseries.nii", atlas=atlas(tmp_path / "x.dlabel.nii"))
    assert keys[0] is not None
    assert any(word in report.quarantine[0]["reason"] for word in words.split("|")), report.quarantine


def test_an_index_count_beyond_memory_is_refused_before_it_is_believed(tmp_path):
    path = tmp_path / "a.dtseries.nii"
    dense(path, grayordinates())
    image = nib.load(path)
    next(iter(image.header.matrix.get_index_map(1).brain_models)).index_count = 10**12
    from genebrain.brain.images.cifti_files import _described

    assert _described(image.header.matrix.get_index_map(1)) == 10**12 + 38  # compared with the matrix, never allocated


def test_atlases_and_scans_of_two_kinds_do_not_go_together(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.int16), AFFINE), tmp_path / "x.nii.gz")
    dense(tmp_path / "a.dtseries.nii", grayordinates())
    with pytest.raises(UserError, match=r"need an atlas of grayordinates: atlas=LABELS.dlabel.nii"):
        fill(tmp_path, "a.dtseries.nii", atlas=tmp_path / "x.nii.gz")
    plain_image(tmp_path / "b.nii.gz")
    (tmp_path / "v").mkdir()
    plain_image(tmp_path / "v" / "b.nii.gz")
    with pytest.raises(UserError, match=r"for grayordinates .*, this scan is a volume image"):
        fill(tmp_path / "v", "b.nii.gz", atlas=atlas(tmp_path / "y.dlabel.nii"))
    with pytest.raises(UserError, match=r"no volumes; read are \.dtseries\.nii"):
        open_image(tmp_path / "a.dtseries.nii")
    with pytest.raises(UserError, match=r"2 maps \(map 0, map 1\), expected one"):
        DenseAtlas.load(atlas(tmp_path / "two.dlabel.nii", n_maps=2))
