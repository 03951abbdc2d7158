"""Model selection for the closed form, by grouped cross-validation.

One batch holds a fit per fold, without that fold's people, and a last one on everybody. Everything that saw the
pairing of genes and brains is judged on held-out people only. Nothing here leaves per-person results behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.empirical_bayes import (
    ROUNDS,
    SHORT_SWEEPS,
    SWEEPS,
    Posterior,
    fit_entry,
    fit_ridge,
    fit_sparse,
)
from genebrain.alignment.closed_form.latents import kind_of
from genebrain.alignment.closed_form.regression_data import Form, RegressionData, in_doubles
from genebrain.alignment.closed_form.score import Calibration, calibrate, llr_vectors, unit_rows
from genebrain.alignment.closed_form.spectral import PrincipalComponents
from genebrain.common.types import FloatArray, IntArray
from genebrain.common.words import no_bar
from genebrain.evaluation.rank_metrics import expected_recall_at_1

NEAR = 3.0
"""Standard errors of the criterion within which ridge cannot tell two kinds of candidates apart."""
MANY, RIVALS = 6000, 1000
"""People above whom folds are ranked in parts, and those of a part, about: tables of all pairs grow with the square."""


@dataclass(frozen=True)
class ClosedFormSettings:
    """What is tried, and how it is judged.

    Attributes
    ----------
    columns : ColumnSettings
        How window blocks become gene columns.
    dimensions : tuple of int
        Numbers of brain latents to try; capped by a quarter of the people and by the features' rank.
    modes : tuple of "ridge", "row", "entry"
        Priors to try on the gene side.
    score : "llr" or "cosine"
    folds, gallery : int
        Folds of the cross-validation, and the gallery size of its criterion (expected recall@1).
    stack : bool
        Where candidates are of several kinds: prefer fewer latents, and stack a further kind where that pays.
    tolerance : float
        What the criterion may lose for fewer latents.
    stack_gain : float
        What a further kind of candidates must add to the criterion.
    parts : tuple of (candidate, dimensions)
        The stack that another fit has chosen, to be repeated; empty: choose.
    """

    columns: ColumnSettings = field(default_factory=ColumnSettings)
    dimensions: tuple[int, ...] = (4, 8, 12, 16, 20, 24)
    modes: tuple[str, ...] = ("ridge", "row", "entry")
    score: Literal["llr", "cosine"] = "llr"
    folds: int = 5
    gallery: int = 32
    stack: bool = False
    tolerance: float = 0.003
    stack_gain: float = 0.01
    parts: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.modes) - {"ridge", "row", "entry"})
        if unknown or not self.modes:
            raise ValueError(f"modes must be among ridge, row, entry; got {unknown or 'none'}")
        if self.score not in ("llr", "cosine"):
            raise ValueError(f"score must be 'llr' or 'cosine', got {self.score!r}")


def score_vectors(
    ghat: FloatArray | None, u: FloatArray | None, s: FloatArray, calibration: Calibration, score: str
) -> tuple[Any, Any]:
    """Gene and brain vectors of the wanted score; None where the input is None (see `score.llr_vectors`)."""
    if score == "llr":
        return llr_vectors(ghat, u, s, calibration)
    live = float(calibration.slope > 0)
    gene, brain = (None if x is None else unit_rows(live * x / np.sqrt(s)) for x in (ghat, u))
    return gene, brain


@dataclass(frozen=True)
class Judge:
    """Scores a batch of fits (one per fold, the last on all rows) on the rows each of them has not seen.

    Attributes
    ----------
    x : array [people, columns]
        Single precision will do: sums are made in double precision, some people at a time.
    """

    x: FloatArray
    genomes: IntArray
    folds: list[IntArray]
    settings: ClosedFormSettings

    @property
    def left_out(self) -> list[IntArray]:
        """Rows that each fit does without: one fold after the other, then none."""
        return [*self.folds, np.zeros(0, dtype=np.int64)]

    def recall(self, gene: FloatArray, brain: FloatArray, rows: IntArray) -> float:
        """Recall@1 of some rows against each other, by the rule of ``evaluate``; of very many people in equal parts."""
        parts, value = max(1, round(len(rows) / RIVALS)) if len(self.genomes) > MANY else 1, 0.0
        for part in range(parts):
            some = slice(part, None, parts)  # neighbours in a table may be of one site
            found = expected_recall_at_1(
                gene[some] @ brain[some].T, self.genomes[rows[some]], relatives="rivals", gallery=self.settings.gallery
            )
            value += found * len(rows[some]) / len(rows)
        return value

    def predicted(self, posterior: Posterior) -> FloatArray:
        """Of each person ``[people, dims]``, by the fit without the person's fold; latents are those it rotated."""
        found = np.zeros((len(self.x), posterior.mean.shape[2]))
        for f, rows in enumerate(self.folds):
            for some, x in in_doubles(self.x, rows):
                found[some] = x @ posterior.mean[f]
        return found

    def judge(self, posterior: Posterior, u: FloatArray, ghat: FloatArray) -> tuple[float, Calibration]:
        """Cross-validated criterion and the calibration of held-out predictions, which `predicted` gave."""
        latent, s = np.zeros_like(u), np.zeros_like(u)
        for f, rows in enumerate(self.folds):
            latent[rows] = u[rows] @ posterior.rotation[f]
            s[rows] = posterior.predictive[f]
        calibration = calibrate(ghat, latent, s)
        value = 0.0
        for f, rows in enumerate(self.folds):
            gene, brain = score_vectors(
                ghat[rows], latent[rows], posterior.predictive[f], calibration, self.settings.score
            )
            value += self.recall(gene, brain, rows) * len(rows) / len(self.x)
        return value, calibration


