"""Do people of whom only a genome or only a scan is known help? Known-answer cohorts with ten times as many of them.

    python experiments/unpaired/run.py --tiers smoke hard --pairs 200 500 --seeds 301 302

What needs no pairing is fitted on the pairs alone, or on pairs and unpaired people: masks of rare alleles, components
of chunks and their whitening, tangent space and components of the scans. What needs pairs (which latents, the sparse
regression, calibration) sees the pairs in both. Test people take part in neither. A row of ``results.tsv`` per cohort
and number of pairs, with recall@1 in galleries of 64; rows that are there are not computed again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from genebrain.alignment.closed_form import fit as closed
from genebrain.alignment.closed_form.choice import ClosedFormSettings
from genebrain.alignment.closed_form.column_sets import GeneBlocks, SetColumns, rows_of
from genebrain.evaluation.rank_metrics import recalls
from genebrain.evaluation.ranks import rank_counts
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.sides.readings import Readings
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort

RESULTS = Path(__file__).parent / "results.tsv"
GALLERY, TEST, TIMES = 64, 300, 10
SHAPE = {"n_windows": 12, "window_bp": 6000, "n_parcels": 60, "n_frames": 120, "n_genomewide": 200}
SIDES = {"genes": (True, False), "scans": (False, True), "both": (True, True)}


def fitted(blocks: GeneBlocks, brain: dict[str, Any], family: Any, pairs: Any, genes_from: Any, scans_from: Any) -> Any:
    """The closed form on ``pairs``, whose gene columns and brain components were fitted on other rows."""
    columns = SetColumns.fit(rows_of(blocks, genes_from))  # type: ignore[arg-type]
    tables = columns.each(rows_of(blocks, pairs))  # type: ignore[arg-type]
    own = {name: values[pairs] for name, values in brain.items()}
    wide = {id(own[name]): values[scans_from] for name, values in brain.items()}
    components = closed.principal_components
    with (
        patch.object(closed, "_columns", lambda *_, **__: (columns, tables)),
        patch.object(closed, "principal_components", lambda x, most: components(wide[id(x)], most)),
    ):
        settings = ClosedFormSettings(stack=True)
        return closed.fit_closed_form(rows_of(blocks, pairs), own, family[pairs], settings=settings)


def hits(model: Any, blocks: GeneBlocks, brain: dict[str, Any], rows: Any, genome: Any) -> Any:
    """Expected recall@1 of each test person, both directions."""
    gene = model.gene_vectors(model.gene_columns(rows_of(blocks, rows)))
    scan = model.brain_vectors(Readings(brain)[model.chosen["brain"]][rows])
    counts = (rank_counts(gene, scan, genome[rows]), rank_counts(scan, gene, genome[rows]))
    return np.mean([recalls(c, GALLERY, [1])[0] for c in counts], axis=0)


def one_cohort(tier: str, seed: int, pair_counts: list[int], folder: Path) -> list[dict[str, Any]]:
    """Rows of one cohort: every number of pairs, what unpaired people of either side and of both bring."""
    most = max(pair_counts)
    path = simulate_cohort(folder, n_subjects=TEST + most * (1 + TIMES), tier=tier, seed=seed, **SHAPE)
    workspace = Workspace(path, progress=False)
    side, gene, pooling = ConnectomeSide(), GeneSide(), GenePooling()
    workspace.ingest(side)
    cohort = workspace.cohort
    genome, family = (np.array(cohort.table[name], np.int64) for name in ("genome", "family"))
    order = np.random.default_rng(seed).permutation(len(cohort))
    test, others = order[:TEST], order[TEST:]
    found = []
    for n in pair_counts:
        pairs, everybody = np.sort(others[:n]), np.sort(others[: n * (1 + TIMES)])
        blocks, scans = {}, {}
        for wide, rows in ((False, pairs), (True, everybody)):
            workspace.embed(gene, training=rows)
            blocks[wide], _ = workspace.gene_blocks(gene, pooling, rows)
            scans[wide] = workspace.brain_features(side, rows)[1]
        rows = {False: pairs, True: everybody}
        score = {
            (g, b): hits(
                fitted(blocks[g], scans[b], family, pairs, rows[g], rows[b]), blocks[g], scans[b], test, genome
            )
            for g, b in [(False, False), *SIDES.values()]
        }
        base = score[False, False]
        row: dict[str, Any] = {"tier": tier, "seed": seed, "pairs": n, "recall@1": base.mean()}
        for name, key in SIDES.items():
            gain = score[key] - base
            row |= {f"gain_{name}": gain.mean(), f"error_{name}": gain.std(ddof=1) / np.sqrt(TEST)}
        found.append(row)
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return found


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiers", nargs="+", default=["smoke", "hard"])
    parser.add_argument("--pairs", nargs="+", type=int, default=[200, 500])
    parser.add_argument("--seeds", nargs="+", type=int, default=[301, 302])
    asked = parser.parse_args()
    for seed in asked.seeds:
        for tier in asked.tiers:
            there = pd.read_csv(RESULTS, sep="\t") if RESULTS.exists() else pd.DataFrame()
            if len(there) and set(asked.pairs) <= set(there.query("tier == @tier and seed == @seed")["pairs"]):
                continue
            folder = Path(tempfile.mkdtemp(prefix="unpaired-"))
            try:
                rows = one_cohort(tier, seed, asked.pairs, folder / "cohort")
            finally:
                shutil.rmtree(folder)
            table = pd.concat([there, pd.DataFrame(rows)])
            table.to_csv(RESULTS, sep="\t", index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
