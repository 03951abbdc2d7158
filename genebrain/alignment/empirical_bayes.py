"""Variational spike-and-slab regression of brain latents on gene columns, its priors learned from the data.

Three priors on the coefficient of column j for latent dimension d:

- ``ridge``: every coefficient is Gaussian (genomic BLUP); solved exactly by one eigendecomposition;
- ``row``: a column acts on all dimensions or on none (does not depend on how the latents are rotated);
- ``entry``: each coefficient is in or out by itself, in latents rotated by R to make that sparse.

Only moments enter (``X'X``, ``X'U``, ``U'U``), so the cost does not grow with people, and several fits over
subsets of the same people run side by side as one batch. The fit knows nothing of folds, families or scores.

Source: Carbonetto & Stephens (2012), variational inference for variable selection, Bayesian Analysis 7(1);
the Procrustes rotation is the orthogonal M-step of a reduced-rank model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from genebrain.alignment.spectral import varimax
from genebrain.types import FloatArray, IntArray

RIDGE_GRID = np.geomspace(1e-3, 1e4, 43)
"""Noise-to-slab ratios, in units of the number of people; the evidence picks one per dimension, or no signal."""


FULL_SWEEP_EVERY = 5
"""Sweeps in between visit only the columns that are in for some dimension: three times faster, same answer."""


@dataclass(frozen=True)
class Moments:
    """Sums over the people of each fit in a batch of ``f`` fits.

    Attributes
    ----------
    xx : array [f, columns, columns]
    xu : array [f, columns, dims]
    uu : array [f, dims, dims]
    n : array [f]
    """

    xx: FloatArray
    xu: FloatArray
    uu: FloatArray
    n: FloatArray

    @classmethod
    def of_subsets(cls, x: FloatArray, u: FloatArray, left_out: Sequence[IntArray]) -> Moments:
        """One fit per entry of ``left_out``, its rows subtracted: the people are summed only once."""
        xx, xu, uu = x.T @ x, x.T @ u, u.T @ u
        parts = [(x[rows], u[rows]) for rows in left_out]
        return cls(
            np.stack([xx - a.T @ a for a, _ in parts]),
            np.stack([xu - a.T @ b for a, b in parts]),
            np.stack([uu - b.T @ b for _, b in parts]),
            np.array([len(x) - len(rows) for rows in left_out], dtype=np.float64),
        )

    def rotated(self, rotation: FloatArray) -> Moments:
        """Moments of ``u @ rotation``, with one rotation per fit ``[f, dims, new dims]``."""
        return Moments(self.xx, self.xu @ rotation, np.swapaxes(rotation, 1, 2) @ self.uu @ rotation, self.n)


@dataclass(frozen=True)
class Posterior:
    """Result of a batch of fits.

    Attributes
    ----------
    mean : array [f, columns, dims]
        Posterior mean coefficients, for the rotated latents.
    predictive : array [f, dims]
        Noise variance plus mean variance of the prediction: how far ``u`` should lie from ``ghat``.
    inclusion : array [f, columns, dims]
        Posterior probability that a coefficient is not zero (all 1 under ``ridge``).
    rotation : array [f, dims, dims]
        The latents that are predicted are ``u @ rotation``.
    """

    mean: FloatArray
    predictive: FloatArray
    inclusion: FloatArray
    rotation: FloatArray


def fit_ridge(moments: Moments) -> Posterior:
    """Exact posterior under a Gaussian prior; its variance per dimension maximises the evidence on a grid."""
    fits, p, k = moments.xu.shape
    mean, predictive = np.zeros((fits, p, k)), np.zeros((fits, k))
    for f in range(fits):
        values, vectors = np.linalg.eigh(moments.xx[f])
        values = np.maximum(values, 0.0)
        projected = vectors.T @ moments.xu[f]
        n, total = moments.n[f], np.diag(moments.uu[f])
        penalty = RIDGE_GRID * n
        shrink = 1.0 / (values[:, None] + penalty)  # [columns, grid]
        rss = np.maximum(total[:, None] - (projected**2).T @ shrink, 1e-12 * np.maximum(total, 1e-300)[:, None])
        log_determinant = np.sum(np.log1p(values[:, None] / penalty), axis=0)
        evidence = -0.5 * n * np.log(rss / n) - 0.5 * log_determinant  # [dims, grid]
        best = evidence.argmax(axis=1)
        noise = rss[np.arange(k), best] / n
        no_signal = evidence.max(axis=1) <= -0.5 * n * np.log(np.maximum(total, 1e-300) / n)
        weights = np.where(no_signal, 0.0, shrink[:, best])
        noise = np.where(no_signal, total / n, noise)
        mean[f] = vectors @ (weights * projected)
        predictive[f] = noise * (1.0 + np.sum(values[:, None] * weights, axis=0) / n)
    inclusion = np.ones((fits, p, k))
    return Posterior(mean, predictive, inclusion, np.broadcast_to(np.eye(k), (fits, k, k)).copy())


def fit_sparse(
    moments: Moments,
    start: FloatArray,
    *,
    shared: bool,
    rotation: FloatArray | None = None,
    max_sweeps: int = 60,
    tolerance: float = 1e-3,
) -> Posterior:
    """Coordinate-ascent variational Bayes under a spike and a slab.

    Parameters
    ----------
    start : array [f, columns, dims]
        Coefficients to start from, such as the posterior mean of `fit_ridge`.
    shared : bool
        True: one inclusion per column for all dimensions (``row``). False: one per coefficient (``entry``).
    rotation : array [f, dims, dims], optional
        Recorded in the result; the moments must already be rotated.
    tolerance : float
        Stop when no coefficient moved by more than this share of the largest one in a sweep.
    """
    fits, p, k = moments.xu.shape
    diagonal = np.einsum("fjj->fj", moments.xx)
    total = np.einsum("fdd->fd", moments.uu)
    n = moments.n[:, None]
    mean = start.copy()
    residual = moments.xu - moments.xx @ mean
    noise = np.maximum(total - np.sum(mean * (moments.xu + residual), axis=1), 0.05 * total) / n + 1e-12
    slab = np.maximum(np.sum(mean**2, axis=1) / max(0.2 * p, 1.0), 1e-6 * total / n) + 1e-12
    log_odds_prior = np.full((fits, 1), np.log(0.2 / 0.8))
    inclusion, variance = np.zeros((fits, p, k)), np.zeros((fits, p, k))
    columns = np.arange(p)
    for sweep in range(max_sweeps):
        # Most columns are out and stay out: look at them in every fifth sweep only.
        full = sweep % FULL_SWEEP_EVERY == 0 or sweep == max_sweeps - 1
        negligible = 0.01 * tolerance * np.abs(mean).max()
        largest_step = 0.0
        for j in columns if full else columns[inclusion.max(axis=(0, 2)) > 0.01]:
            a = diagonal[:, j, None]
            v = 1.0 / (a / noise + 1.0 / slab)
            mu = v * (residual[:, j] + a * mean[:, j]) / noise
            gain = 0.5 * (np.log(v / slab) + mu**2 / v)
            if shared:
                gain = gain.sum(axis=1, keepdims=True)
            gamma = expit(gain + log_odds_prior)
            new = gamma * mu
            step = new - mean[:, j]
            inclusion[:, j] = gamma
            variance[:, j] = gamma * (v + mu**2) - new**2
            size = np.abs(step).max()
            if size > negligible:
                mean[:, j] = new
                residual -= moments.xx[:, j, :, None] * step[:, None, :]
                largest_step = max(largest_step, size)
        power = mean**2 + variance
        included = inclusion.sum(axis=1)
        slab = (power.sum(axis=1) + 1e-3 * slab) / (included + 1e-3)
        slab = np.maximum(slab, 1e-8 * total / n + 1e-300)
        explained = np.sum(mean * (moments.xu + residual), axis=1)
        spread = np.sum(diagonal[:, :, None] * variance, axis=1)
        noise = np.maximum(total - explained + spread, 0.01 * total) / n + 1e-12
        rate = (inclusion.mean(axis=(1, 2))[:, None] * p + 1.0) / (p + 2.0)
        log_odds_prior = np.log(rate) - np.log1p(-rate)
        if full and largest_step <= tolerance * np.abs(mean).max():
            break
    predictive = noise + np.sum(diagonal[:, :, None] * variance, axis=1) / n
    if rotation is None:
        rotation = np.broadcast_to(np.eye(k), (fits, k, k)).copy()
    return Posterior(mean, predictive, inclusion, rotation)


def fit_entry(moments: Moments, row: Posterior, *, rounds: int = 5) -> Posterior:
    """Sparse coefficients one by one, in latents rotated to make them sparse.

    Starts from the varimax rotation of the ``row`` posterior, then alternates a few sweeps of the fit with
    the Procrustes rotation ``R = polar((X'U)' B)``.
    """
    rotation: FloatArray = np.stack([varimax(b) for b in row.mean])
    start: FloatArray = row.mean @ rotation
    for _ in range(rounds):
        posterior = fit_sparse(moments.rotated(rotation), start, shared=False, max_sweeps=6)
        left, _, right = np.linalg.svd(np.swapaxes(moments.xu, 1, 2) @ posterior.mean)
        rotation = left @ right
        start = posterior.mean
    return fit_sparse(moments.rotated(rotation), start, shared=False, rotation=rotation)