Fits = tuple[RegressionData, Posterior]
"""Sums over the people of each fit, and the ridge posterior of their latents."""


def rank_latents(
    judge: Judge,
    brains: dict[str, PrincipalComponents],
    candidates: dict[str, FloatArray],
    form: Form,
    *,
    progress: bool = False,
) -> tuple[list[dict[str, Any]], list[tuple[str, FloatArray, Fits]]]:
    """Choose candidate and number of latents with the exact ridge: dimensions are fitted independently there.

    With ``settings.stack`` and candidates of several kinds, also the best of every other kind that ridge cannot tell
    from the best of all, best first; of each the smallest number within ``settings.tolerance``: ridge does not mind
    latents too many, the sparse priors do.
    """
    scores = {name: pc.scores(candidates[name]) for name, pc in brains.items()}
    data = form.of_subsets(judge.x, np.concatenate(list(scores.values()), axis=1), judge.left_out)
    kinds = {name: kind_of(name) if judge.settings.stack else "" for name in scores}
    several = len(set(kinds.values())) > 1
    ridge = fit_ridge(data, again=several, progress=progress)
    ghat = judge.predicted(ridge)
    cv: list[dict[str, Any]] = []
    starts: dict[str, int] = {}
    start = 0
    for name, u in scores.items():
        starts[name] = start
        for k in sorted({min(k, u.shape[1]) for k in judge.settings.dimensions}):
            value, calibration = judge.judge(ridge.dims(start, k), u[:, :k], ghat[:, start : start + k])
            cv.append({"brain": name, "k": k, "mode": "ridge", "recall@1": value, "slope": calibration.slope})
        start += u.shape[1]
    best = max(cv, key=lambda row: row["recall@1"])["recall@1"]
    error = np.sqrt(max(best * (1 - best), 0.0) / len(judge.x))
    ranked = []
    for kind in dict.fromkeys(kinds.values()):
        own = [row for row in cv if kinds[row["brain"]] == kind]
        chosen = max(own, key=lambda row: row["recall@1"])
        if chosen["recall@1"] < best - NEAR * error:
            continue
        if several:
            near = [row for row in own if row["recall@1"] >= chosen["recall@1"] - judge.settings.tolerance]
            chosen = min(near, key=lambda row: (row["k"], -row["recall@1"]))
        ranked.append(chosen)
    found: list[tuple[str, FloatArray, Fits]] = []
    for row in sorted(ranked, key=lambda row: -row["recall@1"]):
        name, k, start = row["brain"], row["k"], starts[row["brain"]]
        found.append((name, scores[name][:, :k], (data.part(slice(start, start + k)), ridge.dims(start, k))))
    return cv, found


def fit_priors(
    judge: Judge, u: FloatArray, fits: Fits, modes: tuple[str, ...], *, progress: bool = False
) -> dict[str, Posterior]:
    """Fit the priors on the chosen latents; the sparser ones start from the less sparse."""
    data, ridge = fits
    posteriors = {"ridge": ridge}
    sparse = [mode for mode in ("row", "entry") if mode in modes or "entry" in modes]
    if sparse and u.shape[1] and judge.x.shape[1]:
        most = SWEEPS + ("entry" in sparse) * (ROUNDS * SHORT_SWEEPS + SWEEPS)
        with tqdm(total=most, desc=" and ".join(sparse), unit="sweep", leave=False, disable=no_bar(progress)) as bar:
            posteriors["row"] = fit_sparse(data, ridge.mean, shared=True, tick=bar.update)
            if "entry" in sparse:
                posteriors["entry"] = fit_entry(data, posteriors["row"], tick=bar.update)
            bar.total = bar.n  # most fits end before the last sweep that they may take
    return posteriors


@dataclass(frozen=True)
class Chosen:
    """The best prior on some latents, and all that were fitted."""

    row: dict[str, Any]
    posterior: Posterior
    calibration: Calibration
    posteriors: dict[str, Posterior]


def choose_prior(
    judge: Judge,
    u: FloatArray,
    fits: Fits,
    name: str,
    cv: list[dict[str, Any]],
    *,
    progress: bool = False,
) -> Chosen:
    """Try the priors on the chosen latents."""
    modes = judge.settings.modes
    posteriors = fit_priors(judge, u, fits, modes, progress=progress)
    best: tuple[dict[str, Any], Posterior, Calibration] | None = None
    for mode, posterior in posteriors.items():
        value, calibration = judge.judge(posterior, u, judge.predicted(posterior))
        row = {"brain": name, "k": u.shape[1], "mode": mode, "recall@1": value, "slope": calibration.slope}
        if mode != "ridge":
            cv.append(row)
        wanted = mode in modes or len(posteriors) == 1
        if wanted and (best is None or value > best[0]["recall@1"]):
            best = (dict(row), posterior, calibration)
    if best is None:
        raise ValueError(f"no prior could be fitted among {modes}")
    return Chosen(*best, posteriors)
