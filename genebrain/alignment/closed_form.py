"""The closed-form recipe: brain latents, sparse Bayesian gene side, calibrated score; all choices by cross-validation.

Contract: arrays in, a fitted `ClosedForm` out; deterministic given the seed. What never sees the pairing of genes
and brains (gene columns, principal components of the brain features) is fitted once on all given rows; whatever
sees it (regression, rotation) is refitted without each fold, folds keep families whole, and the score is
calibrated on held-out predictions only. It does not know files, people's names or which scans were used.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from genebrain.alignment.empirical_bayes import Moments, Posterior, fit_entry, fit_ridge, fit_sparse
from genebrain.alignment.score import Calibration, calibrate, expected_recall_at_1, llr_vectors, unit_rows
from genebrain.alignment.spectral import PrincipalComponents, grouped_folds, principal_components
from genebrain.alignment.window_components import ColumnSettings, WindowColumns
from genebrain.types import FloatArray, IntArray

MAX_COLUMNS = 6000
"""Above this the column-by-column Gram matrices of all folds no longer fit a workstation (6 x 8 x p^2 bytes)."""


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
    """

    columns: ColumnSettings = field(default_factory=ColumnSettings)
    dimensions: tuple[int, ...] = (4, 8, 12, 16, 20, 24)
    modes: tuple[str, ...] = ("ridge", "row", "entry")
    score: Literal["llr", "cosine"] = "llr"
    folds: int = 5
    gallery: int = 32

    def __post_init__(self) -> None:
        unknown = sorted(set(self.modes) - {"ridge", "row", "entry"})
        if unknown or not self.modes:
            raise ValueError(f"modes must be among ridge, row, entry; got {unknown or 'none'}")
        if self.score not in ("llr", "cosine"):
            raise ValueError(f"score must be 'llr' or 'cosine', got {self.score!r}")


