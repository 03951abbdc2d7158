"""Arms of a grid against a reference, paired by seed.

Splits of different seeds overlap, so their differences are not independent and an ordinary paired t-test calls
too much significant; the corrected resampled t-test (Nadeau & Bengio, Machine Learning 52:239, 2003) widens the
variance by test people over training people. p-values are corrected over the grid with Holm's method.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from genebrain.evaluation.report.figures import save
from genebrain.evaluation.report.style import new_figure


def compare(results: pd.DataFrame, reference: str, metric: str) -> pd.DataFrame:
    """Summarise each arm and test it against the reference.

    Parameters
    ----------
    results : DataFrame
        A row per finished cell: ``arm``, ``seed``, ``metric`` with ``_low`` and ``_high``, ``n_train``, ``n_test``.

    Returns
    -------
    DataFrame
        ``arm``, ``seeds``, ``mean``, ``low``, ``high`` (95 %, the wider of seeds and people), ``difference`` to the
        reference on the shared seeds, ``p`` and ``p_holm`` (empty for the reference and where fewer than two seeds
        are shared).
    """
    if reference not in set(results["arm"]):
        raise ValueError(f"no finished cell of the reference arm '{reference}'")
    wide = results.pivot(index="seed", columns="arm", values=metric)
    overlap = float((results["n_test"] / results["n_train"]).mean())
    rows = []
    for arm in dict.fromkeys(results["arm"]):
        values = wide[arm].dropna().to_numpy()
        cells = results[results["arm"] == arm]
        of_people = float((cells[f"{metric}_high"] - cells[f"{metric}_low"]).mean() / 2)
        # Few seeds agree by luck: the interval is never narrower than that of the people of one test set.
        half = np.nanmax([_half_width(values, overlap), of_people])
        row = {"arm": arm, "seeds": len(values), "mean": values.mean(), "low": values.mean() - half,
               "high": values.mean() + half, "difference": np.nan, "p": np.nan}  # fmt: skip
        if arm != reference:
            differences = (wide[arm] - wide[reference]).dropna().to_numpy()
            row["difference"] = differences.mean() if len(differences) else np.nan
            row["p"] = _p_value(differences, overlap)
        rows.append(row)
    table = pd.DataFrame(rows)
    table["p_holm"] = np.nan
    tested = table["p"].notna()
    if tested.any():
        table.loc[tested, "p_holm"] = multipletests(table.loc[tested, "p"], method="holm")[1]
    table.attrs |= {"reference": reference, "metric": metric}
    return table


def markdown(table: pd.DataFrame, gallery_size: int, bounds: Mapping[str, float] | None = None) -> str:
    """The table as text to read; ``bounds`` are what could be reached at best, by name."""
    lines = [
        f"{table.attrs['metric']} among {gallery_size} candidates (chance {1 / gallery_size:.3f}); differences to "
        f"'{table.attrs['reference']}', corrected resampled t-test over seeds, Holm over arms",
        "",
        "| arm | seeds | mean (95 %) | difference | p (Holm) |",
        "|---|---|---|---|---|",
    ]
    numbers = table[["mean", "low", "high", "difference", "p", "p_holm"]].to_numpy(dtype=np.float64)
    for arm, seeds, (mean, low, high, difference, p, p_holm) in zip(table["arm"], table["seeds"], numbers, strict=True):
        # Every metric here is a rate; two seeds give intervals of their mean that know nothing of that.
        interval = f" ({max(low, 0):.3f} to {min(high, 1):.3f})" if np.isfinite(low) else ""
        change = f"{difference:+.3f}" if np.isfinite(difference) else "reference"
        tested = f"{p:.3f} ({p_holm:.3f})" if np.isfinite(p) else ""
        lines.append(f"| {arm} | {seeds} | {mean:.3f}{interval} | {change} | {tested} |")
    reference = float(table.loc[table["arm"] == table.attrs["reference"], "mean"].iloc[0])
    for name, value in (bounds or {}).items():
        lines.append(f"| {name} | | {value:.3f} | {value - reference:+.3f} | |")
    return "\n".join(lines) + "\n"


def figure(table: pd.DataFrame, gallery_size: int, path: Path) -> None:
    """One dot with interval per arm, and the chance line."""
    page = new_figure(7.2, 1.4 + 0.34 * len(table))
    axes = page.subplots()
    places = np.arange(len(table))
    low = table["low"].fillna(table["mean"]).to_numpy()
    high = table["high"].fillna(table["mean"]).to_numpy()
    axes.hlines(places, np.clip(low, 0, 1), np.clip(high, 0, 1), color="0.55", linewidth=1.6)
    is_reference = (table["arm"] == table.attrs["reference"]).to_numpy()
    axes.scatter(table["mean"], places, c=np.where(is_reference, "#d55e00", "#0072b2"), zorder=3, s=28)
    axes.axvline(1 / gallery_size, color="0.3", linestyle=":", linewidth=1)
    axes.set_yticks(places, table["arm"])
    axes.invert_yaxis()
    axes.set_xlim(0, min(1.0, float(np.nanmax(high)) * 1.15))
    axes.set_xlabel(f"{table.attrs['metric']} among {gallery_size} candidates (dotted: chance; orange: reference)")
    save(page, path)


def _variance_of_mean(values: np.ndarray, overlap: float) -> float:
    return float(values.var(ddof=1) * (1 / len(values) + overlap))


def _half_width(values: np.ndarray, overlap: float) -> float:
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * np.sqrt(_variance_of_mean(values, overlap)))


def _p_value(differences: np.ndarray, overlap: float) -> float:
    """Two-sided corrected resampled t-test; equal arms give 1."""
    if len(differences) < 2:
        return float("nan")
    variance = _variance_of_mean(differences, overlap)
    if variance == 0:
        return 1.0 if differences.mean() == 0 else 0.0
    return float(2 * stats.t.sf(abs(differences.mean()) / np.sqrt(variance), len(differences) - 1))
