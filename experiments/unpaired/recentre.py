"""Scans of another scanner as unpaired people: as they are, moved to the mean of the pairs, and scaled to their spread.

Prints one line per arm: recall@1 and percentile rank of the same test people, with 95 % intervals.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import genebrain
from genebrain import tasks
from genebrain.brain.connectome.base import needed
from genebrain.sides.workspace import Workspace
from genebrain.simulation.second_settings import SecondCohort

SIDE = genebrain.ConnectomeSide("innovation", components=("all",))
CLOSED = genebrain.AlignmentSettings(train="none")
OTHER = "noise .5, gain 3"


def one_seed(out: Path, seed: int, pairs: int, unpaired: int) -> None:
    """Simulate a cohort and two of scans alone, and fit every arm on the exported features."""
    cohort = tasks.simulate(out / "A", tier="hard", n_subjects=pairs, seed=seed, n_frames=250)
    second = {"n_subjects": unpaired, "like": cohort}
    others = {
        "same scanner": tasks.simulate(out / "B", seed=seed + 500, **second),
        OTHER: tasks.simulate(out / "C", seed=seed + 900, second=SecondCohort(noise=0.5, gain=3.0), **second),
    }
    run = genebrain.load_run(genebrain.fit(cohort, brain=SIDE, run=out / "run", alignment=CLOSED, progress=False))
    genes = tasks.export(run.path, out / "vectors", features=True, progress=False) / "genome_features.parquet"
    training, ids = run.split.training, run.ids("all")
    features, values = run.workspace.brain_features(SIDE, training)
    (name, feature), own = next(iter(features.items())), pd.DataFrame(next(iter(values.values())), index=ids)
    arms = {"pairs alone": own}
    for where, path in others.items():
        people = Workspace(path, progress=False)
        scans = feature.transform(*needed(feature, people.brain_inputs(SIDE, np.empty(0, np.int64))))
        more = pd.DataFrame(scans, index=[f"x{one}" for one in people.cohort.table["participant_id"]])
        arms[where] = pd.concat([own, more])
        if where == OTHER:
            spread = own.iloc[training].std() / more.std().clip(lower=1e-9)
            mean, centred = own.iloc[training].mean(), more - more.mean()
            arms |= {f"{where}, re-centred": pd.concat([own, centred + mean])}
            arms |= {f"{where}, re-centred and scaled": pd.concat([own, centred * spread + mean])}
    listed = pd.read_csv(cohort.parent / "participants.tsv", sep="\t", dtype=str).set_index("participant_id")
    for arm, (what, table) in enumerate(arms.items()):
        families = listed[["family_id"]].reindex(table.index)
        families["family_id"] = families["family_id"].fillna(pd.Series(table.index, index=table.index))
        side = genebrain.VectorBrain(unpaired=len(table) > len(own))
        fitted = genebrain.fit(
            genes=genes, brains=table.add_prefix("b"), participants=families, brain=side, run=out / f"arm{arm}",
            alignment=CLOSED, progress=False,
        )  # fmt: skip
        mean = genebrain.evaluate(fitted, comparisons=(), findings=False, progress=False)["retrieval"]["mean"]
        shown = {
            k: [round(one, 3) for one in (mean[k]["value"], *mean[k]["ci"])] for k in ("recall@1", "percentile_rank")
        }
        print(seed, name, what, shown, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[41, 42])
    parser.add_argument("--pairs", type=int, default=330)
    parser.add_argument("--unpaired", type=int, default=700)
    parser.add_argument("--out", type=Path, default=Path("recentre"))
    asked = parser.parse_args()
    for seed in asked.seeds:
        one_seed(asked.out / str(seed), seed, asked.pairs, asked.unpaired)
