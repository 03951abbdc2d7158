"""Judge a fitted run: retrieval, nulls, strata, baselines, ceiling; everything of ``metrics.json``."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genebrain.alignment.model import AlignmentModel
from genebrain.cohort.column_roles import column_roles
from genebrain.cohort.participants import Cohort
from genebrain.cohort.splits.splits import load_split
from genebrain.common.run_folder import FORMAT, RunFolder, read_json
from genebrain.common.types import FloatArray, IntArray, Metrics, UserError
from genebrain.evaluation.nulls import permutation_test
from genebrain.evaluation.report.figures import write_figures
from genebrain.evaluation.report.model_card import write_model_card
from genebrain.evaluation.result_files import SPLITS, result_path, set_aside
from genebrain.evaluation.retrieval import (
    USUAL_GALLERY,
    chance,
    evaluate_retrieval,
    full_gallery,
    recall_curve,
    usual_gallery,
    within_stratum,
)
from genebrain.evaluation.verdict import verdict
from genebrain.runs.fit import Experiment, load_fit, sizes, strata_columns
from genebrain.runs.train_only import check_judged_on_validation, fit_on_train
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.workspace import Workspace
from genebrain.studies.baselines import COMPARISONS, Arena, check_comparisons, closed_vectors
from genebrain.studies.findings.files import write_findings
from genebrain.studies.gene_readings import gene_readings
from genebrain.studies.known_answers import ceiling, learner_pair, oracle_vectors, true_values
from genebrain.studies.scan_readings import scan_readings

log = logging.getLogger(__name__)

VARIANTS = ("residualised",)
"""Comparisons that are the model's own recipe on changed input, shown as arms and not as baselines."""
SIMULATED = ("best_scan_reading", "best_gene_reading")
"""Comparisons that need a simulated effect; without one there is nothing to say of them."""


@dataclass(frozen=True)
class JudgementSettings:
    """How to judge.

    Parameters
    ----------
    split : {"test", "validation"}
        Validation people are judged with a model fitted on the train people alone.
    gallery_size : int or None
        Candidates per query; None: 64, or everybody of a smaller set.
    n_bootstrap, n_permutations : int
    strata : "auto" or column names
    comparisons : names of :data:`genebrain.studies.baselines.COMPARISONS`
    findings : bool, whether to write which windows and connections carry the match
    """

    split: str = "test"
    gallery_size: int | None = None
    n_bootstrap: int = 1000
    n_permutations: int = 1000
    strata: str | tuple[str, ...] = "auto"
    comparisons: tuple[str, ...] = tuple(COMPARISONS)
    findings: bool = True

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise UserError(f"split={self.split}: use test, or validation while choosing")
        check_comparisons(list(self.comparisons))
        usual_gallery(self.gallery_size, USUAL_GALLERY)
        if min(self.n_bootstrap, self.n_permutations) < 20:
            raise UserError(
                f"n_bootstrap={self.n_bootstrap} and n_permutations={self.n_permutations} must be at least 20"
            )


def judge_run(run: Path, experiment: Experiment, workspace: Workspace, settings: JudgementSettings) -> Metrics:
    """Judge the fitted run in a folder; writes ``metrics.json`` and ``figures/`` there.

    Of ``split=validation`` these are ``metrics.validation.json`` and ``figures.validation/``. Metrics that answer
    another question are kept under another name.
    """
    if not (run / "provenance.json").exists():
        raise UserError(f"the fit in {run} is not finished: call 'genebrain fit' with this run folder again")
    folder = RunFolder(run)
    with folder.alone():
        return _judge(folder, experiment, workspace, settings)


