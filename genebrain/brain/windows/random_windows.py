"""Windows that start anywhere in a scan, drawn anew for every look at it; pairs of them do not overlap.

A generator decides, so equal generators draw equal windows; no window crosses a dropped frame, and all are at the
encoder's time step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.windows.bank import WindowBank
from genebrain.brain.windows.policy import Window

Starts = NDArray[np.int64]


class RandomWindows:
    """Draws windows of the scans of a bank.

    Parameters
    ----------
    bank : WindowBank
        Its policy gives length and time step; its strides have no meaning here.
    clips : {1, 2}
        Windows per look: one, or two of one scan that share no frame.
    """

    def __init__(self, bank: WindowBank, clips: int = 1) -> None:
        if clips not in (1, 2):
            raise ValueError(f"one or two windows can be drawn at a time, not {clips}")
        self.bank, self.clips = bank, clips
        self._known: dict[str, tuple[int, list[Window], Starts]] = {}

    def possible(self, key: str) -> bool:
        """Whether the scan is long enough for a look."""
        return bool(len(self._starts(key)[2]))

    def draw(self, key: str, rng: np.random.Generator) -> NDArray[np.float32]:
        """One look at a scan, float32 ``[clips, frames, ...]``.

        Raises
        ------
        ValueError
            The scan is too short (see :meth:`possible`).
        """
        frames, spans, starts = self._starts(key)
        if not len(starts):
            raise ValueError(f"scan {key} has no room for {self.clips} window(s) of {frames} frames")
        span, start = starts[rng.integers(len(starts))]
        chosen = [(span, start)]
        if self.clips == 2:
            everywhere = _all_starts(frames, spans)
            apart = (everywhere[:, 0] != span) | (np.abs(everywhere[:, 1] - start) >= frames)
            others = everywhere[apart]
            chosen.append(tuple(others[rng.integers(len(others))]))
        return self.bank.stack(key, [self._window(spans[i], int(begin), frames) for i, begin in chosen])

    def _window(self, span: Window, start: int, frames: int) -> Window:
        mirrored = max(0, frames - span.frames)
        return Window(span.first, span.last, start, frames, mirrored)

    def _starts(self, key: str) -> tuple[int, list[Window], Starts]:
        """Length of a window, stretches, and (stretch, start) of every first window that leaves room for the rest."""
        if key not in self._known:
            frames, spans = self.bank.spans(key)
            starts = _all_starts(frames, spans)
            if self.clips == 2:
                elsewhere = len(np.unique(starts[:, 0])) > 1
                rooms = np.array([span.frames for span in spans])[starts[:, 0]] if len(starts) else starts[:, 0]
                alone = (starts[:, 1] < frames) & (starts[:, 1] + 2 * frames > rooms)
                starts = starts[elsewhere | ~alone]
            elif not len(starts) and self.bank.policy.short == "pad" and spans:
                longest = int(np.argmax([span.frames for span in spans]))
                if spans[longest].frames > 1:
                    starts = np.array([[longest, 0]])
            self._known[key] = frames, spans, starts
        return self._known[key]


def _all_starts(frames: int, spans: list[Window]) -> Starts:
    """(stretch, start) of every window that fits, int ``[starts, 2]``."""
    parts = [
        np.column_stack([np.full(span.frames - frames + 1, i), np.arange(span.frames - frames + 1)])
        for i, span in enumerate(spans)
        if span.frames >= frames
    ]
    return np.concatenate(parts) if parts else np.empty((0, 2), np.int64)
