"""Networks of parcels by spectral clustering of the mean correlations of training people, and what each does in time.

The *coherence* of a network at a moment is the power of the sum of its parcels over the sum of their powers: 1 over
their number if they move alone, 1 if they move as one. Its *envelope* is the logarithm of the power of the mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.connectome.missing_parcels import Float64
from genebrain.common.types import BoolArray, IntArray

NETWORKS, PARCELS_EACH = 12, 4
"""Networks, and how many parcels each needs on average: fewer parcels give fewer networks."""
SMOOTH_S = 2.2
"""Seconds that powers are averaged over."""
LAGS_S = (0.735, 1.5, 3.0, 6.0, 12.0)
"""Seconds between the moments of an autocorrelation."""
FEWEST_FRAMES = 12
FLOOR = 0.02
"""Added to powers, where that of a parcel is 1: a moment without power is not minus infinity."""
TINY = 1e-9


def network_labels(covariance: Float64) -> IntArray:
    """Network of every parcel: normalised cuts of positive correlations (Ng, Jordan and Weiss 2002)."""
    from sklearn.cluster import KMeans

    n = max(2, min(NETWORKS, len(covariance) // PARCELS_EACH))
    spread = np.sqrt(np.maximum(np.diag(covariance), TINY))
    alike = np.maximum(covariance / spread / spread[:, None], 0)
    np.fill_diagonal(alike, 0)
    root = np.sqrt(alike.sum(axis=1) + TINY)
    axes = np.linalg.eigh(alike / root / root[:, None])[1][:, -n:]
    axes /= np.linalg.norm(axes, axis=1, keepdims=True) + TINY
    # Signs of eigenvectors turn with the library; distances between rows do not.
    return np.asarray(KMeans(n, n_init=10, random_state=0).fit_predict(axes), np.int64)


def network_statistics(
    series: NDArray[np.float64], usable: BoolArray, tr: float, labels: IntArray
) -> NDArray[np.float64]:
    """Coherence (:func:`coherence_width` numbers), then the covariance of envelopes, upper triangle; NaN where unknown.

    Parameters
    ----------
    series : float ``[frames, parcels]``
    usable : bool ``[parcels]``
    tr : float
        Seconds between two frames; NaN where they are unknown.
    labels : int ``[parcels]``
        Network of every parcel; below 0: none.
    """
    n, upper = int(labels.max()) + 1, np.triu_indices(int(labels.max()) + 1)
    spread = series.std(axis=0)
    member = (labels[:, None] == np.arange(n)) & (usable & (spread > 0))[:, None]
    count = member.sum(axis=0)
    if not tr > 0 or len(series) < max(FEWEST_FRAMES, 2 * SMOOTH_S / tr):
        return np.full(coherence_width(n) + len(upper[0]), np.nan)
    share = member / np.maximum(count, 1)
    scaled = series / np.where(spread > 0, spread, 1)
    frames = max(2, round(SMOOTH_S / tr))
    together, each = _running(np.square(scaled @ share), frames), _running(np.square(scaled) @ share, frames)
    coherence = together / (each + TINY)
    envelope = np.log(together + FLOOR)
    envelope -= envelope.mean(axis=0)
    covariance = envelope.T @ envelope / len(envelope)
    found = np.stack([3 * coherence.mean(axis=0), *_second_order(coherence - coherence.mean(axis=0), tr)], axis=1)
    found[count < 2], covariance[count == 0], covariance[:, count == 0] = np.nan, np.nan, np.nan
    return np.concatenate([found.ravel(), covariance[upper]])


def coherence_width(n_networks: int) -> int:
    """Numbers that tell the coherence of so many networks: mean, deviation and autocorrelations of each."""
    return n_networks * (2 + len(LAGS_S))


def _running(x: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    total = np.cumsum(np.concatenate([np.zeros((1, x.shape[1])), x]), axis=0)
    return np.asarray((total[frames:] - total[:-frames]) / frames)


def _second_order(x: NDArray[np.float64], tr: float) -> list[NDArray[np.float64]]:
    """Log standard deviation and autocorrelations of centred ``x [frames, networks]``."""
    variance = np.mean(np.square(x), axis=0) + TINY
    lags = [min(max(1, round(seconds / tr)), len(x) // 2) for seconds in LAGS_S]
    return [np.log(variance) / 2, *(np.mean(x[lag:] * x[:-lag], axis=0) / variance for lag in lags)]
