"""Windows of scans: no gap is crossed, time steps are met, short scans are counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from genebrain.brain.windows.bank import WindowBank
from genebrain.brain.windows.policy import WindowPolicy, mirrored, stretches
from genebrain.brain.windows.resampling import resample
from genebrain.common.types import UserError


class Store:
    """Scans in memory: ``{key: (frames [n, P], frame numbers, tr)}``."""

    def __init__(self, **scans):
        self.scans = scans
        self.index = pd.DataFrame({"tr": [tr for *_, tr in scans.values()]}, index=list(scans))
        self.reads: list[tuple[str, int, int]] = []

    def read(self, key, t0=None, t1=None):
        series, *_ = self.scans[key]
        assert 0 <= t0 < t1 <= len(series)
        self.reads.append((key, t0, t1))
        return series[t0:t1]

    def frame_numbers(self, key):
        return self.scans[key][1]


def ramp(n: int) -> np.ndarray:
    return np.stack([np.arange(n), 100 - np.arange(n)], axis=1).astype(np.float32)


def with_gap(n: int, *dropped: int) -> np.ndarray:
    return np.setdiff1d(np.arange(n), dropped)


def test_no_window_crosses_a_dropped_frame():
    numbers = with_gap(50, 12, 13, 30)
    store = Store(a=(ramp(50)[numbers], numbers, 0.8))
    bank = WindowBank(store, WindowPolicy(), frames=5)
    windows = bank.windows("a")
    assert len(windows) == 12 // 5 + 16 // 5 + 19 // 5
    for window in windows:
        seen = bank.read("a", window)[:, 0]
        assert np.array_equal(np.diff(seen), np.ones(4)), "frames of the recording follow each other"
    assert stretches(numbers) == [(0, 12), (12, 28), (28, 47)]


def test_windows_in_seconds_with_overlap():
    store = Store(a=(ramp(100), np.arange(100), 2.0))
    bank = WindowBank(store, WindowPolicy(seconds=20, stride_seconds=10), frames=999)
    windows = bank.windows("a")
    assert len(windows) == 19
    assert [bank.read("a", w)[0, 0] for w in windows[:3]] == [0, 5, 10]
    assert bank.stack("a", windows).shape == (19, 10, 2)


@pytest.mark.parametrize(("own", "wanted"), [(0.72, 0.5), (2.0, 0.735), (0.72, 0.735)])
def test_upsampling_is_linear_and_a_time_step_nearby_is_left_alone(own, wanted):
    store = Store(a=(ramp(80), np.arange(80), own))
    bank = WindowBank(store, WindowPolicy(), frames=20, tr=wanted)
    planned = bank.plan(["a"])["a"]
    step = 1.0 if abs(own - wanted) <= 0.02 else wanted / own
    for number, window in enumerate(planned):
        np.testing.assert_allclose(bank.read("a", window)[:, 0], (20 * number + np.arange(20)) * step, rtol=1e-5)
    assert len(planned) == int(79 / step + 1e-9 + 1) // 20
    assert list(bank.resampled) == ["as recorded" if step == 1 else f"{own:g} s to {wanted:g} s, linear"]


def test_downsampling_keeps_slow_waves_and_removes_those_it_cannot_hold():
    t = np.arange(400) * 0.5
    slow, fast = np.sin(2 * np.pi * 0.05 * t), np.sin(2 * np.pi * 0.45 * t)  # the new step of 2 s holds 0.25 Hz
    store = Store(a=(np.stack([slow, fast, np.full(400, 3.0)], axis=1).astype(np.float32), np.arange(400), 0.5))
    low_pass, linear = (
        WindowBank(store, WindowPolicy(resample=method), frames=40, tr=2.0) for method in ("auto", "linear")
    )
    window = low_pass.windows("a")[1]
    kept, aliased = low_pass.read("a", window), linear.read("a", window)
    np.testing.assert_allclose(kept[:, 0], np.sin(2 * np.pi * 0.05 * (80 + 2 * np.arange(40))), atol=0.02)
    assert kept[:, 1].std() < 0.02 < 0.5 < aliased[:, 1].std()
    np.testing.assert_allclose(kept[:, 2], 3.0, rtol=1e-5)
    whole = resample(store.scans["a"][0], np.arange(100) * 4.0, 4.0, True)
    np.testing.assert_allclose(kept, whole[40:80], atol=1e-5)  # read in part equals read whole


def test_a_window_reads_only_what_it_needs():
    store = Store(a=(ramp(1000), np.arange(1000), 1.0))
    bank = WindowBank(store, WindowPolicy(), frames=10, tr=2.0)
    bank.read("a", bank.windows("a")[20])
    ((_, t0, t1),) = store.reads
    assert t1 - t0 < 60


def test_short_scans_by_policy():
    numbers = with_gap(30, 8)
    scans = {"long": (ramp(60), np.arange(60), 1.0), "short": (ramp(30)[numbers], numbers, 1.0)}
    bank = WindowBank(Store(**scans), WindowPolicy(short="skip"), frames=25)
    planned = bank.plan(["long", "short"])
    assert list(planned) == ["long"]
    assert bank.describe(["long", "short"], planned)["scans_without_a_window"] == 1
    with pytest.raises(
        UserError, match=r"1 of 2 scans: no whole window: it has 25 frames \(25 s\), the longest stretch 21 "
    ):
        WindowBank(Store(**scans), WindowPolicy(short="error"), frames=25).plan(["long", "short"])
    bank = WindowBank(Store(**scans), WindowPolicy(short="pad"), frames=25)
    (window,) = bank.plan(["long", "short"])["short"]
    seen = bank.read("short", window)[:, 0]
    assert window.mirrored == 4
    assert seen.tolist() == [*range(9, 30), 28, 27, 26, 25]
    assert bank.describe(["long", "short"], bank.plan(["long", "short"]))["mirrored_windows"] == 1


def test_time_steps_that_differ_are_said():
    scans = {"a": (ramp(60), np.arange(60), 2.0), "b": (ramp(60), np.arange(60), 0.72)}
    bank = WindowBank(Store(**scans), WindowPolicy(), frames=10, tr=0.735)
    bank.plan(["a", "b"])
    assert bank.time_steps() == "time steps: 1 scan: 2 s to 0.735 s, linear; 1 scan: as recorded"
    bank = WindowBank(Store(**scans), WindowPolicy(), frames=10)
    bank.plan(["a", "b"])
    assert "1 scan: 2 s; 1 scan: 0.72 s), so 10 frames are not the same time" in bank.time_steps()
    assert WindowBank(Store(**scans), WindowPolicy(seconds=20), frames=10).time_steps() is None
    assert WindowBank(Store(a=scans["a"]), WindowPolicy(), frames=10).time_steps() is None


def test_mirroring_goes_on_as_long_as_it_must():
    assert mirrored(ramp(3)[:, :1], 8)[:, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


def test_all_scans_too_short_is_an_error_even_when_they_may_be_skipped():
    store = Store(a=(ramp(10), np.arange(10), 1.0))
    with pytest.raises(
        UserError, match=r"the longest stretch 10 frames \(10 s\): mirror them with brain\.windows\.short=pad"
    ) as caught:
        WindowBank(store, WindowPolicy(short="skip"), frames=25).plan(["a"])
    assert "short=skip" not in str(caught.value)  # it is skip already


def test_unknown_and_refused_time_steps_are_counted_together():
    store = Store(
        a=(ramp(60), np.arange(60), float("nan")),
        b=(ramp(60), np.arange(60), float("nan")),
        c=(ramp(60), np.arange(60), 2.0),
    )
    with pytest.raises(UserError) as caught:
        WindowBank(store, WindowPolicy(resample="none"), frames=20, tr=0.735).plan(["a", "b", "c"])
    assert "2 of 3 scans: the time step is unknown" in str(caught.value)
    assert "1 of 3 scans: a time step of 2 s, the encoder was trained at 0.735 s" in str(caught.value)
    with pytest.raises(UserError, match="windows in seconds"):
        WindowBank(store, WindowPolicy(seconds=10), frames=20).plan(["a"])
    assert len(WindowBank(store, WindowPolicy(), frames=20).plan(["a"])["a"]) == 3


def test_at_most_so_many_windows_spread_evenly():
    store = Store(a=(ramp(100), np.arange(100), 1.0))
    bank = WindowBank(store, WindowPolicy(most=3), frames=10)
    assert [w.start for w in bank.windows("a")] == [0, 40, 90]


def test_impossible_policies_and_lengths():
    with pytest.raises(UserError, match=r"seconds=-1.*resample=cubic.*short=drop"):
        WindowPolicy(seconds=-1, resample="cubic", short="drop")
    store = Store(a=(ramp(100), np.arange(100), 1.0))
    bank = WindowBank(store, WindowPolicy(seconds=30), 20, check=lambda n: None if n % 20 == 0 else f"{n} frames bad")
    with pytest.raises(UserError, match=r"1 of 1 scan: 30 frames bad \(.*=30 at 1 s per frame\): choose .*=20 or 40"):
        bank.plan(["a"])
