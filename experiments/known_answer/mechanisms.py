"""Does one recipe hold across mechanisms? Known-answer cohorts that differ in how genomes and scans carry the trait.

    python experiments/known_answer/mechanisms.py --names hrf oscillators smoke default --seeds 21 22
    python experiments/known_answer/mechanisms.py --genes dosages --names dense motif mix switching few_loci
    python experiments/known_answer/mechanisms.py --genes dosages --kinds default --null --names hrf mix --seeds 31 32
    python experiments/known_answer/mechanisms.py --kinds default --people 500 --test .6 --cca --names smoke

A row of ``mechanisms.tsv`` per cohort and way of reading the scans; rows that are there are not computed again.
``default`` is the shipped recipe; ``former`` the one before, with three kinds of scan features and, with ``--genes
alleles``, two sets of allele counts; ``today`` is ``brain.kind=innovation``, the default before that; the others are
single kinds on despiked series. The gene side (``--genes``) is the shipped one (``both``), embeddings of all alleles
as they were read before (``embeddings``), the shipped one with a search for words (``motifs``), or, without ``fit`` and
``evaluate`` around the closed form, its sets of allele counts alone (``alleles``) or true dosages as one set
(``dosages``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from genebrain import tasks
from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.fit import ClosedFormSettings, fit_closed_form
from genebrain.alignment.closed_form.latents import kind_of
from genebrain.alignment.settings import AlignmentSettings
from genebrain.cohort.splits.settings import SplitSettings
from genebrain.evaluation.rank_metrics import recalls
from genebrain.evaluation.ranks import rank_counts
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.sides.readings import Readings
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.known_answer import read_known_answer
from genebrain.simulation.tiers import TIERS
from genebrain.studies.known_answers import learner_pair, oracle_vectors

RESULTS = Path(__file__).parent / "mechanisms.tsv"
GALLERY = 64
SIDES = {
    "default": ConnectomeSide(),
    "former": ConnectomeSide(kind=("innovation", "lag0", "spectrum")),
    "today": ConnectomeSide(kind="innovation"),
    "innovation": ConnectomeSide(kind="innovation", components=(15, 25, 40), despike=True),
    "lag0": ConnectomeSide(kind="lag0", components=(15, 25, 40), despike=True),
    "spectrum": ConnectomeSide(kind="spectrum", despike=True),
}

GENES = {
    "both": GeneSide(),
    "embeddings": GeneSide(columns="embeddings", rare_below=0),
    "motifs": GeneSide(columns="both+motifs"),
}
ALLELES = GeneSide(columns="dosages")


def recall(gene: Any, brain: Any, genome: Any) -> float:
    """Expected recall@1 in galleries of 64, mean of both directions."""
    counts = (rank_counts(gene, brain, genome), rank_counts(brain, gene, genome))
    return float(np.mean([recalls(c, min(GALLERY, len(genome)), [1])[0].mean() for c in counts]))


def by_dosages(workspace: Workspace, kind: str, split: Any) -> tuple[float, dict[str, Any]]:
    """The closed form on true dosages, without any DNA model; single kinds are candidates of the default."""
    side = SIDES[kind if kind == "today" else "default"]
    workspace.ingest(side)
    cohort = workspace.cohort
    family, genome = (np.array(cohort.table[name], np.int64) for name in ("family", "genome"))
    rows, test = split.training, split.test
    blocks = workspace.dosage_blocks(GeneSide())
    _, values = workspace.brain_features(side, rows)
    settings = ClosedFormSettings(columns=ColumnSettings(kind="dosages"), stack=True)
    single = kind not in ("default", "today")
    brain = {name: f[rows] for name, f in values.items() if not single or kind_of(name) == kind}
    model = fit_closed_form(
        [b[rows] for b in blocks], brain, family[rows], genomes=genome[rows], settings=settings
    )  # fmt: skip
    features = Readings(values)[model.chosen["brain"]][test]
    gene = model.gene_vectors(model.gene_columns([b[test] for b in blocks]))
    return recall(gene, model.brain_vectors(features), genome[test]), model.chosen


def by_alleles(workspace: Workspace, kind: str, split: Any) -> tuple[float, dict[str, Any]]:
    """The shipped closed form on the shipped sets of allele counts, without the files of ``fit`` and ``evaluate``."""
    side, rows, test = SIDES[kind], split.training, split.test
    workspace.ingest(side)
    family, genome = (np.array(workspace.cohort.table[name], np.int64) for name in ("family", "genome"))
    blocks, _ = workspace.gene_blocks(ALLELES, GenePooling(), rows)
    if kind == "former":
        blocks = blocks.only([one.name for one in blocks.sets[:2]])
    _, values = workspace.brain_features(side, rows)
    settings = ClosedFormSettings(stack=len(side.kinds) > 1)
    brain = {name: features[rows] for name, features in values.items()}
    model = fit_closed_form(blocks.rows(rows), brain, family[rows], genomes=genome[rows], settings=settings)
    gene = model.gene_vectors(model.gene_columns(blocks.rows(test)))
    return recall(gene, model.brain_vectors(Readings(values)[model.chosen["brain"]][test]), genome[test]), model.chosen


def by_run(
    workspace: Workspace, kind: str, gene: GeneSide, split: SplitSettings, folder: Path, comparisons: tuple[str, ...]
) -> tuple[float, dict[str, Any], dict[str, float]]:
    """``fit`` and ``evaluate`` with the tiny DNA model; single kinds without training by gradient."""
    alignment = AlignmentSettings() if kind == "default" else AlignmentSettings(train="none")
    path, run = workspace.cohort.folder / "cohort.yaml", folder / kind
    how = {"brain": SIDES[kind], "genetics": gene, "alignment": alignment, "split": split, "workspace": workspace}
    tasks.fit(path, run=run, progress=False, **how)
    metrics = tasks.evaluate(run, comparisons=comparisons, workspace=workspace, progress=False, findings=False)
    arms = {name: one["recall@1"]["value"] for name, one in metrics["model"]["arms"].items() if name.endswith("_alone")}
    arms |= {name: one["recall@1"]["value"] for name, one in metrics["baselines"].items() if one}
    arms["chunks"] = metrics["cost"].get("chunks_unique")
    found, rank = (metrics["retrieval"]["mean"][name] for name in ("recall@1", "percentile_rank"))
    arms |= {"low": found["ci"][0], "high": found["ci"][1], "p": metrics["permutation"]["p_free"]}
    arms |= {"percentile_rank": rank["value"], "rank_low": rank["ci"][0], "rank_high": rank["ci"][1]}
    if words := metrics["model"]["chosen"].get("motifs"):
        arms |= {
            "words": words["found"],
            "words_approved": float(words["approved"]),
            "words_gain": words.get("gain", 0.0),
        }
        arms["words_gain_error"] = words.get("gain_standard_error", 0.0)
    arms["slope"] = metrics["model"]["calibration"]["slope"]
    return found["value"], metrics["model"]["chosen"], arms


def rows_of(name: str, seed: int, kinds: list[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Simulate one cohort and read it in several ways."""
    scratch = Path(tempfile.mkdtemp(prefix=f"{name}-{seed}-"))
    kept = args.cache / f"{name}{'-null' if args.null else ''}-{seed}" if args.cache else scratch / "cohort"
    how = {"tier": name} if name in TIERS else {"mechanism": name}
    compared = ("ridge_cca",) if args.cca else ()
    found = []
    try:
        path = simulate_cohort(kept, n_subjects=args.people, seed=seed, null_twin=args.null, **how)
        workspace = Workspace(path, progress=False)
        workspace.ingest(SIDES["default"])
        dividing = SplitSettings(test=args.test)
        split = dividing.make(workspace.cohort, 0)
        genome = np.array(workspace.cohort.table["genome"], np.int64)[split.test]
        facts: dict[str, Any] = {"mechanism": name, "seed": seed, "genes": args.genes, "null": args.null}
        facts |= {"people": args.people, "n_test": len(split.test)}
        ceiling = read_known_answer(path.parent / "known_answer.json")["ceiling"]
        facts["ceiling"] = ceiling[GALLERY]["recall@1"] if ceiling else None
        if (pair := oracle_vectors(workspace.cohort, split.test)) is not None:
            facts["oracle_pair"] = recall(*pair, genome)
            if (pair := learner_pair(workspace.cohort, split.training, split.test)) is not None:
                facts["learner"] = recall(*pair, genome)
        for kind in kinds:
            start = time.process_time()
            more: dict[str, float] = {}
            if args.genes == "dosages":
                value, chosen = by_dosages(workspace, kind, split)
            elif args.genes == "alleles":
                value, chosen = by_alleles(workspace, kind, split)
            else:
                value, chosen, more = by_run(workspace, kind, GENES[args.genes], dividing, scratch, compared)
            cv = json.dumps({k: round(v, 3) for k, v in chosen.get("kinds", {}).items()})
            found.append(
                {**facts, "kind": kind, "recall@1": value, "brain": chosen["brain"], "k": chosen["k"],
                 "mode": chosen["mode"], "cv": chosen["recall@1"], "cv_of_kinds": cv,
                 "cpu_seconds": round(time.process_time() - start, 1), **more}
            )  # fmt: skip
            print(
                {k: found[-1][k] for k in ("mechanism", "seed", "kind", "recall@1", "brain", "cpu_seconds")}, flush=True
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return found


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=["hrf", "oscillators", "smoke", "default"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[21, 22])
    parser.add_argument("--kinds", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--genes", default="both", choices=[*GENES, "alleles", "dosages"])
    parser.add_argument("--null", action="store_true", help="null twins: every person with the trait of another one")
    parser.add_argument("--people", type=int, default=1500)
    parser.add_argument("--test", type=float, default=1 / 3, help="share of people to test on")
    parser.add_argument("--cca", action="store_true", help="ridge CCA on the same columns beside the model")
    parser.add_argument("--cache", type=Path, default=None, help="keep simulated cohorts here")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    done = pd.read_csv(args.out, sep="\t") if args.out.exists() else pd.DataFrame()
    key = ["mechanism", "people", "seed", "genes", "null", "kind"]
    have = set(done[key].itertuples(index=False, name=None)) if len(done) else set()
    for seed in args.seeds:
        for name in args.names:
            kinds = [kind for kind in args.kinds if (name, args.people, seed, args.genes, args.null, kind) not in have]
            if not kinds:
                continue
            done = pd.concat([done, pd.DataFrame(rows_of(name, seed, kinds, args))])
            done.sort_values(key).to_csv(args.out, sep="\t", index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
