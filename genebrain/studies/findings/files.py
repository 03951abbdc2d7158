"""Tables and figures of what carries the match: ``findings/genes.tsv`` and ``findings/connections.tsv`` of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genebrain.alignment.closed_form.fit import ClosedForm
from genebrain.brain.connectome.stored_moments import ManyScans
from genebrain.brain.parcels.centres import known_centres
from genebrain.common.files import replacing
from genebrain.common.private_table import harmless
from genebrain.common.types import FloatArray, IntArray, Metrics
from genebrain.evaluation.report.figures import save
from genebrain.evaluation.report.style import COLOURS, new_figure
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.people import Subjects
from genebrain.sides.scans import BrainSide
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.sides.workspace import Workspace
from genebrain.studies.findings.connections import connection_findings
from genebrain.studies.findings.genes import gene_findings, windows_of_columns
from genebrain.studies.findings.words import found_words, word_findings

MOST_BARS, MOST_LINES = 25, 30

SHOWN = 10
"""Rows of a table that ``metrics.json`` and the report show."""
FOUND = 0.05
"""Largest share of false findings among those that are called found."""


def write_findings(
    folder: Path,
    figures: Path,
    closed: ClosedForm,
    subjects: Subjects,
    columns: FloatArray,
    workspace: Workspace,
    genetics: GenomeSide,
    brain: BrainSide,
    training: IntArray,
    rows: IntArray,
    *,
    n: int,
) -> Metrics | None:
    """Test windows and connections on the judged people; None where the closed form found nothing shared.

    Parameters
    ----------
    folder, figures : Path
        Where the tables, and the pictures, go.
    columns : float array [judged people, columns]
        Their gene columns.
    training, rows : int arrays
        People that the model was fitted on, and people who are judged.
    n : int
        Deals and draws of the tests.

    Returns
    -------
    dict
        For ``metrics.json``, under ``genes``, ``connections`` and, of a model that reads words, ``words``: the first
        rows of each table, and how many rows are found with a false discovery rate of 5 %. Connections are None where
        the scans were read by an encoder or came as vectors.
    """
    if closed.calibration.slope <= 0 or not closed.coefficients.size:
        return None
    features = subjects.brain[closed.chosen["brain"]]
    observed, families = closed.observed_latents(features[rows]), subjects.family[rows]
    n_windows, window = windows_of_columns(closed, subjects.blocks)
    names = workspace.window_names(genetics, n_windows) + ["all windows"] * bool((window == n_windows).any())
    genes = gene_findings(closed, columns, observed, names, families, window=window, n=n)
    folder.mkdir(parents=True, exist_ok=True)
    figures.mkdir(parents=True, exist_ok=True)
    _write(genes, folder / "genes.tsv")
    save(gene_bars(genes), figures / "genes.png")
    found: Metrics = {"model": "closed form", "genes": _told(genes), "connections": None}
    words = _words(closed, columns, observed, families, workspace, genetics, rows, n)
    if words is not None:
        _write(words, folder / "words.tsv")
        found["words"] = _told(words)
    connections = _connections(closed, features, columns, workspace, brain, training, rows, len(np.unique(families)))
    if connections is not None:
        _write(connections, folder / "connections.tsv")
        found["connections"] = _told(connections)
        if len(connections):
            cohort, n_parcels = workspace.cohort, int(connections["parcel_2"].max())
            save(connection_matrix(connections, n_parcels), figures / "connections.png")
            centres = known_centres(n_parcels, cohort.parcel_coordinates, cohort.atlas)
            if centres is not None and len(centres) == n_parcels:
                save(glass_brain(connections, centres), figures / "glass_brain.png")
    return found


def _connections(
    closed: ClosedForm,
    features: FloatArray,
    columns: FloatArray,
    workspace: Workspace,
    brain: BrainSide,
    training: IntArray,
    rows: IntArray,
    n_families: int,
) -> pd.DataFrame | None:
    inputs = workspace.brain_inputs(brain, training) if isinstance(brain, ConnectomeSide) else None
    parts: Iterable[tuple[IntArray, FloatArray]]
    if isinstance(inputs, ManyScans):  # of a large cohort training people whom features are fitted on are enough
        training = workspace.learners(brain, training)
        parts = inputs.covariances(np.concatenate([training, rows]))
    elif (covariances := getattr(inputs, "C0", None)) is not None:
        parts = [(np.arange(len(covariances)), covariances)]
    else:  # an estimator of the user reads the series
        return None
    observed, predicted = closed.observed_latents(features[training]), closed.predicted_latents(columns)
    return connection_findings(parts, training, rows, observed, predicted, n_families)


def _words(
    closed: ClosedForm,
    columns: FloatArray,
    observed: FloatArray,
    families: IntArray,
    workspace: Workspace,
    genetics: GenomeSide,
    rows: IntArray,
    n: int,
) -> pd.DataFrame | None:
    if found_words(closed) is None or isinstance(genetics, VectorGenes):
        return None
    chunks, windows = workspace.chunks(genetics), read_windows(workspace.cohort.windows)
    own = replace(chunks, index=chunks.index[rows])
    return word_findings(
        closed, columns, observed, families, own, windows, genetics.chunk_bp, genetics.cut_origin, n=n
    )  # fmt: skip


def _told(table: pd.DataFrame) -> dict[str, Any]:
    first = table.head(SHOWN).to_dict("records")
    rows = [{str(k): v if isinstance(v, str | int) else float(v) for k, v in row.items()} for row in first]
    return {"n": len(table), "found": int((table["q"] <= FOUND).sum()) if len(table) else 0, "first": rows}


def _write(table: pd.DataFrame, path: Path) -> None:
    with replacing(path, private=False) as partial:
        harmless(table).to_csv(partial, sep="\t", index=False, float_format="%.6g")


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
