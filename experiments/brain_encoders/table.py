"""Print the table of README.md from results.tsv: mean over seeds, with the range where there are several.

python experiments/brain_encoders/table.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "results.tsv"
ARMS = {
    "tangent": "tangent connectome",
    "best_reading": "best statistic of these scans, known to the simulation",
    "correlation": "correlation",
    "brainlm": "BrainLM, region x time",
    "brainlm_vit": "BrainLM, image",
    "swift": "SwiFT",
    "brainmt": "BrainMT",
}
HOW = {
    "frozen": "random, frozen",
    "connectivity": "random, frozen, **connectivity**",
    "connectivity_cohort_scaling": "random, frozen, **connectivity**, scaled by training scans",
    "pretrained": "pretrained, frozen",
    "pretrained_connectivity": "pretrained, frozen, **connectivity**",
    "full": "trained in the alignment",
    "lora": "adapters trained in the alignment",
}


def cell(values: pd.Series) -> str:
    """Mean, and the range of several."""
    text = f"{values.mean():.3f}".lstrip("0")
    if len(values) == 1:
        return text
    low, high = (f"{x:.3f}".lstrip("0") for x in (values.min(), values.max()))
    return f"{text} ({low} to {high})"


def interval(rows: pd.DataFrame) -> str:
    """Interval of a single seed; the range says more where there are several."""
    if len(rows) > 1:
        return ""
    low, high = (f"{rows[name].iloc[0]:.3f}".lstrip("0") for name in ("low", "high"))
    return f"{low} to {high}"


def main() -> None:
    """Print a table per tier and number of people."""
    results = pd.read_csv(RESULTS, sep="\t", dtype={"error": object})
    failed = results["error"].notna()
    for (tier, people), rows in results[~failed].groupby(["tier", "people"], sort=False):
        first = rows.iloc[0]
        print(
            f"\n{tier}, {people} people ({first['n_test']} tested), gallery 32, chance {first['chance']:.3f}, ceiling "
            f"{rows['ceiling'].min():.3f} to {rows['ceiling'].max():.3f}\n"
        )
        print("| brain side | weights | seeds | recall@1 | 95 % | percentile rank | permutation p | seconds |")
        print("|---|---|---|---|---|---|---|---|")
        for how in HOW:
            for arm in ARMS:
                own = rows[(rows["arm"] == arm) & (rows["how"] == how)]
                if own.empty:
                    continue
                weights = "" if arm in ("tangent", "best_reading", "correlation") else HOW[how]
                p = ", ".join(f"{value:.2g}".replace("0.", ".", 1) for value in own["p"].dropna())
                print(
                    f"| {ARMS[arm]} | {weights} | {len(own)} | {cell(own['recall@1'])} | {interval(own)} | "
                    f"{cell(own['percentile_rank'])} | {p} | {own['seconds'].median():.0f} |"
                )
    for row in results[failed].itertuples():
        print(f"\nfailed: {row.tier} {row.people} seed {row.seed} {row.arm} {row.how}: {row.error}")


if __name__ == "__main__":
    main()
