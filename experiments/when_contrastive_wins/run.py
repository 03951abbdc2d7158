"""Where does contrastive training beat the closed form? Methods x mechanisms x people, on known-answer cohorts.

    python experiments/when_contrastive_wins/run.py --names smoke switching --people 250 --seeds 91 92
    python experiments/when_contrastive_wins/map.py

A row of ``results.tsv`` per cohort, number of people to learn from and method; rows that are there are not computed
again. All methods of a cohort are judged on the same test people. Gains and their standard errors are over people,
against the closed form of the default recipe on the same cohort, which is a method itself. ``default, unpaired`` is
``default`` with 1,000 more people of whom only the genome is there, and 1,000 of whom only the scan.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from methods import METHODS, suits
from names import CLOSED, UNPAIRED, WITHOUT_GRADIENT
from setting import Setting
from unpaired import ALONE, taken_apart

from genebrain.cohort.splits.settings import SplitSettings
from genebrain.evaluation.rank_metrics import recalls
from genebrain.evaluation.ranks import rank_counts
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.tiers import TIERS
from genebrain.studies.known_answers import learner_pair, oracle_vectors

HERE = Path(__file__).parent
RESULTS = HERE / "results.tsv"
GALLERY, TEST = 64, 400
SHAPE = {"n_windows": 12, "window_bp": 6000, "n_frames": 200, "n_parcels": 40, "n_genomewide": 200}
PARCELS = {"hard": 60}
"""Where brains differ in more modes than 40 parcels have."""
KEY = ["mechanism", "seed", "people", "method"]


def hits(gene: Any, brain: Any) -> Any:
    """Expected recall@1 of each person in galleries of 64, mean of both directions."""
    who = np.arange(len(gene))
    counts = (rank_counts(gene, brain, who), rank_counts(brain, gene, who))
    return np.mean([recalls(c, min(GALLERY, len(who)), [1])[0] for c in counts], axis=0)


def setting_of(name: str, seed: int, people: int, test: int, folder: Path) -> Setting:
    """A cohort, with the default closed form."""
    mechanism, alone = name.removesuffix(UNPAIRED), None
    how = {"tier": mechanism} if mechanism in TIERS else {"mechanism": mechanism}
    more = 2 * ALONE if name.endswith(UNPAIRED) else 0
    shape = {**SHAPE, "n_parcels": PARCELS.get(mechanism, SHAPE["n_parcels"])}
    path = simulate_cohort(folder / "cohort", n_subjects=people + test + more, seed=seed, **how, **shape)
    if more:
        path, *alone = taken_apart(path, people + test, seed)
    return Setting.of(path, SplitSettings(test=test / (people + test)), seed, folder, alone)


def of_cohort(
    name: str, seed: int, people: int, methods: list[str], test: int, folder: Path
) -> Iterator[dict[str, Any]]:
    """Rows of one cohort, one after another; all are compared with the closed form, fitted in any case."""
    start = time.process_time()
    setting = setting_of(name, seed, people, test, folder)
    split, cohort = setting.base.split, setting.base.cohort
    facts: dict[str, Any] = {"mechanism": name, "seed": seed, "people": people}
    facts["n_test"] = len(split.test)
    for known, pair in (
        ("ceiling", oracle_vectors(cohort, split.test)),
        ("learner", learner_pair(cohort, split.training, split.test)),
    ):
        facts[known] = None if pair is None else hits(*pair).mean()
    rivals: dict[str, Any] = {}
    order = list(METHODS)
    for method in sorted({CLOSED, *methods}, key=lambda one: (one not in WITHOUT_GRADIENT, order.index(one))):
        answer = METHODS[method](setting)
        found = hits(answer.genome, answer.brain)
        if method in WITHOUT_GRADIENT:
            rivals[method] = found
        rival = max(rivals, key=lambda one: rivals[one].mean())
        gain, margin = found - rivals[CLOSED], found - rivals[rival]
        error = [one.std(ddof=1) / np.sqrt(len(one)) for one in (found, gain, margin)]
        now = time.process_time()
        row = {
            **facts, "method": method, "recall@1": found.mean(), "error": error[0], "gain": gain.mean(),
            "gain_error": error[1], "rival": rival, "margin": margin.mean(), "margin_error": error[2],
            "kept": answer.kept, "brain": answer.features, "cpu_seconds": round(now - start, 1),
        }  # fmt: skip
        start = now
        print({k: round(float(v), 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        if method in methods:
            yield row


def written(row: dict[str, Any], out: Path) -> None:
    """A row below those that are there."""
    table = pd.DataFrame([row])
    if out.exists():
        table = pd.concat([pd.read_csv(out, sep="\t"), table])
    table.sort_values(KEY).to_csv(out, sep="\t", index=False, float_format="%.4f")


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="*", default=[])
    parser.add_argument("--people", nargs="+", type=int, default=[250])
    parser.add_argument("--seeds", nargs="+", type=int, default=[91, 92])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--test", type=int, default=TEST, help="test people")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    for people, seed, name in product(asked.people, asked.seeds, asked.names):
        there = pd.read_csv(asked.out, sep="\t") if asked.out.exists() else pd.DataFrame(columns=KEY)
        have = set(there[KEY].itertuples(index=False, name=None))
        missing = [one for one in asked.methods if (name, seed, people, one) not in have and suits(one, name)]
        if not missing:
            continue
        folder = Path(tempfile.mkdtemp(prefix="when-contrastive-wins-"))
        try:
            for row in of_cohort(name, seed, people, missing, asked.test, folder):
                written(row, asked.out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
