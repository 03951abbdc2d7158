"""Known answers of a simulated cohort for the people that are judged: ceiling and oracle."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from genebrain.cohort.participants import Cohort
from genebrain.cohort.tables.files import read_table
from genebrain.cohort.tables.names import natural
from genebrain.cohort.tables.problems import Problems
from genebrain.common.types import FloatArray, IntArray, Metrics
from genebrain.evaluation.ceiling import bayes_ceiling, oracle_pair_vectors
from genebrain.evaluation.learner import learner_vectors
from genebrain.simulation.known_answer import read_known_answer, read_truth

log = logging.getLogger(__name__)


def ceiling(cohort: Cohort, gallery_size: int) -> Metrics | None:
    """Best possible recall@1 and recall@5 in expectation; None for real cohorts and where no bound is known."""
    if cohort.known_answer is None:
        return None
    answer = read_known_answer(cohort.known_answer)
    stored = answer["ceiling"]
    if stored is None:
        return None
    values = stored.get(gallery_size) or bayes_ceiling(
        answer["k"], answer["r2"], gallery_size, mislabelled=answer.get("model", {}).get("mislabelled", 0.0)
    )
    spoilt = " and ".join(name for name in ("motion", "noise") if name in answer)
    bound = f"; an upper bound: the score on scans without {spoilt}" if spoilt else ""
    return {
        **{name: values[name] for name in ("recall@1", "recall@5", "recall@10") if name in values},
        "source": f"Bayes-optimal score of the simulation, k = {answer['k']}, r2 = {answer['r2']:.3f}{bound}",
    }


def oracle_vectors(cohort: Cohort, rows: IntArray) -> tuple[FloatArray, FloatArray] | None:
    """Optimal score vectors of the true genetic values and the optimal readings of the scans of these people."""
    truth = true_values(cohort)
    if truth is None or cohort.known_answer is None:
        return None
    r2 = read_known_answer(cohort.known_answer)["r2"]
    return oracle_pair_vectors(truth["g"][rows], truth["u"][rows], r2)


def learner_pair(cohort: Cohort, training: IntArray, rows: IntArray) -> tuple[FloatArray, FloatArray] | None:
    """Score vectors of the best possible learner from these training people; None where it is not known."""
    truth = true_values(cohort)
    if truth is None or cohort.known_answer is None or "design" not in truth:
        return None
    r2 = read_known_answer(cohort.known_answer)["r2"]
    return learner_vectors(truth["design"], truth["u"], r2, training, rows)


def true_values(cohort: Cohort) -> dict[str, FloatArray] | None:
    """True values of the people of the cohort; None for real cohorts and without an effect."""
    if cohort.known_answer is None or read_known_answer(cohort.known_answer)["r2"] <= 0:
        return None
    truth: dict[str, Any] = dict(read_truth(cohort.known_answer))
    listed = read_table(cohort.folder / "participants.tsv", ["participant_id"], Problems())
    if listed is None:
        return None
    # The simulation wrote its people in the order of their ids, whatever was done to the rows since.
    place = {name: row for row, name in enumerate(sorted(listed["participant_id"], key=natural))}
    if any(len(values) != len(place) for values in truth.values()):
        log.warning(f"note: the participants of {cohort.name} are others than were simulated: nothing is known")
        return None
    order = np.array([place[name] for name in cohort.table["participant_id"]])
    return {name: values[order] for name, values in truth.items()}
