"""Figures of how a run came about: training curves and the funnel of the cohort.

Columns of a training log, or counts per step, in; matplotlib figures out, None when there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genebrain.evaluation.report.style import COLOURS, PALETTE, new_figure, pretty


def training_curves(history: Mapping[str, Sequence[float]]) -> Figure | None:
    """Losses, and retrieval on validation subjects, over epochs."""
    panels = [
        (words, {name: v for name, v in history.items() if any(key in name for key in keys)})
        for words, keys in (("loss", ("loss",)), ("validation retrieval", ("recall", "percentile", "score")))
    ]
    panels = [(words, found) for words, found in panels if found]
    if not panels:
        return None
    colours = (COLOURS["model"], *PALETTE)
    epochs = np.asarray(history["epoch"], dtype=float) if "epoch" in history else None
    figure = new_figure(3.6 * len(panels) if len(panels) > 1 else 5.0, 3.0)
    for ax, (words, found) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        for place, (name, logged) in enumerate(found.items()):
            values = np.asarray(logged, dtype=float)
            kept = np.isfinite(values)
            steps = np.arange(len(values)) if epochs is None else epochs
            ax.plot(steps[kept], values[kept], color=colours[place % len(colours)], label=pretty(name))
        ax.set(xlabel="epoch", ylabel=words)
        ax.legend(frameon=False, fontsize=7)
    return figure


def funnel_bars(funnel: Mapping[str, object]) -> Figure | None:
    """Subjects left after each step of assembling the cohort."""
    steps = [(name, value) for name, value in funnel.items() if isinstance(value, int)]
    if not steps:
        return None
    figure = new_figure(6.4, 0.9 + 0.36 * len(steps))
    ax: Axes = figure.subplots()
    most = max(value for _, value in steps)
    for place, (_, value) in enumerate(steps):
        ax.barh(place, value, color=COLOURS["model"], alpha=0.85, height=0.66)
        ax.text(value + most * 0.01, place, f"{value:,}", va="center", fontsize=8)
    ax.set_yticks(range(len(steps)), [pretty(name) for name, _ in steps])
    ax.invert_yaxis()
    ax.set(xlim=(0, most * 1.12), xticks=[])
    ax.spines["bottom"].set_visible(False)
    return figure
