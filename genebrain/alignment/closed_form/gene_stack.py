"""Stack of gene readings: predictions of all column sets and priors, added up with weights that held-out people give.

A member is one prior on one set of columns. Weights are not negative and minimise the squared error of the members'
held-out predictions (Wolpert 1992; Breiman 1996, Stacked regressions). The sum stays linear in the columns. Its errors
are correlated across latents, which the score accounts for: latents are turned to the axes of the residual covariance,
shrunken towards its diagonal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from genebrain.alignment.closed_form.choice import Judge, score_vectors
from genebrain.alignment.closed_form.column_sets import SetColumns
from genebrain.alignment.closed_form.empirical_bayes import Posterior
from genebrain.alignment.closed_form.score import MAX_SLOPE, Calibration, expected_recall_at_1
from genebrain.common.types import FloatArray

STACK = "stack"
"""In the place of the name of a prior."""
SHARES = (0.0, 0.5, 0.9)
"""Shares of the full residual covariance that are tried, the rest being its diagonal."""


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
        Of the fit on everybody.
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
        held_out = np.zeros_like(u)
        for fit, rows in enumerate(judge.folds):
            held_out[rows] = judge.x[rows] @ posterior.mean[fit] @ posterior.rotation[fit].T
        coefficients = posterior.mean[-1] @ posterior.rotation[-1].T
        return cls(columns, family, mode, held_out, coefficients, judge.judge(posterior, u)[0])


@dataclass(frozen=True)
class Reading:
    """What the genes say about the latents, and how to score it.

    Attributes
    ----------
    weights : array [members]
    turn : array [dims, dims]
        Orthogonal; in the latents ``u @ turn`` the errors do not correlate.
    predictive : array [dims]
        Variance of the errors there.
    calibration : Calibration
    recall : float
        Cross-validated, each fold judged with weights of the others.
    share : float
        Of the full residual covariance.
    """

    weights: FloatArray
    turn: FloatArray
    predictive: FloatArray
    calibration: Calibration
    recall: float
    share: float


def stacked_reading(
    judge: Judge, members: Sequence[Member], u: FloatArray, shares: Sequence[float] = SHARES
) -> Reading:
    """Weights of the members by non-negative least squares, and the residual covariance that cross-validation likes."""
    predictions = np.stack([member.held_out for member in members])
    weights = _weights(predictions, u)
    nested = np.zeros_like(u)
    for rows in judge.folds:
        others = np.setdiff1d(np.arange(len(u)), rows)
        nested[rows] = np.tensordot(_weights(predictions[:, others], u[others]), predictions[:, rows], 1)
    found: list[tuple[float, float]] = []
    for share in shares:
        turn, predictive, calibration = _scored(nested, u, share)
        found.append((_recall(judge, nested @ turn, u @ turn, predictive, calibration), share))
    recall, share = max(found, key=lambda one: (one[0], -one[1]))
    turn, predictive, calibration = _scored(np.tensordot(weights, predictions, 1), u, share)
    return Reading(weights, turn, predictive, calibration, recall, share)


def _weights(predictions: FloatArray, u: FloatArray) -> FloatArray:
    """Least squares with weights that are not negative, all dimensions together."""
    table = predictions.reshape(len(predictions), -1).T
    if not np.any(table):
        return np.zeros(len(predictions))
    # By its triangle: the table has a row per person and dimension, and collinear columns.
    q, r = np.linalg.qr(table)
    return np.asarray(nnls(r, q.T @ u.ravel())[0])


def _scored(prediction: FloatArray, u: FloatArray, share: float) -> tuple[FloatArray, FloatArray, Calibration]:
    """Axes and variances of the shrunken residual covariance of held-out predictions, and their slope."""
    n, k = u.shape
    unturned = np.eye(k), np.ones(k)
    power = float(np.sum(prediction**2))
    slope = float(np.clip(np.sum(prediction * u) / power, 0.0, MAX_SLOPE)) if power > 1e-9 * u.size else 0.0
    variance = float(np.mean(u**2)) if u.size else 0.0
    error = u - slope * prediction
    covariance = error.T @ error / max(n, 1)
    covariance = share * covariance + (1 - share) * np.diag(np.diag(covariance))
    if not slope or not variance > 0:
        return *unturned, Calibration(max(variance, 1e-300), 0.0)
    if share == 0:
        return unturned[0], np.maximum(np.diag(covariance), 1e-12), Calibration(variance, slope)
    values, turn = np.linalg.eigh(covariance)
    turn = turn * np.sign(turn[np.abs(turn).argmax(axis=0), np.arange(k)])  # the same signs on every machine
    return turn, np.maximum(values, 1e-12), Calibration(variance, slope)


def _recall(
    judge: Judge, prediction: FloatArray, u: FloatArray, predictive: FloatArray, calibration: Calibration
) -> float:
    value = 0.0
    for rows in judge.folds:
        gene, brain = score_vectors(prediction[rows], u[rows], predictive, calibration, judge.settings.score)
        recall = expected_recall_at_1(gene @ brain.T, judge.families[rows], judge.settings.gallery)
        value += recall * len(rows) / len(u)
    return value


@dataclass(frozen=True)
class Head:
    """A stack as one linear map on the columns of all sets, with its score.

    Attributes
    ----------
    coefficients : array [columns, dims]
    brain_map : array [features, dims]
        To the latents that are predicted.
    predictive : array [dims]
    calibration : Calibration
    recall, share : float
        See `Reading`.
    members : list of dict
        What was stacked, with weights.
    """

    coefficients: FloatArray
    brain_map: FloatArray
    predictive: FloatArray
    calibration: Calibration
    recall: float
    share: float
    members: list[dict[str, Any]]

    def arrays(self) -> dict[str, FloatArray]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in ("coefficients", "brain_map", "predictive")}

    def facts(self) -> dict[str, Any]:
        """Everything else, JSON-ready."""
        names = ("recall", "share", "members")
        return {"calibration": self.calibration.as_dict(), **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_state(cls, family: str, facts: Mapping[str, Any], state: Mapping[str, Any]) -> Head:
        """Restore from `facts`, and `arrays` under the name of a family."""
        own = {name: state[f"alone.{family}.{name}"] for name in ("coefficients", "brain_map", "predictive")}
        return cls(**own, **{**facts, "calibration": Calibration(**facts["calibration"])})


def heads_of(
    judge: Judge, columns: SetColumns, members: Sequence[Member], u: FloatArray, brain_map: FloatArray
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
            _coefficients(part, found, widths), brain_map @ found.turn, found.predictive, found.calibration,
            found.recall, found.share, _told(part, found),
        )  # fmt: skip
    return kept, heads


def _coefficients(members: Sequence[Member], found: Reading, widths: Mapping[str, int]) -> FloatArray:
    """Weighted sum of the members' coefficients, on the columns of all sets one behind the other."""
    summed = {name: np.zeros((width, len(found.turn))) for name, width in widths.items()}
    for member, weight in zip(members, found.weights, strict=True):
        if weight:
            summed[member.columns] += weight * member.coefficients
    return np.concatenate(list(summed.values())) @ found.turn


def _told(members: Sequence[Member], found: Reading) -> list[dict[str, Any]]:
    """One row per member for records and reports."""
    return [
        {"columns": m.columns, "family": m.family, "mode": m.mode, "recall@1": m.recall, "weight": float(w)}
        for m, w in zip(members, found.weights, strict=True)
    ]
