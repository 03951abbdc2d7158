"""Does the default recipe find what is there, and nothing where nothing is? Cohorts with a known answer.

    python experiments/known_answer/run.py --tiers smoke default --seeds 101 102 103 104 105
    python experiments/known_answer/run.py --tiers null null_confounded --seeds $(seq 201 220) --light

Every cohort: 1,500 people (1,000 to learn from, 500 to test on), 12 windows of 20 kb, gallery 64. Writes
``results.tsv`` beside this file, a row per cohort; rows that are there are not computed again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import joblib
import pandas as pd

from genebrain import tasks
from genebrain.simulation.cohort import simulate_cohort

HERE = Path(__file__).parent
RESULTS = HERE / "results.tsv"
FULL = ("ridge_cca", "confound_only", "dosage", "textbook", "residualised")


def one(tier: str, seed: int, people: int, light: bool) -> dict[str, Any]:
    """Simulate, fit and judge one cohort; a flat row of numbers."""
    folder = Path(tempfile.mkdtemp(prefix=f"{tier}-{seed}-"))
    start = time.perf_counter()
    try:
        cohort = simulate_cohort(folder / "cohort", tier=tier, n_subjects=people, seed=seed)
        run = tasks.fit(cohort, run=folder / "run", seed=0, progress=False)
        comparisons = ("ridge_cca", "confound_only") if light else FULL
        m = tasks.evaluate(run, comparisons=comparisons, progress=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    mean, within = m["retrieval"]["mean"]["recall@1"], m["within_stratum"]
    row: dict[str, Any] = {"tier": tier, "seed": seed, "people": people, "n_test": m["n_subjects"]}
    row |= {"recall@1": mean["value"], "low": mean["ci"][0], "high": mean["ci"][1]}
    row["closed_form"] = m["model"]["arms"]["closed_form"]["recall@1"]["value"]
    row["kept"] = m["model"]["kept"]
    row |= {name: one_["recall@1"]["value"] for name, one_ in m["baselines"].items() if one_}
    row["residualised"] = m["model"]["arms"].get("residualised", {}).get("recall@1", {}).get("value")
    row["ceiling"] = (m["ceiling"] or {}).get("recall@1")
    row["oracle_pair"] = (m["oracle_pair"] or {}).get("recall@1")
    row |= {"p_free": m["permutation"]["p_free"], "p_stratified": m["permutation"]["p_stratified"]}
    if within:
        inside = within["mean"]["recall@1"]
        row |= {"within": inside["value"], "within_low": inside["ci"][0], "within_high": inside["ci"][1]}
        row["within_chance"] = within["chance"]["recall@1"]
    row |= {
        "mode": m["model"]["chosen"]["mode"],
        "k": m["model"]["chosen"]["k"],
        "brain": m["model"]["chosen"]["brain"],
    }
    row |= {"verdict": m["verdict"].split(":")[0], "seconds": round(time.perf_counter() - start, 1)}
    return row


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiers", nargs="+", default=["smoke", "default"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[101, 102, 103, 104, 105])
    parser.add_argument("--people", type=int, default=1500)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--light", action="store_true", help="without the dosage and textbook comparisons")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    # The tier named null is a word, not a missing value.
    reading = {"sep": "\t", "keep_default_na": False, "na_values": [""]}
    done = pd.read_csv(arguments.out, **reading) if arguments.out.exists() else pd.DataFrame()
    have = set(zip(done["tier"], done["seed"], done["people"], strict=True)) if len(done) else set()
    wanted = [(tier, seed) for tier in arguments.tiers for seed in arguments.seeds]
    work = [(t, s) for t, s in wanted if (t, s, arguments.people) not in have]
    jobs = joblib.Parallel(n_jobs=arguments.jobs, return_as="generator_unordered")
    for row in jobs(joblib.delayed(one)(t, s, arguments.people, arguments.light) for t, s in work):
        done = pd.concat([done, pd.DataFrame([row])]).sort_values(["tier", "seed"])
        done.to_csv(arguments.out, sep="\t", index=False, float_format="%.4f")
        print({k: row[k] for k in ("tier", "seed", "recall@1", "ridge_cca", "seconds")}, flush=True)


if __name__ == "__main__":
    main()
