"""Cleaning: what is removed, in which order, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from genebrain.brain.images.cleaning import ORDER, Cleaning, clean
from genebrain.common.types import UserError

TR = 0.8


@pytest.fixture
def series() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 2, size=(80, 4))


def test_nothing_asked_for_changes_nothing(series):
    got, kept = clean(series, Cleaning(), tr=TR)
    np.testing.assert_array_equal(got, series)
    assert kept.tolist() == list(range(80))


def test_a_named_confound_and_a_trend_are_gone(tmp_path, series):
    confound = np.random.default_rng(1).normal(size=80)
    table = pd.DataFrame({"motion": confound, "derivative": np.r_[np.nan, np.diff(confound)], "unused": 0.0})
    table.to_csv(tmp_path / "confounds.tsv", sep="\t", index=False, na_rep="n/a")
    drift = np.arange(80)[:, None] * 0.3
    cleaning = Cleaning(confound_columns=("motion", "derivative"), detrend=True)
    got, _ = clean(series + 5 * confound[:, None] + drift, cleaning, tr=TR, confounds=tmp_path / "confounds.tsv")
    again, _ = clean(series, cleaning, tr=TR, confounds=tmp_path / "confounds.tsv")
    np.testing.assert_allclose(got, again, atol=1e-8)
    assert np.abs(np.corrcoef(got[:, 0], confound)[0, 1]) < 1e-8


def test_the_pass_band_is_kept_and_the_rest_removed(series):
    t = np.arange(300) * TR
    slow, fast = np.sin(2 * np.pi * 0.05 * t), np.sin(2 * np.pi * 0.4 * t)
    got, _ = clean(np.stack([slow, fast], axis=1), Cleaning(detrend=True, low_pass=0.1, high_pass=0.01), tr=TR)
    middle = slice(60, 240)  # the filter rings (slowly) at both ends
    kept = np.abs(np.fft.rfft(got[middle], axis=0))
    given = np.abs(np.fft.rfft(np.stack([slow, fast], axis=1)[middle], axis=0))
    peak = given.argmax(axis=0)
    assert kept[peak[0], 0] > 0.95 * given[peak[0], 0]
    assert kept[peak[1], 1] < 0.02 * given[peak[1], 1]


def test_the_order_is_part_of_the_record():
    assert Cleaning(detrend=True).describe()["order"] == ORDER
    assert ORDER.index("drop frames") < ORDER.index("scaling")


def test_impossible_filters_are_refused(series):
    with pytest.raises(UserError, match=r"not below the Nyquist frequency 0\.625 Hz"):
        clean(series, Cleaning(low_pass=0.7), tr=TR)
    with pytest.raises(UserError, match="needs the time step"):
        clean(series, Cleaning(low_pass=0.1), tr=math.nan)
    with pytest.raises(UserError, match="needs 34 frames, the scan has 20"):
        clean(series[:20], Cleaning(low_pass=0.1), tr=TR)


def test_confounds_must_be_there_and_fit(tmp_path, series):
    path = tmp_path / "confounds.csv"
    path.write_text("motion\n1\n2\n")
    wanted = Cleaning(confound_columns=("motion",))
    with pytest.raises(UserError, match="have 2 rows, the scan has 80 frames"):
        clean(series, wanted, tr=TR, confounds=path)
    with pytest.raises(UserError, match="has no confounds file"):
        clean(series, wanted, tr=TR)
    with pytest.raises(UserError, match=r"lacks the column\(s\) csf"):
        clean(series, Cleaning(confound_columns=("csf", "motion")), tr=TR, confounds=path)
    with pytest.raises(UserError, match="needs an fMRIPrep image"):
        clean(series, Cleaning(load_confounds={"strategy": ["motion"]}), tr=TR)


def test_settings_that_contradict_themselves_are_named_together():
    with pytest.raises(UserError, match=r"standardize=zscore .*low_pass=0.01 Hz must be above high_pass=0.1 Hz"):
        Cleaning(standardize="zscore", low_pass=0.01, high_pass=0.1)
    with pytest.raises(UserError, match="choose one source"):
        Cleaning(load_confounds={"strategy": ("motion",)}, confound_columns=("csf",))
    assert hash(Cleaning(confound_columns=["csf"])) == hash(Cleaning(confound_columns=("csf",)))
    assert Cleaning(load_confounds={"strategy": ["motion"]}) in {Cleaning(load_confounds={"strategy": ["motion"]})}
