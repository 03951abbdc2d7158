"""Judged people: settings, retrieval with intervals, and what ``metrics.json`` says of any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genebrain.alignment.closed_form.fit import ClosedForm
from genebrain.alignment.model import AlignmentModel
from genebrain.cohort.column_roles import column_roles, strata_columns
from genebrain.cohort.participants import Cohort
from genebrain.common.run_folder import FORMAT
from genebrain.common.types import FloatArray, IntArray, Metrics, UserError
from genebrain.evaluation.nulls import permutation_test
from genebrain.evaluation.result_files import SPLITS
from genebrain.evaluation.retrieval import (
    USUAL_GALLERY,
    chance,
    evaluate_retrieval,
    full_gallery,
    recall_curve,
    usual_gallery,
    within_stratum,
)
from genebrain.runs.fit import Experiment
from genebrain.studies.baselines import COMPARISONS, check_comparisons
from genebrain.studies.known_answers import ceiling


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


def judged_metrics(
    settings: JudgementSettings,
    cohort: Cohort,
    who: Judged,
    retrieval: Metrics,
    gene: FloatArray,
    brain: FloatArray,
    strata: Sequence[str] | None,
) -> Metrics:
    """What ``metrics.json`` says of any judged people, whoever was learned from."""
    return {
        **described(settings, cohort, len(gene), who.gallery_size),
        "question": {k: [*v] if isinstance(v, tuple) else v for k, v in vars(settings).items() if k != "findings"},
        "retrieval": retrieval,
        "gallery_full": who.full_retrieval(gene, brain),
        "within_stratum": within_stratum(
            gene, brain, strata=strata, families=who.family, genome_id=who.genome, n_bootstrap=settings.n_bootstrap
        ) if strata is not None else None,
        "permutation": permutation_test(gene, brain, families=who.family, strata=strata, n=settings.n_permutations),
        "columns": column_roles(cohort.table, strata_names(cohort, settings.strata), cohort.own.confounds),
    }  # fmt: skip


def described(settings: JudgementSettings, cohort: Cohort, n_subjects: int, gallery_size: int) -> Metrics:
    """The part of it that needs no vectors."""
    return {
        "schema": 1,
        "run_format": FORMAT,
        "split": settings.split,
        "n_subjects": n_subjects,
        "gallery_size": gallery_size,
        "chance": chance(gallery_size),
        "ceiling": ceiling(cohort, gallery_size),
        "dropped": cohort.funnel.get("dropped", {}),
        "strata_columns": strata_names(cohort, settings.strata),
    }


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
    if wanted == "auto":
        return strata_columns(cohort.table, cohort.own.strata)
    return [wanted] if isinstance(wanted, str) else list(wanted)


def strata_labels(cohort: Cohort, rows: IntArray, wanted: str | Sequence[str]) -> list[str] | None:
    """Stratum of each of these people; None where there is nothing to stratify by."""
    columns = strata_names(cohort, wanted)
    if not columns:
        return None
    labels = cohort.strata(columns)
    return [labels[row] for row in rows]


def gene_readings(closed: ClosedForm) -> Metrics | None:
    """Sets of gene columns with what they reach in cross-validation, best prior of each; None where there is one set.

    Returns
    -------
    dict
        ``stack`` and ``alone`` (by family): recall@1 in cross-validation; ``sets``: per set its ``columns``,
        ``family``, best ``mode``, ``recall@1`` of that alone, ``weight`` of all its priors in the stack.
    """
    genes = closed.chosen.get("genes")
    if not genes:
        return None
    sets: dict[str, Metrics] = {}
    for row in genes["members"]:
        own = sets.setdefault(row["columns"], {**row, "weight": 0.0})
        weight = own["weight"] + row["weight"]
        if row["recall@1"] > own["recall@1"]:
            own.update(row)
        own["weight"] = weight
    return {
        "stack": closed.chosen["recall@1"],
        "alone": dict(genes["alone"]),
        "sets": list(sets.values()),
    }
