"""The regressions of the closed form as they are written down: columns by columns, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from genebrain.alignment.closed_form.empirical_bayes import (
    FULL_SWEEP_EVERY,
    RIDGE_GRID,
    ROUNDS,
    SHORT_SWEEPS,
    SWEEPS,
    Posterior,
)
from genebrain.alignment.closed_form.regression_data import Moments
from genebrain.alignment.closed_form.spectral import varimax


def unturned(fits: int, k: int) -> np.ndarray:
    return np.broadcast_to(np.eye(k), (fits, k, k)).copy()


def ridge(data: Moments) -> Posterior:
    fits, p, k = data.xu.shape
    mean, predictive = np.zeros((fits, p, k)), np.zeros((fits, k))
    for f in range(fits):
        values, vectors = np.linalg.eigh(data.xx[f])
        values = np.maximum(values, 0.0)
        projected = vectors.T @ data.xu[f]
        n, total = data.n[f], np.diag(data.uu[f])
        penalty = RIDGE_GRID * n
        shrink = 1.0 / (values[:, None] + penalty)
        rss = total[:, None] - (projected**2).T @ shrink
        evidence = -0.5 * n * np.log(rss / n) - 0.5 * np.sum(np.log1p(values[:, None] / penalty), axis=0)
        best = evidence.argmax(axis=1)
        silent = evidence.max(axis=1) <= -0.5 * n * np.log(total / n)
        weights = np.where(silent, 0.0, shrink[:, best])
        noise = np.where(silent, total, rss[np.arange(k), best]) / n
        mean[f] = vectors @ (weights * projected)
        predictive[f] = noise * (1.0 + np.sum(values[:, None] * weights, axis=0) / n)
    return Posterior(mean, predictive, np.ones((fits, p, k)), unturned(fits, k))


def sparse(data: Moments, start: Any, *, shared: bool, rotation: Any = None, max_sweeps: int = SWEEPS) -> Posterior:
    fits, p, k = data.xu.shape
    diagonal, total, n = data.diagonal, np.einsum("fdd->fd", data.uu), data.n[:, None]
    mean = start.copy()
    residual = data.xu - data.xx @ mean
    noise = np.maximum(total - np.sum(mean * (data.xu + residual), axis=1), 0.05 * total) / n + 1e-12
    slab = np.maximum(np.sum(mean**2, axis=1) / max(0.2 * p, 1.0), 1e-6 * total / n) + 1e-12
    log_odds = np.full((fits, 1), np.log(0.2 / 0.8))
    inclusion, variance = np.zeros((fits, p, k)), np.zeros((fits, p, k))
    columns = np.arange(p)
    for sweep in range(max_sweeps):
        full = sweep % FULL_SWEEP_EVERY == 0 or sweep == max_sweeps - 1
        negligible, largest = 1e-5 * np.abs(mean).max(), 0.0
        for j in columns if full else columns[inclusion.max(axis=(0, 2)) > 0.01]:
            a = diagonal[:, j, None]
            v = 1.0 / (a / noise + 1.0 / slab)
            mu = v * (residual[:, j] + a * mean[:, j]) / noise
            gain = 0.5 * (np.log(v / slab) + mu**2 / v)
            gamma = expit((gain.sum(axis=1, keepdims=True) if shared else gain) + log_odds)
            step = gamma * mu - mean[:, j]
            inclusion[:, j], variance[:, j] = gamma, gamma * (v + mu**2) - (gamma * mu) ** 2
            if np.abs(step).max() > negligible:
                mean[:, j] = gamma * mu
                residual -= data.xx[:, j, :, None] * step[:, None, :]
                largest = max(largest, np.abs(step).max())
        slab = ((mean**2 + variance).sum(axis=1) + 1e-3 * slab) / (inclusion.sum(axis=1) + 1e-3)
        slab = np.maximum(slab, 1e-8 * total / n + 1e-300)
        spread = np.sum(diagonal[:, :, None] * variance, axis=1)
        noise = total - np.sum(mean * (data.xu + residual), axis=1) + spread
        noise = np.maximum(noise, 0.01 * total) / n + 1e-12
        rate = (inclusion.mean(axis=(1, 2))[:, None] * p + 1.0) / (p + 2.0)
        log_odds = np.log(rate) - np.log1p(-rate)
        if full and largest <= 1e-3 * np.abs(mean).max():
            break
    predictive = noise + np.sum(diagonal[:, :, None] * variance, axis=1) / n
    return Posterior(mean, predictive, inclusion, unturned(fits, k) if rotation is None else rotation)


def entry(data: Moments, row: Posterior) -> Posterior:
    rotation: np.ndarray = np.stack([varimax(b) for b in row.mean])
    start = row.mean @ rotation
    for _ in range(ROUNDS):
        found = sparse(data.rotated(rotation), start, shared=False, max_sweeps=SHORT_SWEEPS)
        left, _, right = np.linalg.svd(np.swapaxes(data.xu, 1, 2) @ found.mean)
        rotation, start = left @ right, found.mean
    return sparse(data.rotated(rotation), start, shared=False, rotation=rotation)
