"""Figures of a run as PNG files: what was found, against chance, baselines and the ceiling.

Numbers of ``metrics.json`` (and, for the similarity matrix, embeddings of the judged) in, PNG files out. Every
recall figure prints its gallery size and chance. No subject id enters a figure; strata with few people are not
shown. Uses matplotlib without its global state, and colours of Okabe and Ito that colour-blind readers tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genebrain.common.files import replacing
from genebrain.common.types import FloatArray, IntArray, Metrics
from genebrain.evaluation.disclosure import MIN_CELL, shown_strata
from genebrain.evaluation.ranks import check_embeddings
from genebrain.evaluation.report.comparisons import colour_of
from genebrain.evaluation.report.html import png
from genebrain.evaluation.report.run_figures import funnel_bars, training_curves
from genebrain.evaluation.report.style import COLOURS, PALETTE, new_figure, pretty
from genebrain.evaluation.verdict import judged_people, number

SHOWN_SUBJECTS = 150
MOST_STRATA = 30
RECALLS = ("recall@1", "recall@5", "recall@10")


def write_figures(
    folder: Path,
    metrics: Metrics,
    *,
    gene: FloatArray | None = None,
    brain: FloatArray | None = None,
    strata: Sequence[str] | IntArray | None = None,
    curves: Mapping[str, Metrics] | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
    funnel: Mapping[str, object] | None = None,
) -> list[Path]:
    """Draw every figure whose numbers are there.

    Parameters
    ----------
    folder
        Where the PNG files go; created if missing.
    metrics
        Content of ``metrics.json``.
    gene, brain, strata
        Embeddings of the judged ``[subjects, columns]`` and labels, for the similarity matrix.
    curves
        Name -> result of `retrieval.recall_curve` ("model" and any baseline); without it recall@1/5/10 are
        drawn.
    history
        Column name -> values per epoch, NaN where not logged.
    funnel
        Step -> subjects left, in order; entries that are not counts are passed over.
    """
    split = judged_people(metrics)
    drawn: dict[str, Figure | None] = {
        "recall": recall_bars(metrics),
        "retrieval_curve": retrieval_curve(metrics, curves),
        "null": null_distribution(metrics.get("permutation"), split),
        "strata": stratum_bars(metrics.get("within_stratum"), split),
        "similarity": None if gene is None or brain is None else similarity(gene, brain, strata, split),
        "history": training_curves(history or {}),
        "funnel": funnel_bars(funnel or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [save(figure, folder / f"{name}.png") for name, figure in drawn.items() if figure is not None]


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    with replacing(path, private=False) as partial:
        partial.write_bytes(png(figure))
    return path


def recall_bars(metrics: Metrics) -> Figure:
    """Recall@1 and recall@5 of the model, each baseline and the ceiling, with intervals and chance."""
    rows = [("model", metrics["retrieval"]["mean"])]
    rows += [(name, one) for name, one in (metrics.get("baselines") or {}).items() if one]
    ceiling = metrics.get("ceiling")
    labels = [pretty(name) for name, _ in rows] + (["ceiling"] if ceiling else [])
    figure = new_figure(6.4, 1.5 + 0.42 * len(labels))
    axes: list[Axes] = list(figure.subplots(1, 2, sharey=True))
    for ax, name in zip(axes, ("recall@1", "recall@5"), strict=True):
        for place, (who, one) in enumerate(rows):
            value, (low, high) = one[name]["value"], one[name]["ci"]
            colour = COLOURS["model"] if who == "model" else COLOURS["baseline"]
            ax.barh(place, value, color=colour, height=0.62)
            ax.hlines(place, low, high, color=COLOURS["ink"], linewidth=1.2)
            ax.text(high + 0.02, place, f"{value:.2f}", va="center", fontsize=8, color=COLOURS["ink"])
        if ceiling and ceiling.get(name) is not None:
            ax.barh(
                len(rows),
                ceiling[name],
                fill=False,
                edgecolor=COLOURS["ceiling"],
                linestyle="--",
                height=0.62,
            )
            ax.text(ceiling[name] + 0.02, len(rows), f"{ceiling[name]:.2f}", va="center", fontsize=8)
        ax.axvline(metrics["chance"][name], color=COLOURS["chance"], linewidth=1.2, linestyle=":")
        ax.set(xlim=(0, 1.12), xlabel=name, xticks=[0, 0.5, 1])
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].invert_yaxis()
    figure.suptitle(_gallery_title("Recall", metrics), fontsize=10)
    return figure


def retrieval_curve(metrics: Metrics, curves: Mapping[str, Metrics] | None = None) -> Figure:
    """Recall at k against k, mean of both directions, with its interval band."""
    size = metrics["gallery_size"]
    figure = new_figure(7.0, 3.9)
    ax: Axes = figure.subplots()
    points = {"model": metrics["retrieval"]["mean"]}
    points |= {name: one for name, one in (metrics.get("baselines") or {}).items() if one}
    for name, one in points.items():
        colour = colour_of(name)
        curve = (curves or {}).get(name)
        if curve:
            k, value, low, high = (np.asarray(curve[key]) for key in ("k", "recall", "low", "high"))
        else:
            k = np.array([1, 5, 10])
            value, (low, high) = _values(one), np.array([one[r]["ci"] for r in RECALLS]).T
        ax.plot(k, value, color=colour, marker=None if curve else "o", label=pretty(name))
        if name == "model":
            ax.fill_between(k, low, high, color=colour, alpha=0.18, linewidth=0)
    ceiling = metrics.get("ceiling")
    if ceiling:
        known = [(k, ceiling[f"recall@{k}"]) for k in (1, 5, 10) if ceiling.get(f"recall@{k}") is not None]
        at, best = np.array(known, dtype=float).reshape(-1, 2).T
        ax.plot(at, best, color=COLOURS["ceiling"], linestyle="--", marker="D", label="ceiling")
    every = np.arange(1, size + 1)
    ax.plot(every, every / size, color=COLOURS["chance"], linestyle=":", label="chance")
    ax.set_xscale("log")
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500) if k < size] + [size]
    ax.set_xticks(ticks, [str(k) for k in ticks])
    ax.minorticks_off()
    ax.set(xlabel="k: match among the first k candidates", ylabel="recall@k", ylim=(0, 1.02), xlim=(1, size))
    ax.set_title(_gallery_title("Retrieval", metrics), fontsize=10)
    figure.legend(frameon=False, fontsize=8, loc="outside right center")
    return figure


def null_distribution(permutation: Metrics | None, split: str = "test") -> Figure | None:
    """Permutation nulls (free and within strata) and where the true pairing lies."""
    shown = [
        (f"null_{kind}", words, f"p_{kind}")
        for kind, words in (("free", "dealt freely"), ("stratified", "dealt within strata"))
        if permutation and permutation.get(f"null_{kind}")
    ]
    if not permutation or not shown:
        return None
    figure = new_figure(6.4, 1.2 + 1.5 * len(shown))
    panels = np.atleast_1d(figure.subplots(len(shown), 1, sharex=True))
    for ax, (key, words, p), colour in zip(panels, shown, (PALETTE[0], PALETTE[1]), strict=False):
        histogram = permutation[key]["histogram"]
        ax.stairs(histogram["counts"], histogram["edges"], fill=True, color=colour, alpha=0.75)
        ax.axvline(permutation["statistic"], color=COLOURS["model"], linewidth=2)
        ax.set_title(f"{words}: p = {number(permutation[p])}", fontsize=9, loc="left")
        ax.set(yticks=[])
        ax.spines["left"].set_visible(False)
    label = f"mean percentile rank (chance 0.5); line: the true pairing; {permutation['n']} permutations"
    figure.suptitle(f"Permutation test on {split} people", fontsize=10)
    panels[-1].set_xlabel(label)
    return figure


def stratum_bars(within: Metrics | None, split: str) -> Figure | None:
    """Percentile rank inside each stratum of at least `MIN_CELL` people."""
    table = shown_strata(within)
    if within is None or not table:
        return None
    table = table[:MOST_STRATA]
    figure = new_figure(6.4, 1.3 + 0.32 * (len(table) + 1))
    ax: Axes = figure.subplots()
    rows = [("all strata", within["mean"]["percentile_rank"])]
    rows += [(f"{one['name']} (n = {one['n']})", one["percentile_rank"]) for one in table]
    for place, (_, value) in enumerate(rows):
        low, high = value["ci"]
        ax.hlines(place, low, high, color=COLOURS["ink"], linewidth=1.3)
        ax.plot(value["value"], place, "o", color=COLOURS["model"] if place == 0 else COLOURS["baseline"])
        # Beside the axis: near 1 an interval is narrower than its point.
        ax.text(1.04, place, f"{value['value']:.3f} ({low:.3f} to {high:.3f})", va="center", fontsize=8, clip_on=False)
    ax.axvline(0.5, color=COLOURS["chance"], linestyle=":")
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.invert_yaxis()
    ax.set(xlabel=f"percentile rank among {split} people of the same stratum (chance 0.5)", xlim=(0, 1.02))
    return figure


def similarity(
    gene: FloatArray, brain: FloatArray, strata: Sequence[str] | IntArray | None = None, split: str = "test"
) -> Figure:
    """Scores of up to `SHOWN_SUBJECTS` genomes (rows) and scans (columns), standardised within each column and row.

    Within a stratum people stand in the order of the direction in which genomes differ most, so that neighbours
    resemble each other and matches lie in a band. The order knows nothing of who belongs to whom: it cannot draw a
    diagonal where there is none. People of strata below `MIN_CELL` are not drawn.
    """
    gene, brain = check_embeddings(gene, brain)
    labels = np.asarray(strata) if strata is not None else np.zeros(len(gene), dtype=int)
    _, which, size = np.unique(labels, return_inverse=True, return_counts=True)
    large = size[which] >= min(MIN_CELL, size.max())
    order = np.argsort(labels, kind="stable")
    order = order[large[order]]
    pick = order[np.unique(np.linspace(0, len(order) - 1, SHOWN_SUBJECTS).astype(int))]
    scores = _standardised(_standardised((gene[pick] @ brain[pick].T).astype(float), 0), 1)
    inside = order_to_show(scores, labels[pick])
    pick, scores = pick[inside], scores[np.ix_(inside, inside)]
    figure = new_figure(6.6, 5.4)
    ax: Axes = figure.subplots()
    image = ax.imshow(scores, cmap="RdBu_r", vmin=-3, vmax=3, interpolation="nearest")
    for edge in np.flatnonzero(labels[pick][1:] != labels[pick][:-1]) + 0.5:
        ax.axhline(edge, color=COLOURS["ink"], linewidth=0.6)
        ax.axvline(edge, color=COLOURS["ink"], linewidth=0.6)
    sorted_by = ", sorted by stratum" if strata is not None else ""
    ax.set(xlabel=f"scans{sorted_by}", ylabel=f"genomes{sorted_by}", xticks=[], yticks=[])
    ax.set_title(f"{len(pick)} of {len(gene)} {split} people; matches on the diagonal", fontsize=10)
    figure.colorbar(image, ax=ax, shrink=0.8, label="score, standardised per scan and genome")
    return figure


def order_to_show(scores: np.ndarray, labels: np.ndarray) -> IntArray:
    """Rows by stratum and, inside it, by the first left singular vector, which no pairing of the columns changes."""
    return np.lexsort((np.linalg.svd(scores)[0][:, 0], labels))


def _standardised(scores: np.ndarray, axis: int) -> np.ndarray:
    """Scores with mean 0 and spread 1 along an axis: a person whom everybody fits draws no stripe."""
    spread = scores.std(axis=axis, keepdims=True)
    return np.asarray((scores - scores.mean(axis=axis, keepdims=True)) / np.where(spread > 0, spread, 1))


def _values(metrics: Metrics) -> np.ndarray:
    return np.array([metrics[name]["value"] for name in RECALLS])


def _gallery_title(what: str, metrics: Metrics) -> str:
    size = metrics["gallery_size"]
    people = f"n = {metrics['n_subjects']} {judged_people(metrics)} people"
    return f"{what} among {size} candidates (chance recall@1 = {1 / size:.3f}), {people}"
