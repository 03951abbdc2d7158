"""A run judged on a second cohort, of which nothing is learned: retrieval, strata, nulls and confounds of its own.

The comparisons of a run are fitted on its training people, who need not be at hand any more. In their place stands what
the confounds of the second cohort retrieve of the model's own brain latents, cross-fitted over families.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genebrain.alignment.closed_form.spectral import grouped_folds
from genebrain.common.alone import alone_in
from genebrain.common.files import make_private
from genebrain.common.run_folder import read_json, write_results
from genebrain.common.types import FloatArray, IntArray, Metrics, UserError
from genebrain.evaluation.report.figures import write_figures
from genebrain.evaluation.result_files import set_aside
from genebrain.evaluation.verdict import verdict
from genebrain.runs.fit import Experiment
from genebrain.runs.transfer import load_elsewhere
from genebrain.sides.workspace import Workspace
from genebrain.studies.baselines import confound_matrix
from genebrain.studies.judged import (
    Judged,
    JudgementSettings,
    fitting_gallery,
    judged_metrics,
    model_facts,
    strata_labels,
)

FOLDS = 5


def judge_elsewhere(
    run: Path, experiment: Experiment, workspace: Workspace, settings: JudgementSettings, out: Path
) -> Metrics:
    """Judge a run on everybody of another cohort; writes ``metrics.json`` and ``figures/`` into ``out``.

    Raises
    ------
    UserError
        The model does not fit this cohort, or has learned from its people; see
        :func:`genebrain.runs.transfer.load_elsewhere`.
    """
    if settings.split != "test":
        raise UserError(f"split={settings.split}: everybody of another cohort is judged; leave split out")
    fitted, subjects = load_elsewhere(run, experiment, workspace)
    cohort, rows = workspace.cohort, np.arange(len(workspace.cohort))
    size = fitting_gallery(settings.gallery_size, cohort, rows, f"cohort {cohort.name}")
    who = Judged(subjects.family, subjects.genome, settings.n_bootstrap, size)
    gene, brain = fitted.vectors(subjects, rows)
    strata, vectors = strata_labels(cohort, rows, settings.strata), {"model": (gene, brain)}
    latents = fitted.closed_form.observed_latents(subjects.brain[fitted.brain_name])
    wanted = "confound_only" in settings.comparisons
    asked = cohort.table, latents, subjects.family, experiment.seed, cohort.own.confounds
    guessed = confound_latents(*asked) if wanted else None
    if guessed is not None:
        vectors["confound_only"] = guessed, latents.astype(np.float32)
    retrieval = {name: who.retrieval(*pair) for name, pair in vectors.items()}
    trained_on = read_json(run / "split.json")
    metrics: Metrics = {
        **judged_metrics(settings, cohort, who, retrieval["model"], gene, brain, strata),
        "cohort": {"name": cohort.name, "second": True, "run": run.name, "fingerprint": cohort.fingerprint},
        "fitted_on": {
            "parts": "train and validation of another cohort",
            "people": len(trained_on["train"]) + len(trained_on["validation"]),
        },
        "baselines": {"confound_only": retrieval["confound_only"]["mean"] if guessed is not None else None},
        "model": {**model_facts(fitted, experiment, {}), "parameters": {}},
        "splits": {"test": len(rows)},
        "oracle_pair": None,
        "cost": {},
    }
    metrics["verdict"] = verdict(metrics)
    make_private(out)
    with alone_in(out, "folder of results"):
        set_aside(out / "metrics.json", metrics["question"])
        write_results(out, {"metrics.json": metrics, "funnel.json": cohort.funnel})
        write_figures(
            out / "figures", metrics, gene=gene, brain=brain, strata=strata, history={},
            curves={name: who.curve(*pair) for name, pair in vectors.items()},
            funnel={k: v for k, v in cohort.funnel.items() if isinstance(v, int)},
        )  # fmt: skip
    return metrics


def confound_latents(
    table: Any, latents: FloatArray, families: IntArray, seed: int, named: Sequence[str] | None = None
) -> FloatArray | None:
    """What the confounds say about each person's brain latents, by ridge fitted on people of other families.

    Returns
    -------
    float32 array or None
        ``[people, dims]``; None without confounds, or with too few families.
    """
    if len(np.unique(families)) < 2 * FOLDS:
        return None
    guessed = np.zeros_like(latents, dtype=np.float64)
    for fold in grouped_folds(np.asarray(families), FOLDS, seed):
        held = np.zeros(len(latents), dtype=bool)
        held[fold] = True
        others = np.flatnonzero(~held)
        confounds = confound_matrix(table, others, named)
        if confounds is None:
            return None
        x = np.column_stack([np.ones(len(confounds)), confounds]).astype(np.float64)
        gram = x[others].T @ x[others]
        # Between nothing and a single confound of weight: a light ridge, the same for all.
        gram += 1e-2 * np.trace(gram) / len(gram) * np.eye(len(gram))
        guessed[held] = x[held] @ np.linalg.solve(gram, x[others].T @ latents[others])
    return guessed.astype(np.float32)
