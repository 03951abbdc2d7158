"""Reading parcel tables and judging what of them can be used."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.brain.parcels.series import read_parcel_table, usable_part
from genebrain.common.types import UserError


@pytest.fixture
def series() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 2, size=(20, 6)).astype(np.float32)


def test_npy_tsv_csv_with_and_without_header_agree(tmp_path, series):
    np.save(tmp_path / "a.npy", series)
    np.savetxt(tmp_path / "b.tsv", series, delimiter="\t")
    np.savetxt(tmp_path / "c.csv", series, delimiter=",", header="a,b,c,d,e,f", comments="")
    np.savetxt(tmp_path / "d.tsv", series, delimiter="\t", header="1\t2\t3\t4\t129\t130", comments="")
    for path in sorted(tmp_path.iterdir()):
        got = read_parcel_table(path)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, series, rtol=1e-6)


def test_missing_cells_become_nan(tmp_path):
    (tmp_path / "a.tsv").write_text("x\ty\n1.5\tn/a\n2.5\t3\n")
    assert np.isnan(read_parcel_table(tmp_path / "a.tsv")[0, 1])


def test_what_is_not_a_table_of_numbers_is_refused(tmp_path):
    np.save(tmp_path / "line.npy", np.zeros(5))
    np.save(tmp_path / "objects.npy", np.array([[1, None]], dtype=object), allow_pickle=True)
    (tmp_path / "words.tsv").write_text("a\tb\n1\tred\n")
    (tmp_path / "empty.tsv").write_text("")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(UserError):
            read_parcel_table(path)


def test_frames_and_parcels_are_marked_not_imputed(series):
    series[4] = np.nan  # a lost frame
    series[:, 1] = np.nan  # a lost parcel
    series[7, 2] = np.inf  # a parcel with a gap
    series[:, 3] = 5  # constant
    got = usable_part(series)
    assert got.valid.tolist() == [True, False, False, False, True, True]
    assert got.frame_numbers.tolist() == [t for t in range(20) if t != 4]
    np.testing.assert_array_equal(got.series[:, [0, 4, 5]], np.delete(series, 4, axis=0)[:, [0, 4, 5]])
    assert not got.series[:, [1, 2, 3]].any()


def test_too_little_left_is_refused(series):
    with pytest.raises(UserError, match="no finite value"):
        usable_part(np.full_like(series, np.nan))
    series[:, :4] = 1
    with pytest.raises(UserError, match="only 2 of 6 parcels"):
        usable_part(series)
    series[2:] = np.nan
    with pytest.raises(UserError, match="only 2 of 20 frames"):
        usable_part(series)
