"""Windows of a scan: how scans may be cut, and where a recording has no gaps.

:class:`WindowPolicy` names length, stride, time step and what becomes of short scans; :func:`stretches` are the
pieces between dropped frames, which no window crosses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError

Check = Callable[[int], str | None]
"""What is wrong with windows of so many frames for an encoder, in words; None: nothing."""
METHODS = ("auto", "linear", "low_pass", "none")


@dataclass(frozen=True)
class WindowPolicy:
    """How scans are cut.

    Attributes
    ----------
    seconds
        Length of a window; None: the frames that the encoder was made for.
    stride_seconds
        Between the starts of two windows; None: the length, so that they do not overlap.
    resample
        To the encoder's time step: auto (linear, behind a low-pass where frames are left out), linear, low_pass, or
        none (refuse other time steps).
    short
        Scans without a whole window: skip (counted), error, or pad (the longest stretch mirrored at its ends).
    most
        Windows per scan at most, spread evenly; None: all.
    """

    seconds: float | None = None
    stride_seconds: float | None = None
    resample: Literal["auto", "linear", "low_pass", "none"] = "auto"
    short: Literal["error", "skip", "pad"] = "skip"
    most: int | None = None

    def __post_init__(self) -> None:
        problems = [
            f"{key}={value} must be above 0"
            for key, value in (("seconds", self.seconds), ("stride_seconds", self.stride_seconds), ("most", self.most))
            if value is not None and not value > 0
        ]
        if self.resample not in METHODS:
            problems.append(f"resample={self.resample} is none of {', '.join(METHODS)}")
        if self.short not in ("error", "skip", "pad"):
            problems.append(f"short={self.short} is none of error, skip, pad")
        if problems:
            raise UserError("windows: " + "; ".join(problems))

    @property
    def in_seconds(self) -> bool:
        """Whether the time between two frames must be known to cut a scan."""
        return self.seconds is not None or self.stride_seconds is not None

    def frames_at(self, step: float, frames: int) -> int:
        """Frames of a window at ``step`` seconds per frame; those of the encoder where no seconds are named."""
        return frames if self.seconds is None else max(1, round(self.seconds / step))

    def length_problem(self, step: float, frames: int, check: Check) -> str | None:
        """What is wrong with the length of windows at ``step`` seconds per frame, and which seconds would do."""
        frames = self.frames_at(step, frames)
        problem = check(frames)
        if problem is None or self.seconds is None:
            return problem
        problem += f" (brain.windows.seconds={self.seconds:g} at {step:g} s per frame)"
        if near := _nearest(frames, check):
            problem += f": choose brain.windows.seconds={' or '.join(f'{n * step:.6g}' for n in near)}"
        return problem


def _nearest(frames: int, check: Check) -> list[int]:
    """Numbers of frames that the encoder takes: the next one below, and the next one above if it is near."""
    ranges = range(frames - 1, 0, -1), range(frames + 1, 2 * frames + 1)
    found = [next((n for n in numbers if check(n) is None), None) for numbers in ranges]
    return [n for n in found if n is not None]


@dataclass(frozen=True)
class Window:
    """One window: ``frames`` frames from ``start`` on, in steps of the encoder after frame ``first`` of the store.

    ``first`` and ``last`` (not included) bound the contiguous stretch that it lies in. ``mirrored`` frames are repeats.
    """

    first: int
    last: int
    start: int
    frames: int
    mirrored: int = 0


def stretches(frame_numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Contiguous stretches ``[first, last)`` of stored frames; dropped frames lie between two of them."""
    if not len(frame_numbers):
        return []
    cuts = np.flatnonzero(np.diff(frame_numbers) != 1) + 1
    edges = [0, *cuts.tolist(), len(frame_numbers)]
    return list(pairwise(edges))


def mirrored(values: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Values ``[n, ...]`` mirrored at their end until there are ``frames``, n at least 2."""
    n = len(values)
    there = np.arange(frames) % (2 * n - 2)
    return values[np.where(there < n, there, 2 * n - 2 - there)]
