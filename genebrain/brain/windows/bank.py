"""Windows of the scans of a store, at the encoder's time step.

The same scan, policy and encoder give the same windows. Each contiguous stretch of a scan is brought to the
encoder's time step on its own. A scan without a single whole window is an error, left out, or mirrored to the
length, as the policy says, and counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.brain.windows.policy import Check, Window, WindowPolicy, mirrored, stretches
from genebrain.brain.windows.resampling import margin, resample
from genebrain.common.types import UserError
from genebrain.common.words import counted, told

AS_RECORDED = "as recorded"
TR_TOLERANCE = 0.02
"""Seconds per frame by which a scan may be off without being resampled: UK Biobank 0.735, Connectome Project 0.72."""


def another_step(own: float, wanted: float) -> str | None:
    """In words, that scans of this time step must be resampled (seconds per frame); None: they need not be."""
    if abs(own - wanted) <= TR_TOLERANCE:
        return None
    return (
        f"a time step of {own:g} s, the encoder was trained at {wanted:g} s: resample with brain.windows.resample=auto"
    )


class ReadsFrames(Protocol):
    """What this file needs of a store of parcels or volumes."""

    index: pd.DataFrame

    def read(self, scan_key: str, t0: int | None = None, t1: int | None = None) -> NDArray[Any]:
        """Frames ``[frames, ...]``."""
        ...

    def frame_numbers(self, scan_key: str) -> NDArray[np.int64]:
        """Positions of the frames in the recording ``[frames]``."""
        ...


class WindowBank:
    """The windows of the scans of a store.

    Parameters
    ----------
    store
        Of parcels or volumes.
    policy : WindowPolicy
    frames : int
        The encoder's, where the policy names no seconds.
    tr : float, optional
        Seconds per frame of the encoder; None: each scan's own.
    check : callable, optional
        Says what is wrong with windows of so many frames, or None (``WindowEncoder.check_frames``).

    Attributes
    ----------
    resampled : Counter
        Scans by what was done to their time step, in words.
    """

    def __init__(
        self,
        store: ReadsFrames,
        policy: WindowPolicy,
        frames: int,
        tr: float | None = None,
        check: Check | None = None,
    ) -> None:
        self.store, self.policy, self.frames, self.tr = store, policy, frames, tr
        self.resampled: Counter[str] = Counter()
        self._check = check
        self._own = {str(key): float(tr) for key, tr in store.index["tr"].items()}

    def windows(self, key: str) -> list[Window]:
        """All windows of a scan, in order of time; empty where there is none and the policy is not to mirror.

        Raises
        ------
        UserError
            The time step is unknown, or another one and ``resample=none``; windows of an impossible length.
        """
        ratio, _ = self._step(key)
        frames, stride = self._frames(key), self._stride(key)
        found, longest = [], Window(0, 0, 0, 0)
        for first, last in stretches(self.store.frame_numbers(key)):
            there = math.floor((last - first - 1) / ratio + 1e-9) + 1
            if there > longest.frames:
                longest = Window(first, last, 0, there)
            found += [Window(first, last, start, frames) for start in range(0, there - frames + 1, stride)]
        if not found and self.policy.short == "pad" and longest.frames > 1:
            return [Window(longest.first, longest.last, 0, frames, frames - longest.frames)]
        if self.policy.most is not None and len(found) > self.policy.most:
            chosen = np.linspace(0, len(found) - 1, self.policy.most).round().astype(int)
            found = [found[i] for i in chosen]
        return found

    def spans(self, key: str) -> tuple[int, list[Window]]:
        """Frames of a window of this scan, and every stretch of it as one long window.

        Raises
        ------
        UserError
            As :meth:`windows`.
        """
        ratio, _ = self._step(key)
        found = []
        for first, last in stretches(self.store.frame_numbers(key)):
            found.append(Window(first, last, 0, math.floor((last - first - 1) / ratio + 1e-9) + 1))
        return self._frames(key), found

    def read(self, key: str, window: Window) -> NDArray[np.float32]:
        """Frames of one window, float32 ``[frames, ...]``; only what it needs is read."""
        ratio, low_pass = self._step(key)
        real = window.frames - window.mirrored
        if ratio == 1.0:
            begin = window.first + window.start
            values = np.asarray(self.store.read(key, begin, begin + real), np.float32)
        else:
            times = (window.start + np.arange(real)) * ratio
            beyond = margin(ratio, low_pass)
            low = max(0, int(times[0]) - beyond)
            high = min(window.last - window.first, math.ceil(times[-1]) + beyond + 1)
            given = self.store.read(key, window.first + low, window.first + high)
            values = resample(given, np.clip(times - low, 0, len(given) - 1), ratio, low_pass)
        return values if window.mirrored == 0 else mirrored(values, window.frames)

    def stack(self, key: str, windows: Sequence[Window]) -> NDArray[np.float32]:
        """Several windows of one scan, ``[windows, frames, ...]``."""
        return np.stack([self.read(key, window) for window in windows])

    def plan(self, keys: Sequence[str]) -> dict[str, list[Window]]:
        """Windows of every scan, with all problems together; scans without a window are left out.

        Raises
        ------
        UserError
            Time steps that are unknown or differ, scans too short under ``short=error``, no window at all.
        """
        self.resampled.clear()
        planned: dict[str, list[Window]] = {}
        problems: Counter[str] = Counter()
        short = 0
        for key in keys:
            try:
                windows = self.windows(key)
            except UserError as error:
                problems[str(error)] += 1
                continue
            self.resampled[self._treatment(key)] += 1
            if windows:
                planned[key] = windows
            else:
                short += 1
        scans = counted(len(keys), "scan")
        if problems:
            raise UserError("; ".join(f"{n} of {scans}: {text}" for text, n in problems.most_common(5)))
        if short and (self.policy.short == "error" or not planned):
            leave = "leave them out with brain.windows.short=skip, " if planned else ""
            why = self.lack([key for key in keys if key not in planned])
            raise UserError(
                f"{short} of {scans}: {why}: {leave}mirror them with brain.windows.short=pad, "
                "or choose shorter windows with brain.windows.seconds"
            )
        return planned

    def lack(self, keys: Sequence[str]) -> str:
        """In words, why scans have no whole window: its length, and the longest stretch that any of them has."""
        longest, key = max((max((span.frames for span in self.spans(key)[1]), default=0), key) for key in keys)
        window, stretch = self._length(self._frames(key), key), self._length(longest, key)
        return f"no whole window: it has {window}, the longest stretch {stretch}"

    def describe(self, keys: Sequence[str], planned: dict[str, list[Window]]) -> dict[str, Any]:
        """Counts for a report: scans, windows, what was left out, mirrored and resampled."""
        windows = [window for listed in planned.values() for window in listed]
        without = [key for key in keys if key not in planned]
        return {
            "scans": len(keys),
            "scans_without_a_window": len(without),
            "why_without": {self.lack(without): len(without)} if without else {},
            "windows": len(windows),
            "mirrored_windows": sum(window.mirrored > 0 for window in windows),
            "frames_per_window": sorted({window.frames for window in windows}),
            "time_step_seconds": self.tr,
            "resampling": dict(self.resampled),
        }

    def time_steps(self) -> str | None:
        """What a reader must know of the time steps of the planned scans, in words; None: nothing."""
        if set(self.resampled) - {AS_RECORDED}:
            return f"time steps: {told(dict(self.resampled.most_common(5)))}"
        steps = Counter("unknown" if math.isnan(step) else f"{step:g} s" for step in self._own.values())
        if self.tr is not None or self.policy.seconds is not None:
            return None
        if set(steps) == {"unknown"}:
            return (
                f"no scan states its time step: windows are {counted(self.frames, 'frame')} each, however long that is"
            )
        if len(steps) < 2:
            return None
        listed = told(dict(steps.most_common(5)))
        return (
            f"scans have different time steps ({listed}), so {counted(self.frames, 'frame')} are not the same time in "
            "all of them: give windows in seconds (brain.windows.seconds)"
        )

    def own_step(self, key: str) -> float:
        """Seconds per frame of a scan as recorded; NaN = unknown."""
        return self._own[key]

    def ratio(self, key: str) -> float:
        """Time step of the windows of a scan, in frames as recorded."""
        return self._step(key)[0]

    def _step(self, key: str) -> tuple[float, bool]:
        """New over old time step, and whether to filter."""
        own = self._own[key]
        if self.tr is None:
            return 1.0, False
        if math.isnan(own):
            raise UserError(
                f"the time step is unknown, and the encoder was trained at {self.tr:g} s: add tr (seconds) to the "
                "scan table"
            )
        if (problem := another_step(own, self.tr)) is None:
            return 1.0, False
        if self.policy.resample == "none":
            raise UserError(problem)
        ratio = self.tr / own
        return ratio, self.policy.resample == "low_pass" or (self.policy.resample == "auto" and ratio > 1)

    def _length(self, frames: int, key: str) -> str:
        """Frames of a window of this scan, with seconds where they are known."""
        step = self.tr if self.tr is not None else self._own[key]
        return counted(frames, "frame") + ("" if math.isnan(step) else f" ({frames * step:.4g} s)")

    def _treatment(self, key: str) -> str:
        ratio, low_pass = self._step(key)
        if ratio == 1.0:
            return AS_RECORDED
        method = "low-pass, then linear weights" if low_pass else "linear"
        return f"{self._own[key]:g} s to {self.tr:g} s, {method}"

    def _seconds_per_frame(self, key: str) -> float:
        own = self.tr if self.tr is not None else self._own[key]
        if math.isnan(own):
            raise UserError("windows in seconds need a time step, and it is unknown: add tr to the scan table")
        return own

    def _frames(self, key: str) -> int:
        step = self._own[key] if self.policy.seconds is None else self._seconds_per_frame(key)
        if self._check is not None and (problem := self.policy.length_problem(step, self.frames, self._check)):
            raise UserError(problem)
        return self.policy.frames_at(step, self.frames)

    def _stride(self, key: str) -> int:
        if self.policy.stride_seconds is None:
            return self._frames(key)
        return max(1, round(self.policy.stride_seconds / self._seconds_per_frame(key)))
