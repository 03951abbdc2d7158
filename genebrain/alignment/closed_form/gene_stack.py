"""Stack of gene readings: predictions of all column sets and priors, added up with weights that held-out people give.

A member is one prior on one set of columns. Weights are not negative and minimise the squared error of the members'
held-out predictions (Breiman 1996, Stacked regressions). The sum stays linear in the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear

from genebrain.alignment.closed_form.choice import Chosen, Judge, fit_priors, score_vectors
from genebrain.alignment.closed_form.column_sets import ColumnSet, SetColumns
from genebrain.alignment.closed_form.empirical_bayes import Posterior, fit_ridge
from genebrain.alignment.closed_form.regression_data import Form
from genebrain.alignment.closed_form.score import MAX_SLOPE, Calibration
from genebrain.alignment.large_tables import give_back
from genebrain.common.types import FloatArray

STACK = "stack"
"""In the place of the name of a prior."""
LEAST_WEIGHT = 1e-3
"""A member with less counts as not used."""
MOST_GROWN = 2.0
"""Sum of squares of a fit's coefficients on everybody, over that of its fits without a fold, at most. A quarter more
people make it 1.6 times as large where it is proportional to them; a sparse prior may find nothing in any fold and much
in everybody, and then nobody has judged what it found."""


@dataclass(frozen=True)
class Member:
    """One prior on one set of columns.

    Attributes
    ----------
    columns : str
        Name of the set.
    family : str
    mode : "ridge", "row" or "entry"
    held_out : array [people, dims]
        Prediction of each person by the fit without the person's fold, in the latents as they were given.
    coefficients : array [columns, dims]
        Of the fit on everybody, not much larger than those of the fits that were judged (`MOST_GROWN`).
    recall : float
        Of this member alone, in cross-validation.
    """

    columns: str
    family: str
    mode: str
    held_out: FloatArray
    coefficients: FloatArray
    recall: float

    @classmethod
    def of(cls, judge: Judge, posterior: Posterior, u: FloatArray, columns: str, family: str, mode: str) -> Member:
        """From a batch of fits, the last of which is on everybody."""
        ghat = judge.predicted(posterior)
        held_out = np.zeros_like(u)
        for fit, rows in enumerate(judge.folds):
            held_out[rows] = ghat[rows] @ posterior.rotation[fit].T
        coefficients = posterior.mean[-1] @ posterior.rotation[-1].T
        *judged, own = (float(np.sum(np.square(mean, dtype=np.float64))) for mean in posterior.mean)
        if judged and own > MOST_GROWN * np.mean(judged):
            coefficients = coefficients * np.sqrt(MOST_GROWN * np.mean(judged) / own)
        return cls(columns, family, mode, held_out, coefficients, judge.judge(posterior, u, ghat)[0])


@dataclass(frozen=True)
class Reading:
    """What the genes say about the latents, and how to score it.

    Attributes
    ----------
    weights : array [members]
    predictive : array [dims]
        Variance of the errors.
    calibration : Calibration
    recall : float
        Cross-validated, each fold judged with weights and variances of the others.
    """

    weights: FloatArray
    predictive: FloatArray
    calibration: Calibration
    recall: float


def stacked_reading(judge: Judge, members: Sequence[Member], u: FloatArray) -> Reading:
    """Weights of the members by non-negative least squares, and the calibration of their sum.

    Slope and errors are those of sums whose weights did not see the person either: weights fitted on the very people
    give a slope of one even where the genes say nothing.
    """
    predictions = np.stack([member.held_out for member in members])
    nested, recall = _nested(judge, predictions, u)
    return Reading(_weights(predictions, u), *_calibrated(nested, u), recall)


def first_members(judge: Judge, columns: SetColumns, u: FloatArray, first: Chosen) -> list[Member]:
    """Every wanted prior on the first set, which ``judge`` holds; they were fitted with the latents."""
    return _members(judge, first.posteriors, u, columns.sets[0])


def further_members(
    judge: Judge,
    table: Callable[[int], FloatArray],
    columns: SetColumns,
    u: FloatArray,
    form: Form,
    *,
    progress: bool = False,
) -> list[Member]:
    """Every wanted prior on every other set.

    Parameters
    ----------
    table : callable
        Number of a set -> its columns ``[people, columns]``, made when their turn comes.
    """
    members = []
    for number, one in enumerate(columns.sets[1:], start=1):
        judge = replace(judge, x=judge.x[:0].copy())  # the table of the set before goes first
        judge = replace(judge, x=table(number))
        give_back()
        data = form.of_subsets(judge.x, u, judge.left_out)
        fits = data, fit_ridge(data, progress=progress)
        posteriors = fit_priors(judge, u, fits, judge.settings.modes, progress=progress)
        del data, fits  # the next set's tables are as large
        members += _members(judge, posteriors, u, one)
    return members


def _members(judge: Judge, posteriors: Mapping[str, Posterior], u: FloatArray, one: ColumnSet) -> list[Member]:
    return [
        Member.of(judge, posterior, u, one.name, one.family, mode)
        for mode, posterior in posteriors.items()
        if mode in judge.settings.modes or len(posteriors) == 1
    ]


def held_out_errors(judge: Judge, members: Sequence[Member], u: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Squared errors ``[people, dims]`` of sums whose weights did not see the person, and their mean per dimension."""
    nested, _ = _nested(judge, np.stack([member.held_out for member in members]), u)
    predictive, calibration = _calibrated(nested, u)
    return (u - calibration.slope * nested) ** 2, predictive