@dataclass(frozen=True)
class ClosedForm:
    """A fitted pair of towers whose dot product is the score.

    Attributes
    ----------
    coefficients : array [columns, dims]
        Posterior mean: ``ghat = columns @ coefficients``.
    brain_mean [features], brain_map [features, dims]
        ``u = (features - brain_mean) @ brain_map``, whitened and rotated.
    predictive : array [dims]
        Predictive variance of ``u`` given the genes, before calibration.
    chosen : dict
        Brain candidate, number of dimensions, mode, cross-validated score.
    cv : list of dict
        Everything that was tried, one row each.
    """

    columns: WindowColumns
    coefficients: FloatArray
    brain_mean: FloatArray
    brain_map: FloatArray
    predictive: FloatArray
    calibration: Calibration
    score: str
    chosen: dict[str, Any]
    cv: list[dict[str, Any]]

    def gene_columns(self, blocks: list[FloatArray]) -> FloatArray:
        """Standardised columns float32 ``[people, columns]`` of window blocks."""
        return self.columns.transform(blocks)

    def predicted_latents(self, columns: FloatArray) -> FloatArray:
        """``ghat [people, dims]``: what the genes say about the brain latents."""
        return columns.astype(np.float64) @ self.coefficients

    def observed_latents(self, features: FloatArray) -> FloatArray:
        """``u [people, dims]`` of brain features of the chosen candidate."""
        return (features.astype(np.float64) - self.brain_mean) @ self.brain_map

    def gene_vectors(self, columns: FloatArray) -> FloatArray:
        """Gene tower: columns to float32 vectors ``[people, c]``."""
        ghat = self.predicted_latents(columns)
        return _vectors(ghat, None, self.predictive, self.calibration, self.score)[0].astype(np.float32)

    def brain_vectors(self, features: FloatArray) -> FloatArray:
        """Brain tower: features of the chosen candidate to float32 vectors ``[people, c]``."""
        u = self.observed_latents(features)
        return _vectors(None, u, self.predictive, self.calibration, self.score)[1].astype(np.float32)

    def state(self) -> dict[str, Any]:
        """Arrays and JSON-ready settings from which `from_state` restores the model."""
        own = {n: getattr(self, n) for n in ("coefficients", "brain_mean", "brain_map", "predictive")}
        columns = self.columns.state()
        info = {
            "chosen": self.chosen,
            "cv": self.cv,
            "score": self.score,
            "calibration": asdict(self.calibration),
        }
        nested = {f"columns.{name}": value for name, value in columns.items() if name != "json"}
        return {**own, **nested, "json": {**info, "columns": columns["json"]}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> ClosedForm:
        """Restore what `state` gave."""
        info = state["json"]
        nested = {n.removeprefix("columns."): v for n, v in state.items() if n.startswith("columns.")}
        own = {n: state[n] for n in ("coefficients", "brain_mean", "brain_map", "predictive")}
        return cls(
            columns=WindowColumns.from_state({**nested, "json": info["columns"]}),
            calibration=Calibration(**info["calibration"]),
            **{name: info[name] for name in ("score", "chosen", "cv")},
            **own,
        )


def _vectors(
    ghat: FloatArray | None, u: FloatArray | None, s: FloatArray, calibration: Calibration, score: str
) -> tuple[Any, Any]:
    if score == "llr":
        return llr_vectors(ghat, u, s, calibration)
    live = float(calibration.slope > 0)
    gene, brain = (None if x is None else unit_rows(live * x / np.sqrt(s)) for x in (ghat, u))
    return gene, brain


def fit_closed_form(
    gene_blocks: list[FloatArray],
    brain_candidates: dict[str, FloatArray],
    families: IntArray,
    *,
    seed: int = 0,
    settings: ClosedFormSettings | None = None,
) -> ClosedForm:
    """Choose brain candidate, dimensions and gene prior by grouped cross-validation; refit on all given rows.

    Parameters
    ----------
    gene_blocks : list of float arrays [people, width]
        One block per window.
    brain_candidates : dict of float arrays [people, features]
        Alternative feature sets of the same scans.
    families : int array [people]
        Families stay on one side of every fold.

    Raises
    ------
    ValueError
        Row counts that disagree, non-finite features, fewer than two families, too many gene columns.
    """
    settings = settings or ClosedFormSettings()
    families = np.asarray(families)
    n = len(families)
    _check_inputs(gene_blocks, brain_candidates, n)
    columns = WindowColumns.fit(gene_blocks, settings.columns)
    x = columns.transform(gene_blocks).astype(np.float64)
    if x.shape[1] > MAX_COLUMNS:
        raise ValueError(
            f"{x.shape[1]} gene columns, at most {MAX_COLUMNS} are handled: lower the share of variance, "
            "raise the allele-frequency threshold, or use fewer windows"
        )
    folds = grouped_folds(families, settings.folds, seed)
    most = max(1, min(max(settings.dimensions), n // 4))
    brains = {name: principal_components(f, most) for name, f in brain_candidates.items()}
    judge = _Judge(x, families, folds, settings)
    cv, best_name, latents, fits = _choose_latents(judge, brains, brain_candidates)
    chosen, posterior, calibration = _choose_prior(judge, latents, fits, best_name, cv)
    pc = brains[best_name]
    k = latents.shape[1]
    return ClosedForm(
        columns=columns,
        coefficients=posterior.mean[-1],
        brain_mean=pc.mean,
        brain_map=pc.axes[:, :k] / np.sqrt(pc.variances[:k]) @ posterior.rotation[-1],
        predictive=posterior.predictive[-1],
        calibration=calibration,
        score=settings.score,
        chosen=chosen,
        cv=cv,
    )


@dataclass(frozen=True)
class _Judge:
    """Scores a batch of fits (one per fold, the last on all rows) on the rows each of them has not seen."""

    x: FloatArray
    families: IntArray
    folds: list[IntArray]
    settings: ClosedFormSettings

    @property
    def left_out(self) -> list[IntArray]:
        return [*self.folds, np.zeros(0, dtype=np.int64)]

    def judge(self, posterior: Posterior, u: FloatArray) -> tuple[float, Calibration]:
        """Cross-validated criterion and the calibration of held-out predictions."""
        ghat, latent, s = np.zeros_like(u), np.zeros_like(u), np.zeros_like(u)
        for f, rows in enumerate(self.folds):
            ghat[rows] = self.x[rows] @ posterior.mean[f]
            latent[rows] = u[rows] @ posterior.rotation[f]
            s[rows] = posterior.predictive[f]
        calibration = calibrate(ghat, latent, s)
        value = 0.0
        for f, rows in enumerate(self.folds):
            gene, brain = _vectors(
                ghat[rows], latent[rows], posterior.predictive[f], calibration, self.settings.score
            )
            recall = expected_recall_at_1(gene @ brain.T, self.families[rows], self.settings.gallery)
            value += recall * len(rows) / len(self.x)
        return value, calibration


def _choose_latents(
    judge: _Judge, brains: dict[str, PrincipalComponents], candidates: dict[str, FloatArray]
) -> tuple[list[dict[str, Any]], str, FloatArray, tuple[Moments, Posterior]]:
    """Choose candidate and number of latents with the exact ridge: dimensions are fitted independently there."""
    latents = {name: pc.scores(candidates[name]) for name, pc in brains.items()}
    moments = Moments.of_subsets(judge.x, np.concatenate(list(latents.values()), axis=1), judge.left_out)
    ridge = fit_ridge(moments)
    cv: list[dict[str, Any]] = []
    start = 0
    best: tuple[float, str, int, int] = (-1.0, "", 0, 0)
    for name, u in latents.items():
        for k in sorted({min(k, u.shape[1]) for k in judge.settings.dimensions}):
            value, calibration = judge.judge(_dims(ridge, start, k), u[:, :k])
            cv.append({"brain": name, "k": k, "mode": "ridge", "recall@1": value, "slope": calibration.slope})
            if value > best[0]:
                best = (value, name, k, start)
        start += u.shape[1]
    _, name, k, start = best
    part = slice(start, start + k)
    chosen = Moments(moments.xx, moments.xu[:, :, part], moments.uu[:, part, part], moments.n)
    return cv, name, latents[name][:, :k], (chosen, _dims(ridge, start, k))


def _choose_prior(
    judge: _Judge, u: FloatArray, fits: tuple[Moments, Posterior], name: str, cv: list[dict[str, Any]]
) -> tuple[dict[str, Any], Posterior, Calibration]:
    """Try the priors on the chosen latents; the sparser ones start from the less sparse."""
    moments, ridge = fits
    modes = judge.settings.modes
    posteriors = {"ridge": ridge}
    if u.shape[1] and judge.x.shape[1]:
        if "row" in modes or "entry" in modes:
            posteriors["row"] = fit_sparse(moments, ridge.mean, shared=True)
        if "entry" in modes:
            posteriors["entry"] = fit_entry(moments, posteriors["row"])
    best: tuple[dict[str, Any], Posterior, Calibration] | None = None
    for mode, posterior in posteriors.items():
        value, calibration = judge.judge(posterior, u)
        row = {"brain": name, "k": u.shape[1], "mode": mode, "recall@1": value, "slope": calibration.slope}
        if mode != "ridge":
            cv.append(row)
        wanted = mode in modes or len(posteriors) == 1
        if wanted and (best is None or value > best[0]["recall@1"]):
            best = (dict(row), posterior, calibration)
    if best is None:
        raise ValueError(f"no prior could be fitted among {modes}")
    return best


def _dims(posterior: Posterior, start: int, k: int) -> Posterior:
    part = slice(start, start + k)
    return Posterior(
        posterior.mean[:, :, part],
        posterior.predictive[:, part],
        posterior.inclusion[:, :, part],
        posterior.rotation[:, part, part],
    )


def _check_inputs(blocks: list[FloatArray], candidates: dict[str, FloatArray], n: int) -> None:
    if not candidates:
        raise ValueError("no brain candidates")
    rows = {f"window {w}": len(b) for w, b in enumerate(blocks)} | {
        f"brain {c}": len(f) for c, f in candidates.items()
    }
    wrong = {name: count for name, count in rows.items() if count != n}
    if wrong:
        raise ValueError(f"{n} families labels, but other row counts in {wrong}")
    bad = {c: int((~np.isfinite(f)).any(axis=1).sum()) for c, f in candidates.items()}
    if any(bad.values()):
        raise ValueError(f"non-finite brain features, rows affected: { {c: b for c, b in bad.items() if b} }")