def _judge(folder: RunFolder, experiment: Experiment, workspace: Workspace, settings: JudgementSettings) -> Metrics:
    run = folder.path
    workspace.ingest(experiment.brain)  # row numbers of the split mean the people with a usable scan
    size = _check_early(run, workspace.cohort, settings)
    with folder.stage("evaluate"):
        test = settings.split == "test"
        fitted, subjects, split = (load_fit if test else fit_on_train)(run, experiment, workspace)
        rows = split.test if test else split.validation
        choosing = split.validation if test else split.validation[:0]
        cohort = workspace.cohort
        table = cohort.table.iloc[rows]
        who = Judged(table["family"].to_numpy(np.int64), table["genome"].to_numpy(np.int64), settings.n_bootstrap, size)
        gene, brain = fitted.vectors(subjects, rows)
        strata = strata_labels(cohort, rows, settings.strata)
        truth = true_values(cohort)
        readings, genetic_values = (None, None) if truth is None else (truth["u"], truth["g"])
        arena = Arena(
            fitted, subjects, split.train, choosing, rows, cohort.table,
            lambda: workspace.dosage_blocks(experiment.genetics), readings, genetic_values, experiment.seed,
            folder.checkpoints / "comparisons", workspace.progress, cohort.own.confounds,
        )  # fmt: skip
        vectors = {"model": (gene, brain)}
        asked = [name for name in settings.comparisons if name not in SIMULATED or readings is not None]
        if isinstance(experiment.genetics, VectorGenes) and "dosage" in asked:
            log.warning("left out: the comparison dosage (genetics=vectors: there are no genotypes)")
            asked.remove("dosage")
        for name in asked:
            made = COMPARISONS[name](arena)
            if made is not None:
                vectors[name] = made
        curves = {name: who.curve(*pair) for name, pair in vectors.items()}
        retrieval = {name: who.retrieval(*pair) for name, pair in vectors.items()}
        oracle, learner = oracle_vectors(cohort, rows), learner_pair(cohort, split.training, rows)
        metrics: Metrics = {
            "schema": 1,
            "run_format": FORMAT,
            "split": settings.split,
            "fitted_on": {
                "parts": "train and validation" if test else "train",
                "people": len(split.train) + len(choosing),
            },
            "question": {k: [*v] if isinstance(v, tuple) else v for k, v in vars(settings).items() if k != "findings"},
            "n_subjects": len(rows),
            "gallery_size": size,
            "chance": chance(size),
            "ceiling": ceiling(cohort, size),
            "retrieval": retrieval["model"],
            "gallery_full": who.full_retrieval(gene, brain),
            "within_stratum": within_stratum(
                gene, brain, strata=strata, families=who.family, genome_id=who.genome,
                n_bootstrap=settings.n_bootstrap,
            ) if strata is not None else None,
            "permutation": permutation_test(
                gene, brain, families=who.family, strata=strata, n=settings.n_permutations
            ),
            "baselines": {
                name: retrieval[name]["mean"] if name in retrieval else None
                for name in asked if name not in VARIANTS
            },
            "model": {
                **model_facts(fitted, experiment, _arms(fitted, subjects, rows, who, retrieval)),
                "parameters": read_json(run / "provenance.json").get("parameters", {}) if test else {},
            },
            "splits": sizes(split),
            "dropped": cohort.funnel.get("dropped", {}),
            "oracle_pair": {
                name: one["value"] for name, one in who.retrieval(*oracle)["mean"].items()
            } if oracle else None,
            "learners_ceiling": {
                name: one["value"] for name, one in who.retrieval(*learner)["mean"].items()
            } if learner else None,
            "strata_columns": strata_names(cohort, settings.strata),
            "columns": column_roles(cohort.table, strata_names(cohort, settings.strata), cohort.own.confounds),
            "gene_readings": gene_readings(fitted.closed_form),
            "scan_readings": scan_readings(experiment.brain, workspace, fitted, subjects, split.training),
        }  # fmt: skip
        metrics["findings"] = write_findings(
            result_path(run, "findings", settings.split), result_path(run, "figures", settings.split),
            fitted.closed_form, subjects, workspace, experiment.genetics, experiment.brain,
            split.training if test else split.train, rows, n=settings.n_permutations,
        ) if settings.findings else None  # fmt: skip
    metrics["cost"] = folder.cost()
    metrics["verdict"] = verdict(metrics)
    place = result_path(run, "metrics.json", settings.split)
    if kept := set_aside(place, metrics["question"]):
        log.warning(
            f"note: {place.name} answered another question (other settings, or another version): now {kept.name}"
        )
    folder.write_result(place.name, metrics)
    shutil.rmtree(folder.checkpoints / "comparisons", ignore_errors=True)  # trained for this judgement alone
    history = {k: [row[k] for row in fitted.history] for k in (fitted.history[0] if fitted.history else ())}
    funnel = read_json(run / "funnel.json")
    steps = {k: v for k, v in funnel.items() if isinstance(v, int)}
    write_figures(
        result_path(run, "figures", settings.split), metrics,
        gene=gene, brain=brain, strata=strata, curves=curves, history=history, funnel=steps,
    )  # fmt: skip
    if test:
        write_model_card(run)
    return metrics


