"""The table and the map of the study: which method wins in each cell, and by how many standard errors.

    python experiments/when_contrastive_wins/map.py

Reads ``results.tsv``; writes the table into ``README.md`` and draws ``docs/images/when_contrastive_wins.png``. Gains of
several seeds are averaged; margins are over the best method without gradients of each seed. A cell compares the best
method with training by gradient with the best one without: both are the best on the people that are judged, so that
small margins mean nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from names import APPROVED, CLOSED, WITHOUT_GRADIENT

HERE = Path(__file__).parent
PICTURE = HERE.parents[1] / "docs" / "images" / "when_contrastive_wins.png"
START, END = "<!-- table -->", "<!-- end of table -->"
CELL = ["mechanism", "people"]
CLEAR, ROUNDED = 3.0, 2e-4
"""Standard errors from which on a cell has a winner."""


def pooled(results: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of each method in each cell, with standard errors over people."""

    def error(one: pd.Series) -> float:
        return float(np.sqrt((one**2).sum()) / len(one))

    groups = results.groupby([*CELL, "method"], as_index=False)
    return groups.agg(
        seeds=("seed", "nunique"), ceiling=("ceiling", "mean"), recall=("recall@1", "mean"), error=("error", error),
        gain=("gain", "mean"), gain_error=("gain_error", error), margin=("margin", "mean"),
        margin_error=("margin_error", error),
        kept=("kept", lambda x: (x == "trained").any()),
    )  # fmt: skip


def winners(results: pd.DataFrame) -> pd.DataFrame:
    """A row per cell: the best method with gradients, the best without, their difference in standard errors."""
    rows = []
    for (mechanism, people), cell in pooled(results).groupby(CELL):
        plain, refused = cell["method"].isin(WITHOUT_GRADIENT), cell["method"].isin(APPROVED) & ~cell["kept"]
        other = cell[plain].loc[cell[plain]["gain"].idxmax()]
        facts = {"mechanism": mechanism, "people": people, "without": other["method"], "ceiling": other["ceiling"]}
        if (trained := cell[~plain & ~refused]).empty:
            rows.append({**facts, "with": "", "margin": 0.0, "errors": np.nan, "recall": other["recall"]})
            continue
        best = trained.loc[trained["gain"].idxmax()]
        margin, error = best["margin"], best["margin_error"]
        if best["recall"] - margin < other["recall"] - ROUNDED:  # the best without was run apart: no paired differences
            margin, error = best["recall"] - other["recall"], float(np.hypot(best["error"], other["error"]))
        rows.append(
            {**facts, "with": best["method"], "margin": margin, "errors": margin / error,
             "recall": max(best["recall"], other["recall"])}
        )  # fmt: skip
    return pd.DataFrame(rows)


def winner_in_words(row: pd.Series) -> str:
    """The winner of a cell, with its margin."""
    if np.isnan(row["errors"]):
        return f"{row['without']} (no training approved)"
    if abs(row["errors"]) < CLEAR:
        return f"tie ({row['margin']:+.3f}, {row['errors']:+.1f} SE)"
    name = row["with"] if row["errors"] > 0 else row["without"]
    return f"{name} ({abs(row['margin']):.3f}, {abs(row['errors']):.1f} SE)"


def entry(row: pd.Series, best: float) -> str:
    """Recall of a method in a cell; bold: the best; star: clearly above the closed form; brackets: not approved."""
    text = f"{row['recall']:.2f}"
    if row["method"] in APPROVED and not row["kept"]:
        return f"({text})"
    if row["method"] != CLOSED and row["gain"] > CLEAR * row["gain_error"]:
        text += "*"
    return f"**{text}**" if row["recall"] >= best - ROUNDED else text


def table(results: pd.DataFrame) -> str:
    """Methods in rows, mechanisms in columns, one part for each number of people."""
    found = pooled(results)
    lines = []
    for people, part in found.groupby("people"):
        names = sorted(part["mechanism"].unique())
        lines += [f"{people:,} people to learn from:", ""]
        lines += [f"| method | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        bound = part.groupby("mechanism")["ceiling"].max()
        lines.append(f"| *bound* | {' | '.join(f'*{bound[name]:.2f}*' for name in names)} |")
        refused = part["method"].isin(APPROVED) & ~part["kept"]
        best = part[~refused].groupby("mechanism")["recall"].max()
        plain = [one for one in WITHOUT_GRADIENT if one in set(part["method"])]
        trained = sorted(set(part["method"]) - set(plain))
        for method in [*plain, "", *trained]:
            if not method:
                lines.append(f"| *with gradients:* |{' |' * len(names)}")
                continue
            rows = {row["mechanism"]: row for _, row in part[part["method"] == method].iterrows()}
            cells = [entry(rows[name], best[name]) if name in rows else "" for name in names]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def draw(cells: pd.DataFrame, place: Path) -> None:
    """The map: best method with gradients against the best without, in standard errors."""
    names, people = sorted(cells["mechanism"].unique()), sorted(cells["people"].unique())
    values, shown = np.full((len(names), len(people)), np.nan), np.zeros((len(names), len(people)), bool)
    figure = Figure(figsize=(3.0 * len(people) + 2.8, 0.7 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots()
    for row in cells.to_dict("records"):
        i, j = names.index(row["mechanism"]), people.index(row["people"])
        values[i, j], shown[i, j] = row["errors"], True
        words = winner_in_words(row).replace(" (", "\n(")
        text = f"{words}\nrecall@1 {row['recall']:.2f} of {row['ceiling']:.2f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=8)
    image = axes.imshow(np.clip(values, -10, 10), cmap="PuOr_r", vmin=-24, vmax=24, aspect="auto")
    axes.set_xticks(range(len(people)), [f"{n:,} people to learn from" for n in people])
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(np.arange(1, len(people)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(names)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=3)
    axes.tick_params(which="minor", length=0)
    for i, j in zip(*np.nonzero(~shown), strict=True):
        axes.text(j, i, "not run", ha="center", va="center", fontsize=8, color="0.6")
    bar = figure.colorbar(
        image, ax=axes, label="best with gradients minus best without,\nin standard errors (cut at 10)"
    )
    bar.ax.set_ylim(-10, 10)
    FigureCanvasAgg(figure)
    place.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(place, dpi=110)


def main(results: Path = HERE / "results.tsv", readme: Path = HERE / "README.md", picture: Path = PICTURE) -> None:
    """Write the table and draw the map."""
    found = pd.read_csv(results, sep="\t")
    cells = winners(found)
    draw(cells, picture)
    text = readme.read_text()
    before, after = text[: text.index(START)], text[text.index(END) :]
    lines = [f"| {r['mechanism']}, {r['people']} | {winner_in_words(r)} |" for _, r in cells.iterrows()]
    short = "\n".join(["| mechanism, people | winner (margin over the best of the other kind) |", "|---|---|", *lines])
    readme.write_text(f"{before}{START}\n{short}\n\n{table(found)}\n{after}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
