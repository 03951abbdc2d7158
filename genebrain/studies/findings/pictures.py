"""Figures of what carries the match: windows as bars, connections as a matrix and on a glass brain."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genebrain.common.types import FloatArray
from genebrain.evaluation.report.style import COLOURS, new_figure

MOST_BARS, MOST_LINES = 25, 30


def gene_bars(genes: pd.DataFrame) -> Figure:
    """Correlation of each window's part of the prediction with the scans of held-out people, with intervals."""
    shown = genes.head(MOST_BARS)
    figure = new_figure(6.4, 1.2 + 0.26 * len(shown))
    ax = figure.subplots()
    places = np.arange(len(shown))
    colours = [COLOURS["model"] if q <= 0.05 else COLOURS["baseline"] for q in shown["q"]]
    ax.barh(places, shown["r"], color=colours, height=0.65)
    ax.hlines(places, shown["low"], shown["high"], color=COLOURS["ink"], linewidth=1.1)
    ax.axvline(0, color=COLOURS["chance"], linewidth=1.2, linestyle=":")
    ax.set_yticks(places, shown["window"])
    ax.invert_yaxis()
    more = f" (first {len(shown)} of {len(genes)})" if len(genes) > len(shown) else ""
    ax.set_xlabel("correlation with the brain latents of held-out people")
    figure.suptitle(f"Windows that carry the match{more}; dark: q at most .05", fontsize=10)
    return figure


def connection_matrix(connections: pd.DataFrame, n_parcels: int) -> Figure:
    """Correlation of every connection with its prediction from the genome."""
    matrix = np.full((n_parcels, n_parcels), np.nan)
    one, two = connections["parcel_1"].to_numpy() - 1, connections["parcel_2"].to_numpy() - 1
    matrix[one, two] = matrix[two, one] = connections["r"]
    figure = new_figure(5.4, 4.6)
    ax = figure.subplots()
    most = max(float(np.nanmax(np.abs(matrix))), 1e-6)
    edges = (0.5, n_parcels + 0.5, n_parcels + 0.5, 0.5)  # parcels are numbered from 1
    drawn = ax.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest", extent=edges)
    ax.set(xlabel="parcel", ylabel="parcel")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(drawn, ax=ax, shrink=0.8, label="r of prediction and scan, held-out people")
    figure.suptitle("Connections that the genome predicts", fontsize=10)
    return figure


def glass_brain(connections: pd.DataFrame, centres: FloatArray) -> Figure:
    """The best connections between the centres of their parcels, seen through the skull."""
    from nilearn.plotting import plot_connectome

    best = connections.head(MOST_LINES)
    weights = np.zeros((len(centres), len(centres)))
    one, two = best["parcel_1"].to_numpy() - 1, best["parcel_2"].to_numpy() - 1
    weights[one, two] = weights[two, one] = best["r"]
    figure = Figure(figsize=(7.2, 3.0), facecolor="white")
    plot_connectome(
        weights, np.asarray(centres, dtype=float), figure=figure, node_size=6, node_color=COLOURS["chance"],
        edge_cmap="Blues", edge_vmin=0, edge_vmax=max(float(weights.max()), 1e-6), edge_kwargs={"linewidth": 1.5},
        colorbar=False,
    )  # fmt: skip
    return figure
