"""Several fits in which everybody is tested once, judged together.

People are ranked among the test people of their own fold, by the model that has not seen them; score vectors of two
models have no common score. Intervals come from resampling families over all folds, as for one test set: they hold the
luck of who was there, and not that the models share most of their training people.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genebrain.common.alone import alone_in
from genebrain.common.checksums import verify_run
from genebrain.common.reading import read_record
from genebrain.common.run_folder import write_results
from genebrain.common.types import FloatArray, IntArray, Metrics, UserError
from genebrain.evaluation.nulls import deal, mean_percentile, p_value, summary_of_null
from genebrain.evaluation.report.figures import write_figures
from genebrain.evaluation.result_files import set_aside
from genebrain.evaluation.retrieval import full_gallery, usual_gallery, within_stratum
from genebrain.evaluation.verdict import verdict
from genebrain.runs.run import Run, load_run
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.studies.baselines import COMPARISONS, Arena
from genebrain.studies.judged import Judged, JudgementSettings, described, model_facts, strata_labels
from genebrain.studies.known_answers import true_values

FILE = "folds.json"
POOLED = ("ridge_cca", "confound_only", "dosage")
"""Comparisons that are made in every fold; the others are those of the single folds."""


@dataclass(frozen=True)
class Fold:
    """Test people of one fold: score vectors of both sides by method, and who they are."""

    vectors: dict[str, tuple[FloatArray, FloatArray]]
    family: IntArray
    genome: IntArray
    strata: list[str] | None


def fold_folder(run: Path, number: int) -> Path:
    """Run folder of one fold."""
    return run / f"fold-{number}"


def is_folded(run: Path) -> bool:
    """Whether this folder holds several folds."""
    return (run / FILE).is_file()


def judge_folds(run: Path, settings: JudgementSettings) -> Metrics:
    """Judge all folds together; writes ``metrics.json`` and ``figures/`` beside them.

    Raises
    ------
    UserError
        A fold is not fitted, or validation people are asked for.
    """
    if settings.split != "test":
        raise UserError(f"split={settings.split}: everybody is tested once in the folds of {run}; leave split out")
    verify_run(run, results=False)
    first = load_run(fold_folder(run, 0))
    n_folds = first.experiment.split.folds or 1
    if (said := read_record(run / FILE).get("folds")) != n_folds:
        raise UserError(f"{run / FILE} says {said} folds, {fold_folder(run, 0)} is one of {n_folds}: restore a copy")
    runs = [first, *(load_run(fold_folder(run, number)) for number in range(1, n_folds))]
    folds = [_fold(one, settings) for one in runs]
    largest = min(full_gallery(len(fold.genome), fold.genome) for fold in folds)
    size = usual_gallery(settings.gallery_size, largest)
    if size > largest:
        raise UserError(f"gallery_size={size}, but the smallest fold offers {largest} candidates")
    family, genome = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("family", "genome"))
    number = np.repeat(np.arange(n_folds), [len(fold.family) for fold in folds])
    strata = None
    if folds[0].strata is not None:
        strata = [f"{i}: {label}" for i, fold in enumerate(folds) for label in fold.strata or []]
    common: dict[str, Any] = {"families": family, "genome_id": genome, "n_bootstrap": settings.n_bootstrap}
    methods = [name for name in folds[0].vectors if all(name in fold.vectors for fold in folds)]
    joined = {name: _side_by_side([fold.vectors[name] for fold in folds]) for name in methods}
    found: dict[str, Any] = {
        name: within_stratum(*pair, strata=number, gallery_size=size, **common) for name, pair in joined.items()
    }
    cohort, about = runs[0].cohort, found["model"]
    metrics: Metrics = {
        **described(settings, cohort, len(family), size),
        "folds": n_folds,
        "fitted_on": {"parts": "the other folds", "people": int(np.mean([len(one.split.training) for one in runs]))},
        "question": {"folds": n_folds, "gallery_size": settings.gallery_size, "strata": settings.strata,
                     "comparisons": methods[1:], "n": [settings.n_bootstrap, settings.n_permutations]},
        "retrieval": {name: about[name] for name in ("gene_to_brain", "brain_to_gene", "mean")},
        "within_stratum": None if strata is None else within_stratum(*joined["model"], strata=strata, **common),
        "permutation": _permutation(folds, settings.n_permutations),
        "baselines": {name: found[name]["mean"] if name in found else None for name in POOLED
                      if name in settings.comparisons},
        "model": {**model_facts(runs[0].fitted, runs[0].experiment, {}), "parameters": {}},
        "per_fold": [one["mean"] for one in _per_fold(folds, size, settings)],
        "oracle_pair": None,
        "cost": {},
    }  # fmt: skip
    metrics["verdict"] = verdict(metrics)
    gene, brain = folds[0].vectors["model"]
    with alone_in(run, "folder of folds"):
        set_aside(run / "metrics.json", metrics["question"])
        write_results(run, {"metrics.json": metrics, "funnel.json": cohort.funnel}, FILE)
        write_figures(
            run / "figures", metrics, gene=gene, brain=brain, strata=folds[0].strata, curves={}, history={},
            funnel={key: value for key, value in cohort.funnel.items() if isinstance(value, int)},
        )  # fmt: skip
    return metrics


def _fold(run: Run, settings: JudgementSettings) -> Fold:
    rows, cohort, split = run.rows("test"), run.cohort, run.split
    table = cohort.table.iloc[rows]
    arena = Arena(
        run.fitted, run.subjects, split.train, split.validation, rows, run.experiment, run.workspace,
        true_values(cohort), run.path / "checkpoints" / "comparisons",
    )  # fmt: skip
    vectors = {"model": run.fitted.vectors(run.subjects, rows)}
    for name in POOLED:
        vectorless = name == "dosage" and isinstance(run.experiment.genetics, VectorGenes)
        if name in settings.comparisons and not vectorless and (made := COMPARISONS[name](arena)) is not None:
            vectors[name] = made
    family, genome = (table[name].to_numpy(np.int64) for name in ("family", "genome"))
    return Fold(vectors, family, genome, strata_labels(cohort, rows, settings.strata))


def _side_by_side(pairs: list[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    """Vectors of all folds below each other, narrower ones filled with zeros; only those of one fold have scores."""
    width = max(gene.shape[1] for gene, _ in pairs)
    gene, brain = (
        np.concatenate([np.pad(pair[side], ((0, 0), (0, width - pair[side].shape[1]))) for pair in pairs])
        for side in (0, 1)
    )
    return gene, brain


def _per_fold(folds: list[Fold], size: int, settings: JudgementSettings) -> list[Metrics]:
    judged = (Judged(fold.family, fold.genome, settings.n_bootstrap, size) for fold in folds)
    return [who.retrieval(*fold.vectors["model"]) for who, fold in zip(judged, folds, strict=True)]


def _permutation(folds: list[Fold], n: int) -> Metrics:
    """Scans are dealt anew within every fold; the statistic is the mean over everybody."""
    weights = np.array([len(fold.family) for fold in folds], dtype=np.float64)
    result: Metrics = {"n": n, "statistic_name": "mean percentile rank, both directions", "p_stratified": None}
    kinds = ["free", *(["stratified"] if folds[0].strata is not None else [])]
    for kind in kinds:
        rng, values, exchanged = np.random.default_rng(0), [], []
        for fold in folds:
            strata = np.zeros(len(fold.family), np.int64)
            if kind == "stratified":
                strata = np.unique(np.asarray(fold.strata), return_inverse=True)[1]
            moved = deal(fold.family, strata, n, rng)
            identity = np.arange(len(strata), dtype=np.int32)[None]
            exchanged.append(float((moved != identity).any(axis=0).mean()))
            values.append(mean_percentile(*fold.vectors["model"], np.concatenate([identity, moved])))
        mean = np.average(np.stack(values), axis=0, weights=weights)
        result["statistic"] = float(mean[0])
        result |= {
            f"p_{kind}": p_value(float(mean[0]), mean[1:]),
            f"exchangeable_{kind}": float(np.average(exchanged, weights=weights)),
            f"null_{kind}": summary_of_null(mean[1:]),
        }
    return result
