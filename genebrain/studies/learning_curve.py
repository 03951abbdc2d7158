"""Figure of a score over the number of people learned from, beside chance and what the best learner would reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from genebrain.evaluation.report.figures import save
from genebrain.evaluation.report.style import new_figure

MODEL, LEARNER, CEILING = "#0072b2", "#009e73", "0.45"


def learning_curve(results: pd.DataFrame, metric: str, path: Path) -> bool:
    """Draw the curve where cells differ in their number of training people; returns whether they do.

    Parameters
    ----------
    results : DataFrame
        A row per finished cell: ``n_train``, ``seed``, ``metric`` with ``_low`` and ``_high``, ``chance_recall@1``,
        and, where it is known, ``ceiling_recall@1`` and ``learners_ceiling_recall@1``.
    """
    table = curve_table(results, metric)
    if len(table) < 2:
        return False
    page = new_figure(6.4, 4.2)
    axes = page.subplots()
    n = table["n_train"].to_numpy(dtype=float)
    axes.fill_between(n, table["low"], table["high"], color=MODEL, alpha=0.18, linewidth=0)
    axes.plot(n, table["mean"], "o-", color=MODEL, markersize=4, label="model (95 % over people)")
    if table["learner"].notna().any():
        axes.plot(n, table["learner"], "s--", color=LEARNER, markersize=4, label="best possible learner")
    if table["ceiling"].notna().any():
        axes.axhline(float(table["ceiling"].mean()), color=CEILING, linestyle="-.", linewidth=1, label="ceiling")
    axes.axhline(float(table["chance"].iloc[0]), color="0.3", linestyle=":", linewidth=1, label="chance")
    axes.set_xscale("log")
    axes.set_xticks(n, [f"{int(one):,}" for one in n])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("people learned from (train and validation)")
    axes.set_ylabel(metric)
    axes.legend(frameon=False, fontsize=8)
    save(page, path)
    return True


def curve_table(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per number of training people: means over seeds, and the mean interval over people of one test set."""
    rows = []
    for n in sorted(set(results["n_train"].astype(int))):
        cells = results[results["n_train"] == n]
        half = float((cells[f"{metric}_high"] - cells[f"{metric}_low"]).mean() / 2)
        spread = float(cells[metric].std(ddof=1)) if len(cells) > 1 else 0.0
        mean, half = float(cells[metric].mean()), max(half, 1.96 * spread)
        rows.append(
            {
                "n_train": n,
                "seeds": len(cells),
                "mean": mean,
                "low": max(0.0, mean - half),
                "high": min(1.0, mean + half),
                "chance": float(cells["chance_recall@1"].mean()),
                "ceiling": _mean(cells, "ceiling_recall@1"),
                "learner": _mean(cells, "learners_ceiling_recall@1"),
            }
        )
    return pd.DataFrame(rows)


def _mean(cells: pd.DataFrame, column: str) -> float:
    return float(cells[column].astype(float).mean()) if column in cells else float(np.nan)
