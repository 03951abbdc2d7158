"""Does a model of cohort A hold on cohort B, and do B's own unlabelled statistics help? Known-answer cohorts.

    python experiments/transfer/run.py --tiers smoke causal_confounded --seeds 41 42

B has other people of the same population and the same causal truth (``simulate like=A``). It differs in nothing else,
or in the scanner (noise, gain, site), the time between frames, or ancestry. ``none`` scores B's people as they are;
``own`` first shifts and scales the brain latents of B's people to the mean and spread that A's training people have,
and centres what is predicted from their genes: means and spreads of B, no pairs; ``site`` takes the mean of each site
of B in the place of the one mean. A row of ``results.tsv`` per cohort,
with recall@1 in galleries of 64, its standard error over people, and the ceiling of the cohort. Rows that are there
are not computed again, and cohorts and runs stay in ``runs/transfer`` until all rows are.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

import genebrain
from genebrain import tasks
from genebrain.alignment.closed_form.choice import score_vectors
from genebrain.alignment.settings import AlignmentSettings
from genebrain.evaluation.rank_metrics import recalls
from genebrain.evaluation.ranks import rank_counts
from genebrain.runs.transfer import COORDINATES, load_elsewhere
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.second_settings import SecondCohort
from genebrain.studies.known_answers import ceiling

RESULTS = Path(__file__).parent / "results.tsv"
WORK = Path("runs/transfer")
GALLERY, TRAINED_ON, SECOND = 64, 450, 300
SHAPE = {"n_windows": 8, "window_bp": 6000, "n_parcels": 40, "n_frames": 150, "n_genomewide": 200}
SECONDS: dict[str, dict[str, Any]] = {
    "same": {},
    "gain 3": {"second": SecondCohort(gain=3)},
    "noise 0.5": {"second": SecondCohort(noise=0.5)},
    "tr 1.1": {"tr": 1.1},
    "frequencies, fst 0.05": {"second": SecondCohort(fst=0.05)},
    "new sites": {"second": SecondCohort(sites="new")},
    "other mix": {"second": SecondCohort(mix=(6, 6, 6, 1, 1, 1, 1, 1, 1, 1, 1, 1))},
    "new sites, other mix": {"second": SecondCohort(sites="new", mix=(6, 6, 6, 1, 1, 1, 1, 1, 1, 1, 1, 1))},
}
OF_TIER = {"smoke": list(SECONDS)[:5], "causal_confounded": ["same", *list(SECONDS)[5:]]}


def judged(gene: Any, brain: Any, genome: Any) -> dict[str, float]:
    """Recall@1 in galleries of 64, mean of both directions, and its standard error."""
    counts = (rank_counts(gene, brain, genome), rank_counts(brain, gene, genome))
    hits = np.mean([recalls(c, GALLERY, [1])[0] for c in counts], axis=0)
    return {"recall@1": float(hits.mean()), "error": float(hits.std(ddof=1) / np.sqrt(len(hits)))}


def first(tier: str, seed: int) -> tuple[Path, dict[str, Any]]:
    """Run on cohort A, and the row of its own test people."""
    place = WORK / f"{tier}-{seed}"
    cohort = simulate_cohort(place / "A", n_subjects=TRAINED_ON, tier=tier, seed=seed, **SHAPE)
    run = tasks.fit(cohort, run=place / "run", alignment=AlignmentSettings(train="none"), progress=False)
    opened = genebrain.load_run(run)
    people, rows = opened.vectors("test"), opened.rows("test")
    genome = opened.cohort.table["genome"].to_numpy(np.int64)[rows]
    row = judged(people.genome, people.brain, genome)
    return run, {"second": "A's test people", "use": "none", **row, "ceiling": _ceiling(opened.cohort)}


def second(run: Path, tier: str, seed: int, name: str) -> list[dict[str, Any]]:
    """Rows of one second cohort."""
    place, number = WORK / f"{tier}-{seed}", list(SECONDS).index(name)
    cohort = simulate_cohort(
        place / f"B{number}", n_subjects=SECOND, tier=tier, seed=seed + 1000 * (number + 1), like=place / "A",
        **SHAPE, **SECONDS[name],
    )  # fmt: skip
    opened = genebrain.load_run(run)
    if "tr" in SECONDS[name]:  # refused for good reason: here the refusal is lifted, to see what it saves from
        run = _any_time_step(run, place / "any-step")
    workspace = Workspace(cohort, progress=False)
    fitted, subjects = load_elsewhere(run, opened.experiment, workspace)
    closed, everybody = fitted.model.closed_form, np.arange(len(workspace.cohort))
    rows = [{"use": "none", **judged(*fitted.vectors(subjects, everybody), subjects.genome)}]
    ghat = closed.predicted_latents(closed.gene_columns(subjects.blocks))
    u = closed.observed_latents(subjects.brain[fitted.brain_name])
    mine = closed.observed_latents(opened.subjects.brain[fitted.brain_name][opened.split.training])
    site = workspace.cohort.table["site"].astype(str).to_numpy()
    for use, groups in (("own", np.zeros(len(u))), ("site", site)):
        centred = u - np.stack([u[groups == one].mean(axis=0) for one in groups])
        moved = centred / centred.std(axis=0) * mine.std(axis=0) + mine.mean(axis=0)
        pair = score_vectors(ghat - ghat.mean(axis=0), moved, closed.predictive, closed.calibration, closed.score)
        rows.append({"use": use, **judged(*pair, subjects.genome)})
    return [{"second": name, **row, "ceiling": _ceiling(workspace.cohort)} for row in rows]


def _ceiling(cohort: Any) -> float:
    found = ceiling(cohort, GALLERY)
    return float("nan") if found is None else float(found["recall@1"])


def _any_time_step(run: Path, place: Path) -> Path:
    if not place.exists():
        shutil.copytree(run, place)
    coordinates = place / "checkpoints" / COORDINATES
    coordinates.write_text(json.dumps({**json.loads(coordinates.read_text()), "time_step": None}))
    return place


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiers", nargs="+", default=list(OF_TIER), choices=list(OF_TIER))
    parser.add_argument("--seeds", nargs="+", type=int, default=[41, 42])
    asked = parser.parse_args()
    for seed in asked.seeds:
        for tier in asked.tiers:
            for name in ("A's test people", *OF_TIER[tier]):
                there = pd.read_csv(RESULTS, sep="\t") if RESULTS.exists() else pd.DataFrame()
                if len(there) and len(there.query("tier == @tier and seed == @seed and second == @name")):
                    continue
                run, row = first(tier, seed)
                rows = [row] if name == row["second"] else second(run, tier, seed, name)
                found = pd.DataFrame([{"tier": tier, "seed": seed, **one} for one in rows])
                print(found.to_string(index=False), flush=True)
                pd.concat([there, found]).to_csv(RESULTS, sep="\t", index=False, float_format="%.4f")
    shutil.rmtree(WORK, ignore_errors=True)


if __name__ == "__main__":
    main()
