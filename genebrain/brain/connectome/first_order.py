"""Tests of parcel series without genes: fit of a first-order autoregression, spikes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import BoolArray, FloatArray, IntArray

LAGS = (1, 2, 3, 4)
LIMIT = 0.05
"""Autocorrelation of the residuals, at any of the lags, above which a first-order autoregression does not fit."""
COMPONENTS = 15

Scan = tuple[FloatArray, BoolArray, IntArray]
"""Series ``[frames, parcels]``, usable parcels, frame numbers."""


@dataclass(frozen=True)
class FirstOrderFit:
    """What a group autoregression leaves.

    Attributes
    ----------
    autocorrelation : list of float
        Of the residuals at lags 1 to 4, mean over scans and components.
    excess_kurtosis : float
        Of the residuals; 0 for normal ones, large with spikes.
    largest_step : float
        Largest over median root mean square step from frame to frame; median over scans.
    scans : int
    """

    autocorrelation: list[float]
    excess_kurtosis: float
    largest_step: float
    scans: int

    @property
    def fits(self) -> bool:
        """Whether innovation features measure what a frame adds to the one before."""
        return all(abs(r) <= LIMIT for r in self.autocorrelation)


def first_order_fit(scans: Iterable[Scan]) -> FirstOrderFit:
    """Fit one autoregression to all scans on their leading components, and look at what it leaves.

    Frames that do not follow one another are left out. Scans without all the parcels that the first one has are too.

    Raises
    ------
    ValueError
        No scan.
    """
    from scipy.stats import kurtosis  # takes a second to import

    kept: list[tuple[NDArray[np.float64], BoolArray]] = []
    steps: list[float] = []
    parcels: BoolArray | None = None
    for series, valid, numbers in scans:
        parcels = np.asarray(valid, bool) if parcels is None else parcels
        if not np.all(np.asarray(valid)[parcels]):
            continue
        y = np.asarray(series, np.float64)[:, parcels]
        y = y - y.mean(axis=0)
        y /= np.sqrt(np.mean(y**2))
        follows = np.diff(np.asarray(numbers)) == 1
        size = np.sqrt(np.mean(np.diff(y, axis=0) ** 2, axis=1))[follows]
        if len(size) > max(LAGS) + 1:
            steps.append(float(size.max() / max(np.median(size), 1e-300)))
            kept.append((y, follows))
    if not kept:
        raise ValueError("no scan to look at")
    covariance = np.mean([y.T @ y / len(y) for y, _ in kept], axis=0)
    axes = np.linalg.eigh(covariance)[1][:, : -COMPONENTS - 1 : -1]
    projected = [(y @ axes, follows) for y, follows in kept]
    now = sum(y[1:][f].T @ y[:-1][f] for y, f in projected)
    past = sum(y[:-1][f].T @ y[:-1][f] for y, f in projected)
    ridge = 1e-6 * np.trace(past) / len(past) * np.eye(len(past))
    phi = np.linalg.solve(past + ridge, np.asarray(now).T).T
    correlations, tails = [], []
    for y, follows in projected:
        residual = np.where(follows[:, None], y[1:] - y[:-1] @ phi.T, np.nan)
        correlations.append([list(_autocorrelation(residual, lag)) for lag in LAGS])
        tails.append(kurtosis(residual[follows], axis=0))
    mean = np.nanmean(np.array(correlations), axis=(0, 2))
    return FirstOrderFit([float(r) for r in mean], float(np.mean(tails)), float(np.median(steps)), len(kept))


def _autocorrelation(residual: NDArray[np.float64], lag: int) -> Iterator[float]:
    for column in (residual - np.nanmean(residual, axis=0)).T:
        yield float(np.nanmean(column[lag:] * column[:-lag]) / max(np.nanmean(column**2), 1e-300))
