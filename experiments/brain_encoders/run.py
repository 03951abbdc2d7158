"""What is each scan encoder worth against the connectome, on cohorts whose ceiling is known?

    python experiments/brain_encoders/run.py                              smoke, 300 people, seed 0, frozen arms
    python experiments/brain_encoders/run.py --tiers smoke default --people 4000 --how frozen pretrained full

Every cohort is written as 4D images, so that all encoders read the same scans: parcels by the atlas, volumes as they
are. ``--scans parcels`` writes no images (2.4 GB per 300 people) and leaves out the encoders of volumes. Arms:
tangent connectome; what the simulation knows to be the best statistic of a scan, in its place; correlations; each
encoder with random weights and frozen; frozen after pretraining on the cohort's own scans (never those of test
people); both also with the connectivity of tokens in place of their summary (``connectivity``,
``pretrained_connectivity``), the first also with parcels scaled by training scans in place of each window
(``connectivity_cohort_scaling``); trained inside the alignment (``full`` or ``lora``), from random projectors,
because a closed form that finds nothing leaves training nothing to move. A row per arm in ``results.tsv`` beside this
file; rows that are there are not computed again, an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd

from genebrain import tasks
from genebrain.alignment.settings import AlignmentSettings
from genebrain.brain.encoders.published import SCAN_ENCODERS
from genebrain.brain.pretraining.trainer import PretrainerSettings
from genebrain.common.types import UserError
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.scans import BrainSide, EncoderSide
from genebrain.simulation.cohort import simulate_cohort
from genebrain.studies.baselines import TEXTBOOK, TEXTBOOK_TRAINER

HERE = Path(__file__).parent
RESULTS = HERE / "results.tsv"
ENCODERS = ("brainlm", "brainlm_vit", "swift", "brainmt")
TRAINED = ("full", "lora")
# A batch of people passes the encoder whole; weights from scratch need a larger rate than published ones.
TRAINER = replace(TEXTBOOK_TRAINER, max_epochs=40, patience=10, batch_size=128, encoder_learning_rate=1e-3)
CONNECTIVITY = (15, 25, 40, "all")  # those of the tangent connectome
BEST, BEST_NAME = "best_reading", "best_scan_reading"
KEY = ["tier", "people", "seed", "arm", "how"]


def side(arm: str, how: str, pretrained: Path | None) -> BrainSide:
    """Brain side of an arm."""
    if arm in ("tangent", "correlation", BEST):
        return ConnectomeSide(kind="correlation" if arm == "correlation" else "innovation")
    plain = EncoderSide(arm, size="tiny") if pretrained is None else EncoderSide(arm, path=str(pretrained))
    if "connectivity" in how:
        scaling = "cohort" if how.endswith("cohort_scaling") else "window"
        return replace(plain, summary="connectivity", components=CONNECTIVITY, scaling=scaling)
    return replace(plain, tuning=how) if how in TRAINED else plain


def one(cohort: Path, folder: Path, arm: str, how: str, seed: int, epochs: int) -> dict[str, Any]:
    """Pretrain if asked for, fit, judge; a flat row of numbers."""
    start = time.perf_counter()
    try:
        weights = None
        if how.startswith("pretrained"):
            run = tasks.pretrain(
                cohort, folder / f"{arm}-pretraining", seed=seed, brain=EncoderSide(arm, size="tiny"),
                trainer=PretrainerSettings(max_epochs=epochs), progress=False,
            )  # fmt: skip
            weights = run / "encoder"
        trained = how in TRAINED
        run = tasks.fit(
            cohort, run=folder / f"{arm}-{how}", seed=seed, brain=side(arm, how, weights),
            alignment=TEXTBOOK if trained else AlignmentSettings(train="none"), trainer=TRAINER if trained else None,
            progress=False,
        )  # fmt: skip
        best = (BEST_NAME,) if arm == BEST else ()
        m = tasks.evaluate(run, gallery_size=32, comparisons=best, n_bootstrap=500, n_permutations=500, progress=False)
    except UserError as error:
        return {"error": str(error)}
    mean = m["baselines"][BEST_NAME] if best else m["retrieval"]["mean"]
    return {
        "recall@1": mean["recall@1"]["value"],
        "low": mean["recall@1"]["ci"][0],
        "high": mean["recall@1"]["ci"][1],
        "percentile_rank": mean["percentile_rank"]["value"],
        "p": None if best else m["permutation"]["p_free"],
        "chance": m["chance"]["recall@1"],
        "ceiling": (m["ceiling"] or {}).get("recall@1"),
        "n_test": m["n_subjects"],
        "seconds": round(time.perf_counter() - start),
        "error": "",
    }


def main() -> None:
    """Fill the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiers", nargs="+", default=["smoke"])
    parser.add_argument("--scans", choices=["nifti", "parcels"], default="nifti")
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--how",
        nargs="+",
        default=["frozen"],
        help="see above",
    )
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    parser.add_argument("--epochs", type=int, default=20, help="of pretraining")
    parser.add_argument("--work", type=Path, default=Path("runs/brain_encoders"), help="cohorts and runs are kept here")
    given = parser.parse_args()
    arms = [("tangent", "frozen"), (BEST, "frozen"), ("correlation", "frozen")]
    arms += [(encoder, how) for how in given.how for encoder in given.encoders]
    if given.scans == "parcels":
        arms = [one for one in arms if one[0] not in SCAN_ENCODERS or SCAN_ENCODERS[one[0]].reads != "volumes"]
    for tier in given.tiers:
        for seed in given.seeds:
            folder = given.work / f"{tier}-{seed}-{given.people}-{given.scans}"
            for arm, how in arms:
                done = pd.read_csv(RESULTS, sep="\t") if RESULTS.exists() else pd.DataFrame(columns=KEY)
                named = dict(zip(KEY, (tier, given.people, seed, arm, how), strict=True))
                if (done[KEY] == pd.Series(named)).all(axis=1).any():
                    continue
                cohort = simulate_cohort(folder, tier=tier, n_subjects=given.people, seed=seed, scans=given.scans)
                row = named | one(cohort, folder.with_name(f"{folder.name}-runs"), arm, how, seed, given.epochs)
                print(row, flush=True)
                table = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
                table.to_csv(RESULTS, sep="\t", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
