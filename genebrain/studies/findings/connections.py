"""Connections of the brain that the genome predicts, tested on people whom nothing was fitted on.

The brain latents are directions of the connectome. How a connection moves with them is learned from the scans of the
training people alone; with the latents that the genome predicts, this gives a prediction of the connection for
held-out people, which is compared with what their scans show.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr
from scipy.stats import false_discovery_control

from genebrain.common.types import FloatArray, IntArray

CONNECTION_COLUMNS = ("parcel_1", "parcel_2", "r", "p", "q", "in_latents")


def connection_findings(
    covariances: FloatArray,
    training: IntArray,
    held_out: IntArray,
    observed: FloatArray,
    predicted: FloatArray,
    n_families: int,
) -> pd.DataFrame:
    """One row per pair of parcels, the best first.

    Parameters
    ----------
    covariances : float array [people, parcels, parcels]
        Of the series of every person.
    training, held_out : int arrays
        Rows of the people.
    observed : float array [people, dims]
        Brain latents of everybody; only those of training people are used.
    predicted : float array [held-out people, dims]
        Latents that the genome predicts.
    n_families : int
        Of held-out people: relatives are not independent, so families count.

    Returns
    -------
    DataFrame
        ``parcel_1``, ``parcel_2``: columns of the series, from 1; ``r``: correlation of the connection (Pearson
        correlation of the two series) with its prediction from the genome over held-out people; ``p``: one-sided, of
        Student's t with families as independent units; ``q``: p after Benjamini and Hochberg over all connections;
        ``in_latents``: share of the connection's variance among training people that the latents hold.
    """
    n_parcels = covariances.shape[1]
    freedom = n_families - 2
    if not observed.shape[1] or freedom < 1 or n_parcels < 2 or len(training) <= observed.shape[1] + 1:
        return pd.DataFrame(columns=list(CONNECTION_COLUMNS))
    u = observed[training] - observed[training].mean(axis=0)
    solve = np.linalg.pinv(u)
    rows = []
    for one in range(n_parcels - 1):
        values = _connections(covariances, one)
        train, test = values[training], values[held_out]
        known = np.isfinite(train)
        middle = np.where(known, train, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        train, test = (np.where(np.isfinite(v), v - middle, 0.0) for v in (train, test))
        slopes = solve @ train
        rows.append(
            pd.DataFrame(
                {
                    "parcel_1": one + 1,
                    "parcel_2": np.arange(one + 2, n_parcels + 1),
                    "r": _correlation(predicted @ slopes, test),
                    "in_latents": _ratio(((u @ slopes) ** 2).sum(axis=0), (train**2).sum(axis=0)),
                }
            )
        )
    found = pd.concat(rows, ignore_index=True)
    r = found["r"].to_numpy().clip(-1 + 1e-12, 1 - 1e-12)
    p = stdtr(freedom, -r * np.sqrt(freedom / (1 - r**2)))
    found = found.assign(p=p, q=false_discovery_control(p))
    return found.sort_values("p", kind="stable", ignore_index=True)[list(CONNECTION_COLUMNS)]


def _connections(covariances: FloatArray, one: int) -> NDArray[np.float64]:
    """Correlations ``[people, later parcels]`` of one parcel with those behind it; NaN where a series is constant."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.sqrt(np.einsum("npp->np", covariances[:, one:, one:]).astype(np.float64))
        found: NDArray[np.float64] = covariances[:, one, one + 1 :] / (sizes[:, :1] * sizes[:, 1:])
    return found


def _correlation(a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return _ratio((a * b).sum(axis=0), np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0)))


def _ratio(a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.zeros_like(b, dtype=np.float64), where=b > 1e-12)