def _check_early(run: Path, cohort: Cohort, settings: JudgementSettings) -> int:
    """What would be refused after minutes is refused at once; returns the gallery size."""
    split = load_split(run / "split.json", cohort)
    rows = split.test if settings.split == "test" else split.validation
    if settings.split == "validation":
        check_judged_on_validation(run, split)
    cohort.strata(strata_names(cohort, settings.strata))
    return fitting_gallery(settings.gallery_size, cohort, rows, f"{settings.split} set")


def fitting_gallery(asked: int | None, cohort: Cohort, rows: IntArray, what: str) -> int:
    """Size of the gallery for the people of these rows: as asked for, or the usual one as far as they reach.

    Raises
    ------
    UserError
        When fewer candidates are there than were asked for; people of the same genome count once.
    """
    largest = full_gallery(len(rows), cohort.table["genome"].to_numpy(np.int64)[rows])
    size = usual_gallery(asked, largest)
    if size > largest:
        offered = "" if largest == len(rows) else f", {largest} candidates where two share a genome"
        raise UserError(
            f"gallery_size={size} is larger than the {what} ({len(rows)} people{offered}): leave it out, choose "
            f"gallery_size={max(2, 2 ** int(np.log2(largest)))} or a larger set"
        )
    return size


@dataclass(frozen=True)
class Judged:
    """The people of the judged set: families for the intervals, genomes for who matches whom."""

    family: IntArray
    genome: IntArray
    n_bootstrap: int
    gallery_size: int

    def retrieval(self, gene: FloatArray, brain: FloatArray, gallery_size: int | None = None) -> Metrics:
        """Both directions with intervals."""
        return evaluate_retrieval(
            gene, brain, families=self.family, genome_id=self.genome,
            gallery_size=gallery_size or self.gallery_size, n_bootstrap=self.n_bootstrap,
        )  # fmt: skip

    def full_retrieval(self, gene: FloatArray, brain: FloatArray) -> Metrics:
        """Among everybody at once: of people with one genome only one is a candidate."""
        size = full_gallery(len(gene), self.genome)
        return {"gallery_size": size, **self.retrieval(gene, brain, size)}

    def curve(self, gene: FloatArray, brain: FloatArray) -> Metrics:
        """Recall by k."""
        return recall_curve(
            gene, brain, families=self.family, genome_id=self.genome,
            gallery_size=self.gallery_size, n_bootstrap=self.n_bootstrap,
        )  # fmt: skip


def _arms(
    fitted: AlignmentModel, subjects: Any, rows: IntArray, who: Judged, retrieval: dict[str, Metrics]
) -> dict[str, Metrics]:
    arms = {"closed_form": who.retrieval(*fitted.vectors(subjects, rows, "closed_form"))["mean"]}
    for family in fitted.closed_form.alone:  # what does the DNA model add to the variants?
        alone = closed_vectors(fitted.closed_form.of_family(family), subjects, rows)
        arms[f"{family}_alone"] = who.retrieval(*alone)["mean"]
    if fitted.towers is not None:
        arms["trained"] = who.retrieval(*fitted.vectors(subjects, rows, "trained"))["mean"]
    arms |= {name: retrieval[name]["mean"] for name in VARIANTS if name in retrieval}
    return arms


def model_facts(fitted: AlignmentModel, experiment: Experiment, arms: dict[str, Metrics]) -> dict[str, Any]:
    """What ``metrics.json`` says of the model."""
    settings = fitted.settings
    return {
        "start": settings.start,
        "train": settings.train,
        "score": settings.score,
        "encoder": experiment.genetics.name,
        "kept": fitted.kept,
        "approval": fitted.approval,
        "chosen": fitted.closed_form.chosen,
        "calibration": fitted.closed_form.calibration.as_dict(),
        "arms": arms,
    }


def strata_names(cohort: Cohort, wanted: str | Sequence[str]) -> list[str]:
    """Columns that strata are made of."""
    return strata_columns(cohort) if wanted == "auto" else [wanted] if isinstance(wanted, str) else list(wanted)


def strata_labels(cohort: Cohort, rows: IntArray, wanted: str | Sequence[str]) -> list[str] | None:
    """Stratum of each of these people; None where there is nothing to stratify by."""
    columns = strata_names(cohort, wanted)
    if not columns:
        return None
    labels = cohort.strata(columns)
    return [labels[row] for row in rows]