def _weights(predictions: FloatArray, u: FloatArray) -> FloatArray:
    """Least squares with weights from 0 to the largest slope, all dimensions together."""
    table = predictions.reshape(len(predictions), -1).T
    if not np.any(table):
        return np.zeros(len(predictions))
    # By its triangle: the table has a row per person and dimension. Without a limit a member that predicts next to
    # nothing could get a weight of a hundred.
    q, r = np.linalg.qr(table)
    weights = np.asarray(lsq_linear(r, q.T @ u.ravel(), (0.0, MAX_SLOPE), method="bvls").x)
    return np.where(weights < LEAST_WEIGHT, 0.0, weights)


def _calibrated(prediction: FloatArray, u: FloatArray) -> tuple[FloatArray, Calibration]:
    """Variance of the errors of held-out predictions per dimension, and their slope."""
    power = float(np.sum(prediction**2))
    slope = float(np.clip(np.sum(prediction * u) / power, 0.0, MAX_SLOPE)) if power > 1e-9 * u.size else 0.0
    variance = float(np.mean(u**2)) if u.size else 0.0
    if not slope or not variance > 0:
        return np.ones(u.shape[1]), Calibration(slope=0.0)
    error = np.mean((u - slope * prediction) ** 2, axis=0)
    return np.maximum(error, 1e-9 * variance), Calibration(variance, slope)


def _nested(judge: Judge, predictions: FloatArray, u: FloatArray) -> tuple[FloatArray, float]:
    """Sums with the weights of the other folds, and the criterion with their slope and variances too."""
    sums, value = np.zeros_like(u), 0.0
    for rows in judge.folds:
        others = np.setdiff1d(np.arange(len(u)), rows)
        weights = _weights(predictions[:, others], u[others])
        predictive, calibration = _calibrated(np.tensordot(weights, predictions[:, others], 1), u[others])
        sums[rows] = np.tensordot(weights, predictions[:, rows], 1)
        gene, brain = score_vectors(sums[rows], u[rows], predictive, calibration, judge.settings.score)
        value += judge.recall(gene, brain, rows) * len(rows) / len(u)
    return sums, value


@dataclass(frozen=True)
class Head:
    """A stack as one linear map on the columns of all sets, with its score.

    Attributes
    ----------
    coefficients : array [columns, dims]
    predictive : array [dims]
    calibration : Calibration
    recall : float
        See `Reading`.
    members : list of dict
        What was stacked, with weights.
    """

    coefficients: FloatArray
    predictive: FloatArray
    calibration: Calibration
    recall: float
    members: list[dict[str, Any]]

    def arrays(self) -> dict[str, FloatArray]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in ("coefficients", "predictive")}

    def facts(self) -> dict[str, Any]:
        """Everything else, JSON-ready."""
        return {"calibration": self.calibration.as_dict(), "recall": self.recall, "members": self.members}

    @classmethod
    def from_state(cls, family: str, facts: Mapping[str, Any], state: Mapping[str, Any]) -> Head:
        """Restore from `facts`, and `arrays` under the name of a family."""
        own = {name: state[f"alone.{family}.{name}"] for name in ("coefficients", "predictive")}
        return cls(**own, **{**facts, "calibration": Calibration(**facts["calibration"])})


def heads_of(
    judge: Judge, columns: SetColumns, members: Sequence[Member], u: FloatArray
) -> tuple[SetColumns, dict[str, Head]]:
    """Stack of all members under the name "", of each family under its own; and the sets that have weight in any."""
    families = list(dict.fromkeys(member.family for member in members))
    parts: dict[str, list[Member]] = {"": list(members)}
    if len(families) > 1:
        parts |= {family: [m for m in members if m.family == family] for family in families}
    readings = {name: stacked_reading(judge, part, u) for name, part in parts.items()}
    used = [m.columns for name, part in parts.items() for m, w in zip(part, readings[name].weights, strict=True) if w]
    kept = columns.only(used or [columns.sets[0].name])
    widths = {one.name: len(part.window) for one, part in zip(kept.sets, kept.parts, strict=True)}
    heads = {}
    for name, part in parts.items():
        found = readings[name]
        heads[name] = Head(
            _coefficients(part, found, widths), found.predictive, found.calibration, found.recall, _told(part, found)
        )
    return kept, heads


def _coefficients(members: Sequence[Member], found: Reading, widths: Mapping[str, int]) -> FloatArray:
    """Weighted sum of the members' coefficients, on the columns of all sets one behind the other."""
    summed = {name: np.zeros((width, len(found.predictive))) for name, width in widths.items()}
    for member, weight in zip(members, found.weights, strict=True):
        if weight:
            summed[member.columns] += weight * member.coefficients
    return np.concatenate(list(summed.values()))


def _told(members: Sequence[Member], found: Reading) -> list[dict[str, Any]]:
    """One row per member for records and reports."""
    return [
        {"columns": m.columns, "family": m.family, "mode": m.mode, "recall@1": m.recall, "weight": float(w)}
        for m, w in zip(members, found.weights, strict=True)
    ]
