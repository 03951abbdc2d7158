"""Variational spike-and-slab regression of brain latents on gene columns, its priors learned from the data.

Three priors on the coefficient of column j for latent dimension d:

- ``ridge``: every coefficient is Gaussian (genomic BLUP); solved exactly from one reduction of the table;
- ``row``: a column acts on all dimensions or on none (does not depend on how the latents are rotated);
- ``entry``: each coefficient is in or out by itself, in latents rotated by R to make that sparse.

Several fits over subsets of the same people run side by side as one batch (`regression_data`). The fit knows nothing
of folds, families or scores.

Source: Carbonetto & Stephens (2012), variational inference for variable selection, Bayesian Analysis 7(1);
the Procrustes rotation is the orthogonal M-step of a reduced-rank model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from tqdm import tqdm

from genebrain.alignment.closed_form.regression_data import PeopleRows, RegressionData, Residual
from genebrain.alignment.closed_form.spectral import varimax
from genebrain.alignment.large_tables import side_by_side
from genebrain.common.types import FloatArray, IntArray
from genebrain.common.words import no_bar

RIDGE_GRID = np.geomspace(1e-3, 1e4, 43)
"""Noise-to-slab ratios, in units of the number of people; the evidence picks one per dimension, or no signal."""
SWEEPS = 60
"""Sweeps over the columns at most; a fit that moves no more ends before."""
ROUNDS, SHORT_SWEEPS = 5, 6
"""Rotations that ``entry`` tries before its last fit, and the sweeps in between."""
ABREAST, LARGE = 4, 2**28
"""Fits that are reduced side by side at most; one after the other where rows of people have more bytes."""
BLOCK = 32
"""Columns whose steps reach the others together."""
FULL_SWEEP_EVERY = 5
"""Sweeps in between visit only the columns that are in for some dimension: three times faster, same answer."""


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

    def dims(self, start: int, k: int) -> Posterior:
        """Only ``k`` dimensions from ``start`` on."""
        part = slice(start, start + k)
        return Posterior(
            self.mean[:, :, part], self.predictive[:, part], self.inclusion[:, :, part], self.rotation[:, part, part]
        )


def fit_ridge(data: RegressionData, *, again: bool = False, progress: bool = False) -> Posterior:
    """Exact posterior under a Gaussian prior; its variance per dimension maximises the evidence on a grid.

    ``again``: reduced tables are kept for other latents beside them.
    """
    fits, p, k = data.xu.shape
    mean, predictive = np.zeros((fits, p, k)), np.zeros((fits, k))
    # Of rows of people each fit takes its own out, and a table of all of them.
    most = 1 if isinstance(data, PeopleRows) and data.x.nbytes > LARGE else ABREAST
    found = side_by_side(lambda f: _ridge_of(data, f, again), range(fits), most)
    for f, one in enumerate(tqdm(found, "ridge", fits, unit="fit", leave=False, disable=no_bar(progress))):
        mean[f], predictive[f] = one
    every, unturned = np.broadcast_to(1.0, mean.shape), np.broadcast_to(np.eye(k), (fits, k, k))
    return Posterior(mean, predictive, every, unturned)


def _ridge_of(data: RegressionData, f: int, again: bool) -> tuple[FloatArray, FloatArray]:
    """Coefficients and predictive variance of one fit."""
    path = data.ridge_path(f)
    n, total = data.n[f], np.diag(data.uu[f])
    penalty = RIDGE_GRID * n
    explained, log_determinant = path.explained(penalty)  # [dims, grid], [grid]
    rss = np.maximum(total[:, None] - explained, 1e-12 * np.maximum(total, 1e-300)[:, None])
    evidence = -0.5 * n * np.log(rss / n) - 0.5 * log_determinant  # [dims, grid]
    best = evidence.argmax(axis=1)
    no_signal = evidence.max(axis=1) <= -0.5 * n * np.log(np.maximum(total, 1e-300) / n)
    noise = np.where(no_signal, total, rss[np.arange(len(total)), best]) / n
    used = {one: path.used(penalty[one]) for one in np.unique(best[~no_signal])}
    if not again:
        data.kept.pop(f"reduced {f}", None)
    degrees = np.array([used.get(one, 0.0) for one in np.where(no_signal, -1, best)])
    return path.coefficients(np.where(no_signal, np.inf, penalty[best])), noise * (1.0 + degrees / n)


def fit_sparse(
    data: RegressionData,
    start: FloatArray,
    *,
    shared: bool,
    rotation: FloatArray | None = None,
    max_sweeps: int = SWEEPS,
    tolerance: float = 1e-3,
    tick: Callable[[], object] = lambda: None,
) -> Posterior:
    """Coordinate-ascent variational Bayes under a spike and a slab.

    Parameters
    ----------
    start : array [f, columns, dims]
        Coefficients to start from, such as the posterior mean of `fit_ridge`.
    shared : bool
        True: one inclusion per column for all dimensions (``row``). False: one per coefficient (``entry``).
    rotation : array [f, dims, dims], optional
        Recorded in the result; the latents must already be rotated.
    tolerance : float
        Stop when no coefficient moved by more than this share of the largest one in a sweep.
    tick : callable
        Called after every sweep.
    """
    fits, p, k = data.xu.shape
    diagonal = data.diagonal
    total = np.einsum("fdd->fd", data.uu)
    n = data.n[:, None]
    mean = start.copy()
    residual = data.residual(mean)
    noise = np.maximum(total - residual.explained(mean), 0.05 * total) / n + 1e-12
    slab = np.maximum(np.sum(mean**2, axis=1) / max(0.2 * p, 1.0), 1e-6 * total / n) + 1e-12
    log_odds_prior = np.full((fits, 1), np.log(0.2 / 0.8))
    inclusion, variance = np.zeros((fits, p, k)), np.zeros((fits, p, k))
    columns = np.arange(p)
    for sweep in range(max_sweeps):
        # Most columns are out and stay out: look at them in every fifth sweep only.
        full = sweep % FULL_SWEEP_EVERY == 0 or sweep == max_sweeps - 1
        negligible = 0.01 * tolerance * np.abs(mean).max()
        visited = columns if full else columns[inclusion.max(axis=(0, 2)) > 0.01]
        largest_step = 0.0
        for first in range(0, len(visited), BLOCK):
            block = visited[first : first + BLOCK]
            found = _visit(
                residual, block, np.swapaxes(mean[:, block], 0, 1), noise, slab, log_odds_prior, negligible, shared
            )
            mean[:, block], inclusion[:, block], variance[:, block] = (np.swapaxes(one, 0, 1) for one in found[:3])
            largest_step = max(largest_step, found[3])
        power = mean**2 + variance
        included = inclusion.sum(axis=1)
        slab = (power.sum(axis=1) + 1e-3 * slab) / (included + 1e-3)
        slab = np.maximum(slab, 1e-8 * total / n + 1e-300)
        spread = np.sum(diagonal[:, :, None] * variance, axis=1)
        noise = np.maximum(total - residual.explained(mean) + spread, 0.01 * total) / n + 1e-12
        rate = (inclusion.mean(axis=(1, 2))[:, None] * p + 1.0) / (p + 2.0)
        log_odds_prior = np.log(rate) - np.log1p(-rate)
        tick()
        if full and largest_step <= tolerance * np.abs(mean).max():
            break
    predictive = noise + np.sum(diagonal[:, :, None] * variance, axis=1) / n
    if rotation is None:
        rotation = np.broadcast_to(np.eye(k), (fits, k, k)).copy()
    return Posterior(mean, predictive, inclusion, rotation)


def _visit(
    residual: Residual,
    columns: IntArray,
    mean: FloatArray,
    noise: FloatArray,
    slab: FloatArray,
    log_odds_prior: FloatArray,
    negligible: float,
    shared: bool,
) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Visit some columns one after the other; ``mean [columns, f, dims]`` are their coefficients.

    What a step of one changes for the next is followed among these columns only; all others learn of it at the end, in
    one matrix product. That gives what visiting them singly gives.

    Returns
    -------
    mean, inclusion, variance [columns, f, dims], largest step
    """
    left, gram = residual.of(columns), residual.gram(columns)
    own = np.einsum("jjf->jf", gram)[:, :, None]
    v = 1.0 / (own / noise + 1.0 / slab)
    # Everything that does not change while these columns are visited is computed for all of them at once.
    pull, half = v / noise, 0.5 / v
    kept = pull * own * mean
    odds = 0.5 * np.log(v / slab)
    odds = (odds.sum(axis=2, keepdims=True) if shared else odds) + log_odds_prior
    mu, gamma = np.empty_like(mean), np.empty_like(mean)
    new, steps = mean.copy(), np.zeros_like(mean)
    largest_step = 0.0
    for j in range(len(columns)):
        mu[j] = pull[j] * left[j] + kept[j]
        gain = half[j] * mu[j] ** 2
        gamma[j] = expit((gain.sum(axis=1, keepdims=True) if shared else gain) + odds[j])
        moved = gamma[j] * mu[j]
        step = moved - mean[j]
        size = np.abs(step).max()
        if size > negligible:
            new[j], steps[j] = moved, step
            left[j + 1 :] -= gram[j, j + 1 :, :, None] * step
            largest_step = max(largest_step, size)
    if largest_step:
        residual.move(columns, steps)
    return new, gamma, gamma * (v + mu**2) - (gamma * mu) ** 2, largest_step


def fit_entry(data: RegressionData, row: Posterior, *, tick: Callable[[], object] = lambda: None) -> Posterior:
    """Sparse coefficients one by one, in latents rotated to make them sparse.

    Starts from the varimax rotation of the ``row`` posterior, then alternates a few sweeps of the fit with
    the Procrustes rotation ``R = polar((X'U)' B)``.
    """
    rotation: FloatArray = np.stack([varimax(b) for b in row.mean])
    start: FloatArray = row.mean @ rotation
    for _ in range(ROUNDS):
        posterior = fit_sparse(data.rotated(rotation), start, shared=False, max_sweeps=SHORT_SWEEPS, tick=tick)
        left, _, right = np.linalg.svd(np.swapaxes(data.xu, 1, 2) @ posterior.mean)
        rotation = left @ right
        start = posterior.mean
    return fit_sparse(data.rotated(rotation), start, shared=False, rotation=rotation, tick=tick)
