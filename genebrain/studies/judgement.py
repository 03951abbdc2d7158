"""Judge a fitted run: retrieval, nulls, strata, baselines, ceiling; everything of ``metrics.json``."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np

from genebrain.alignment.closed_form.column_sets import rows_of
from genebrain.alignment.model import AlignmentModel
from genebrain.common.run_folder import RunFolder, read_json
from genebrain.common.types import FloatArray, IntArray, Metrics, UserError
from genebrain.evaluation.report.figures import write_figures
from genebrain.evaluation.report.model_card import write_model_card
from genebrain.evaluation.result_files import result_path, set_aside
from genebrain.evaluation.verdict import verdict
from genebrain.runs.contents import saved_split
from genebrain.runs.fit import Experiment, load_fit
from genebrain.runs.train_only import check_judged_on_validation, fit_on_train
from genebrain.sides.people import Subjects
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.workspace import Workspace
from genebrain.studies.baselines import COMPARISONS, Arena, scored
from genebrain.studies.findings.files import write_findings
from genebrain.studies.judged import (
    Judged,
    JudgementSettings,
    fitting_gallery,
    gene_readings,
    judged_metrics,
    model_facts,
    strata_labels,
    strata_names,
)
from genebrain.studies.known_answers import learner_pair, oracle_vectors, true_values
from genebrain.studies.scan_readings import scan_readings

log = logging.getLogger(__name__)

VARIANTS = ("residualised",)
"""Comparisons that are the model's own recipe on changed input, shown as arms and not as baselines."""
SIMULATED = ("best_scan_reading", "best_gene_reading")
"""Comparisons that need a simulated effect; without one there is nothing to say of them."""


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
    size = _check_early(run, workspace, settings)
    with folder.stage("evaluate"):
        test = settings.split == "test"
        if test:  # what is compared with the model is learned from everybody
            fitted, subjects, split = load_fit(run, experiment, workspace, alone=not settings.comparisons)
        else:
            fitted, subjects, split = fit_on_train(run, experiment, workspace)
        rows = split.test if test else split.validation
        choosing = split.validation if test else split.validation[:0]
        cohort = workspace.cohort
        table = cohort.table.iloc[rows]
        who = Judged(table["family"].to_numpy(np.int64), table["genome"].to_numpy(np.int64), settings.n_bootstrap, size)
        # Of a large cohort they are the most of all: made once, of the judged people alone.
        columns = fitted.closed_form.gene_columns(rows_of(subjects.blocks, rows))
        plain = scored(fitted.closed_form, columns, subjects, rows)
        gene, brain = plain if fitted.kept == "closed_form" else fitted.vectors(subjects, rows)
        strata = strata_labels(cohort, rows, settings.strata)
        truth = true_values(cohort)
        arena = Arena(
            fitted, subjects, split.train, choosing, rows, experiment, workspace, truth,
            folder.checkpoints / "comparisons",
        )  # fmt: skip
        vectors = {"model": (gene, brain)}
        asked = [name for name in settings.comparisons if name not in SIMULATED or truth is not None]
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
            **judged_metrics(settings, cohort, who, retrieval["model"], gene, brain, strata),
            "fitted_on": {
                "parts": "train and validation" if test else "train",
                "people": len(split.train) + len(choosing),
            },
            "baselines": {
                name: retrieval[name]["mean"] if name in retrieval else None
                for name in asked if name not in VARIANTS
            },
            "model": {
                **model_facts(fitted, experiment, _arms(fitted, subjects, rows, columns, who, retrieval)),
                "parameters": read_json(run / "provenance.json").get("parameters", {}) if test else {},
            },
            "splits": split.sizes,
            "oracle_pair": {
                name: one["value"] for name, one in who.retrieval(*oracle)["mean"].items()
            } if oracle else None,
            "learners_ceiling": {
                name: one["value"] for name, one in who.retrieval(*learner)["mean"].items()
            } if learner else None,
            "gene_readings": gene_readings(fitted.closed_form),
            "scan_readings": scan_readings(experiment.brain, workspace, fitted, subjects, split.training),
        }  # fmt: skip
        metrics["findings"] = write_findings(
            result_path(run, "findings", settings.split), result_path(run, "figures", settings.split),
            fitted.closed_form, subjects, columns, workspace, experiment.genetics, experiment.brain,
            split.training if test else split.train, rows, n=settings.n_permutations,
        ) if settings.findings else None  # fmt: skip
    metrics["cost"] = folder.cost()
    metrics["verdict"] = verdict(metrics)
    place = result_path(run, "metrics.json", settings.split)
    set_aside(place, metrics["question"])
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


def _check_early(run: Path, workspace: Workspace, settings: JudgementSettings) -> int:
    """What would be refused after minutes is refused at once; returns the gallery size."""
    split = saved_split(run, workspace)
    cohort = workspace.cohort
    rows = split.test if settings.split == "test" else split.validation
    if settings.split == "validation":
        check_judged_on_validation(run, split)
    cohort.strata(strata_names(cohort, settings.strata))
    return fitting_gallery(settings.gallery_size, cohort, rows, f"{settings.split} set")


def _arms(
    fitted: AlignmentModel, subjects: Subjects, rows: IntArray, columns: FloatArray, who: Judged,
    retrieval: dict[str, Metrics],
) -> dict[str, Metrics]:  # fmt: skip
    closed = fitted.closed_form
    same = fitted.kept == "closed_form"
    arms = {
        "closed_form": (retrieval["model"] if same else who.retrieval(*scored(closed, columns, subjects, rows)))["mean"]
    }
    for family in closed.alone:  # what does the DNA model add to the variants?
        arms[f"{family}_alone"] = who.retrieval(*scored(closed.of_family(family), columns, subjects, rows))["mean"]
    if fitted.towers is not None:
        arms["trained"] = who.retrieval(*fitted.vectors(subjects, rows, "trained"))["mean"]
    arms |= {name: retrieval[name]["mean"] for name in VARIANTS if name in retrieval}
    return arms
