"""Figures of the quality report: distributions, slices through the head, carpets.

Numbers of :class:`~genebrain.brain.quality.numbers.ScanQuality` in, matplotlib figures out, None where there is
nothing to draw. No ids enter a figure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genebrain.brain.quality.numbers import Carpet, ScanQuality
from genebrain.common.types import FloatArray
from genebrain.evaluation.report.style import COLOURS, PALETTE, new_figure

LARGE_FD = 0.5
SHORT_MINUTES = 4.0
VIEWS = ("from the left", "from the front", "from the top")


def figures(quality: ScanQuality) -> dict[str, Figure]:
    """Every figure whose numbers are there, by name."""
    drawn = {
        "motion": motion(quality),
        "length": length(quality),
        "coverage": head(quality, quality.coverage, "coverage"),
        "level": head(quality, quality.level, "level"),
        "parcels": parcels(quality),
        "carpets": carpets(quality.carpets),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def motion(quality: ScanQuality) -> Figure | None:
    """Mean framewise displacement per scan, and the share of frames above 0.5 mm."""
    scans = quality.scans[quality.scans.mean_fd.notna()]
    if scans.empty:
        return None
    figure = new_figure(7.6, 2.7)
    left, right = figure.subplots(1, 2)
    _histogram(left, scans.mean_fd.to_numpy(), "mean framewise displacement, mm", floor=0.6)
    _limit(left, LARGE_FD, "0.5 mm")
    _histogram(right, 100 * scans.moved.to_numpy(), "frames above 0.5 mm, %", floor=5.0)
    return figure


def length(quality: ScanQuality) -> Figure:
    """Length of the stored scans, and the share of each recording that was dropped."""
    scans = quality.scans
    figure = new_figure(7.6, 2.7)
    left, right = figure.subplots(1, 2)
    if scans.tr.notna().all():
        minutes = (scans.n_frames * scans.tr / 60).to_numpy(float)
        _histogram(left, minutes, "length used, minutes", floor=5.0)
        _limit(left, SHORT_MINUTES, "4 minutes")
    else:
        _histogram(left, scans.n_frames.to_numpy(float), "length used, frames", floor=10.0)
    lost = 100 * (1 - scans.n_frames / scans.recorded).to_numpy(float)
    _histogram(right, lost, "frames dropped, % of the recording", floor=5.0)
    return figure


def head(quality: ScanQuality, values: FloatArray, what: str) -> Figure | None:
    """Three slices and their colour bar; of parcels, painted on the atlas."""
    if quality.kind == "parcels":
        if quality.labels is None:
            return None
        image = np.concatenate([[np.nan], values])[quality.labels]
    else:
        image = np.where(quality.coverage > 0, values, np.nan)
    there = np.argwhere(np.isfinite(image))
    if not len(there):
        return None
    low, high = there.min(axis=0), there.max(axis=0) + 1
    image = image[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    planes = [image.shape[axis] // 2 for axis in range(3)]
    figure = new_figure(7.6, 2.6)
    axes = figure.subplots(1, 3)
    finite = image[np.isfinite(image)]
    limits = (0.0, 1.0) if what == "coverage" else tuple(np.quantile(finite, [0.01, 0.99]))
    colours = "viridis" if what == "coverage" else "inferno" if quality.kind == "parcels" else "gray"
    shown: Any = None
    for axis, ax, view in zip(range(3), axes, VIEWS, strict=True):
        plane = np.take(image, planes[axis], axis=axis)
        shown = ax.imshow(
            plane.T, origin="lower", cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest"
        )
        ax.set_axis_off()
        ax.set_title(view, fontsize=8, color=COLOURS["chance"])
    label = {
        ("parcels", "coverage"): "share of scans",
        ("volumes", "coverage"): "share of scans",
        ("parcels", "level"): "sd, in scan rms",
        ("volumes", "level"): "mean, stored units",
    }[quality.kind, what]
    bar = figure.colorbar(shown, ax=axes, shrink=0.85, pad=0.02)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_frame_on(False)
    return figure


def parcels(quality: ScanQuality) -> Figure | None:
    """Share of scans in which each parcel is usable, and how strongly it fluctuates, in the order of the columns."""
    if quality.kind != "parcels":
        return None
    figure = new_figure(7.6, 2.9)
    top, bottom = figure.subplots(2, 1, sharex=True)
    position = np.arange(1, len(quality.coverage) + 1)
    # Bars from 100 % downwards: what is missing is what is looked for.
    missing = 100 * (1 - quality.coverage)
    top.bar(position, missing, width=1.0, color=PALETTE[4])
    top.set_ylim(0, max(5.0, 1.1 * missing.max()))
    top.set_ylabel("missing in\n% of scans", fontsize=8)
    bottom.bar(position, quality.level, width=1.0, color=COLOURS["model"], alpha=0.8)
    bottom.set_ylabel("sd, in\nscan rms", fontsize=8)
    bottom.set_xlabel("parcel (column)")
    bottom.set_xlim(0.5, len(position) + 0.5)
    return figure


def carpets(shown: list[Carpet]) -> Figure | None:
    """One row per scan: motion of every frame above the grey carpet."""
    if not shown:
        return None
    figure = new_figure(7.6, 2.4 * len(shown) + 0.3)
    parts = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    for part, carpet in zip(parts, shown, strict=True):
        traced = carpet.displacement is not None
        axes = part.subplots(2, 1, sharex=True, height_ratios=[1, 3]) if traced else [None, part.subplots()]
        n = carpet.values.shape[1]
        unit, last = ("minutes", carpet.seconds / 60) if np.isfinite(carpet.seconds) else ("frame", float(n))
        if carpet.displacement is not None:
            times = (np.arange(n) + 0.5) * last / n
            axes[0].fill_between(times, np.nan_to_num(carpet.displacement), color=PALETTE[4], alpha=0.8, lw=0)
            axes[0].axhline(LARGE_FD, color=COLOURS["chance"], lw=0.6, ls="--")
            axes[0].set_ylim(0, max(0.8, 1.05 * float(np.nanmax(carpet.displacement))))
            axes[0].set_ylabel("FD, mm", fontsize=8)
            axes[0].spines[["top", "right"]].set_visible(False)
            axes[0].tick_params(labelsize=7)
        ax = axes[1]
        ax.set_facecolor("#f3d9cc")  # dropped frames
        ax.imshow(
            np.ma.masked_invalid(carpet.values), aspect="auto", cmap="gray", vmin=-2, vmax=2, interpolation="nearest",
            extent=(0, last, len(carpet.values), 0),
        )  # fmt: skip
        ax.set_yticks([])
        ax.set_ylabel(f"{len(carpet.values)} rows", fontsize=8)
        ax.tick_params(labelsize=7)
        ax.set_xlabel(unit, fontsize=8)
        (axes[0] or ax).set_title(carpet.name, fontsize=9, loc="left")
    return figure


def _limit(axes: Axes, at: float, words: str) -> None:
    """A line with its value."""
    axes.axvline(at, color=PALETTE[4], lw=1, ls="--")
    axes.annotate(
        words, (at, 0.97), xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points",
        fontsize=8, color=PALETTE[4], va="top",
    )  # fmt: skip


def _histogram(ax: Axes, values: FloatArray, label: str, floor: float) -> None:
    """Counts of scans; the axis starts at 0 and reaches at least ``floor``."""
    top = max(floor, float(values.max()) * 1.02)
    ax.hist(values, bins=30, range=(0, top), color=COLOURS["model"], alpha=0.85)
    ax.set_xlim(0, top)
    ax.set_ylim(0, ax.get_ylim()[1] * 1.15)  # room for words above the bars
    ax.set_xlabel(label)
    ax.set_ylabel("scans")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
