"""Despiking without confounds, band powers, and log spectra as features."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dct

from genebrain.brain.connectome.band_powers import EDGES, N_BANDS, band_powers
from genebrain.brain.connectome.base import ConnectomeFeature
from genebrain.brain.connectome.despiking import despiked, spiked_frames
from genebrain.brain.connectome.features import FEATURES, LogSpectrum, ScanSummary, register_kind, summaries_from_store
from genebrain.brain.connectome.side_by_side import joined
from genebrain.common.types import UserError


def smooth(frames: int, parcels: int = 6, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(frames, parcels))
    for t in range(1, frames):
        noise[t] += 0.8 * noise[t - 1]
    return noise


class Store:
    """Series by key, with the frames that were left out and the parcels that are missing."""

    def __init__(self, series: dict[str, np.ndarray], dropped: dict[str, list[int]] | None = None) -> None:
        self.series, self.dropped = series, dropped or {}

    def read(self, key: str, t0: int | None = None, t1: int | None = None) -> np.ndarray:
        return self.series[key][self.frame_numbers(key)]

    def valid(self, key: str) -> np.ndarray:
        return np.ptp(self.series[key], axis=0) > 0

    def frame_numbers(self, key: str) -> np.ndarray:
        return np.setdiff1d(np.arange(len(self.series[key])), self.dropped.get(key, []))


def summaries(series: dict[str, np.ndarray], tr: float | dict[str, float] = 0.8, **more) -> ScanSummary:
    steps = tr if isinstance(tr, dict) else dict.fromkeys(series, tr)
    dropped = more.pop("dropped", None)
    return summaries_from_store(Store(series, dropped), list(series), steps, **more)


def test_a_spike_is_found_and_interpolated_and_nothing_else_is_touched() -> None:
    series = smooth(200)
    spiky = series.copy()
    spiky[70] += 30
    repaired, flagged = despiked(spiky)
    touched = np.flatnonzero((repaired != spiky).any(axis=1))
    assert set(touched) <= {69, 70, 71}
    assert flagged == 3
    np.testing.assert_allclose(repaired[70], (series[68] + series[72]) / 2)
    np.testing.assert_array_equal(despiked(series)[0][:60], series[:60])


def test_steps_over_a_scrubbed_gap_are_no_spikes_and_alike_steps_neither() -> None:
    series = smooth(100)
    series[50:] += 40
    assert spiked_frames(series)[49:51].all()
    numbers = np.r_[0:50, 60:110]
    assert not spiked_frames(series, numbers)[49:51].any()
    triangle = np.abs(np.arange(100) % 10 - 5.0)[:, None] * np.ones(4)
    assert not spiked_frames(triangle).any()
    assert not spiked_frames(np.zeros((2, 3))).any()


def test_a_scan_of_spikes_is_left_alone() -> None:
    series = 1e-3 * smooth(100)
    series[::4] += 50 * (-1.0) ** np.arange(25)[:, None]
    assert despiked(series)[1] == 0


def test_powers_of_a_cosine_lie_in_its_band_whatever_length_and_time_step() -> None:
    for tr, frames in [(0.735, 200), (2.0, 150), (0.72, 1200), (3.0, 60)]:
        time = tr * (np.arange(frames) + 0.5)
        series = np.stack([np.cos(2 * np.pi * 0.0625 * time), np.cos(2 * np.pi * 0.0375 * time)], axis=1)
        found = band_powers(series, tr)
        middle = (EDGES[1:] + EDGES[:-1]) / 2
        assert np.abs(middle[found.argmax(axis=0)] - [0.0625, 0.0375]).max() < 0.006
        nyquist = 1 / (2 * tr)
        assert not found[EDGES[:-1] > nyquist].any()
        assert (found[EDGES[1:] <= nyquist] > 0).all()


def test_density_integrates_to_the_variance() -> None:
    """White noise, whose variance is spread evenly up to half the sampling rate."""
    series = np.random.default_rng(3).normal(size=(400, 5))
    found = band_powers(series, 0.5)
    y = series - series.mean(axis=0)
    y /= np.sqrt(np.mean(y**2))
    reached = EDGES[1:] <= 1.0
    below = (found[reached] * np.diff(EDGES)[reached, None]).sum(axis=0)
    np.testing.assert_allclose(below, y.var(axis=0) * EDGES[1:][reached].max(), rtol=0.1)


def test_spectra_are_those_of_the_full_transform() -> None:
    """The fine bands lose little: log powers of the same triangles taken on the coefficients themselves."""
    series = {str(i): smooth(200, seed=i) * (1 + 0.3 * (i % 3) * (np.arange(6) == 2)) for i in range(40)}
    made = summaries(series, 0.735, despike=False)
    feature = LogSpectrum().fit(*made)
    got = feature.transform(*made).reshape(40, 6, 6) * feature.noise[:, None]
    hz = np.arange(1, 200) / (2 * 200 * 0.735)
    band_of = np.searchsorted(EDGES, hz) - 1
    share = feature.weights / np.maximum(np.diff(EDGES), 1e-9)
    weights = share[:, band_of]
    weights /= weights.sum(axis=1, keepdims=True)
    for i, one in enumerate(series.values()):
        y = one - one.mean(axis=0)
        y /= np.sqrt(np.mean(y**2))
        exact = np.log(weights @ dct(y, axis=0, norm="ortho")[1:] ** 2)
        assert np.corrcoef(exact.ravel(), got[i].ravel())[0, 1] > 0.99


def test_each_feature_has_the_noise_of_a_log_power() -> None:
    """People without differences: every feature varies by about one."""
    series = {str(i): smooth(300, seed=i) for i in range(200)}
    made = summaries(series, despike=False)
    spread = LogSpectrum().fit(*made).transform(*made).std(axis=0)
    assert 0.75 < spread.mean() < 1.25
    assert spread.max() < 1.8


def test_several_time_steps_share_the_axis_up_to_the_slowest() -> None:
    """The same process sampled at two rates: features agree on average."""
    # Slow enough that little lies beyond the reach of the slower scans.
    series = {i: np.cumsum(smooth(400, 4, seed=i), axis=0) for i in range(120)}
    fast = {f"f{i}": series[i] for i in range(60)}
    slow = {f"s{i}": series[60 + i][::2] for i in range(60)}
    steps = dict.fromkeys(fast, 1.0) | dict.fromkeys(slow, 2.0)
    made = summaries(fast | slow, steps, despike=False)
    feature = LogSpectrum().fit(*made)
    assert not feature.weights[:, EDGES[:-1] > 0.26].any()
    got = feature.transform(*made).reshape(120, 6, 4)[:, :4]
    assert np.abs(got[:60].mean(axis=(0, 2)) - got[60:].mean(axis=(0, 2))).max() < 1.5


def test_scrubbed_frames_hardly_change_slow_bands() -> None:
    time = np.arange(300) * 0.8
    whole = np.sin(2 * np.pi * 0.03 * time)[:, None] * [1, 2, 3] + 0.01 * smooth(300, 3)
    gaps = sorted(np.random.default_rng(0).choice(np.arange(1, 299), 40, replace=False).tolist())
    made = summaries({"a": whole, "b": whole}, dropped={"b": gaps}, despike=False)
    slow = EDGES[1:] <= 0.05
    np.testing.assert_allclose(made.powers[1, slow].sum(axis=0), made.powers[0, slow].sum(axis=0), rtol=0.05)


def test_unknown_time_steps_are_filled_and_counted_and_other_kinds_go_on() -> None:
    series = {str(i): smooth(120, seed=i) for i in range(30)}
    steps = dict.fromkeys(list(series)[:25], 0.8)
    made = summaries(series, steps)
    feature = LogSpectrum().fit(*made)
    got = feature.transform(*made)
    assert feature.report["subjects_filled"] == 5
    np.testing.assert_allclose(got[25:], np.tile(feature.mean.reshape(-1), (5, 1)), rtol=1e-5)
    assert np.isfinite(FEATURES["lag0"]().fit(*made.moments).transform(*made.moments)).all()
    nobody = summaries(series, {})
    assert np.isfinite(LogSpectrum().fit(*nobody).transform(*nobody)).all()


def test_scans_too_slow_for_bands_are_refused_with_a_reason() -> None:
    series = {str(i): smooth(60, seed=i) for i in range(4)}
    made = summaries(series)
    nothing = made._replace(powers=np.zeros_like(made.powers))
    with pytest.raises(UserError, match="fewer than two frequency bands"):
        LogSpectrum().fit(*nothing)


def test_several_scans_of_a_person_are_pooled_by_length() -> None:
    one, other = smooth(100, seed=1), smooth(300, seed=2)
    store = Store({"a": one, "b": other})
    made = summaries_from_store(store, [["a", "b"]], {"a": 0.8, "b": 0.8}, despike=False)
    expected = (band_powers(one, 0.8) + 3 * band_powers(other, 0.8)) / 4
    np.testing.assert_allclose(made.powers[0], expected, rtol=1e-4)
    assert made.seconds[0] == pytest.approx(320)


def test_state_restores_and_missing_parcels_are_filled_with_424_parcels() -> None:
    series = {str(i): smooth(60, 424, seed=i) for i in range(24)}
    series["3"][:, 17] = 0.0
    made = summaries(series)
    feature = LogSpectrum().fit(*(values[:20] for values in made))
    got = feature.transform(*made)
    assert got.shape == (24, 6 * 424)
    assert feature.report["subjects_filled"] == 1
    state = feature.state()
    assert all(values.flags.c_contiguous for values in state.values())
    np.testing.assert_array_equal(LogSpectrum.from_state(state).transform(*made), got)
    np.testing.assert_allclose(got[3].reshape(6, 424)[:, 17], feature.mean[:, 17], rtol=1e-5)


def test_powers_are_small() -> None:
    assert N_BANDS <= 48


def test_a_kind_of_ones_own() -> None:
    @register_kind("loudest")
    class Loudest(ConnectomeFeature):
        """Variance of the parcels."""

        def fit(self, C0, C1, edges, frames):
            self.fit_parcels(C0, C1)
            return self

        def transform(self, C0, C1, edges, frames):
            return np.diagonal(C0, axis1=1, axis2=2).astype(np.float32)

    try:
        from genebrain.sides.connectome import ConnectomeSide

        side = ConnectomeSide(kind=("spectrum", "loudest"))  # one needs powers, the other gets moments alone
        summary = summaries({str(i): smooth(80, seed=i) for i in range(12)})
        fitted, made = side.fit(summary, np.arange(8)), summary.moments
        assert set(fitted) == {"spectrum", "loudest"}
        both = joined(fitted, "spectrum+loudest").transform(*summary)
        np.testing.assert_array_equal(both[:, -made.C0.shape[-1] :], fitted["loudest"].transform(*made))
        restored = side.restore("loudest", fitted["loudest"].state())
        np.testing.assert_array_equal(restored.transform(*made), fitted["loudest"].transform(*made))
        with pytest.raises(ValueError, match="taken"):
            register_kind("loudest")(Loudest)
    finally:
        FEATURES.remove("loudest")
