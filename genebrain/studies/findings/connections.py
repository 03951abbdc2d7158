"""Connections of the brain that the genome predicts, tested on people whom nothing was fitted on.

The brain latents are directions of the connectome. How a connection moves with them is learned from the scans of the
training people alone; with the latents that the genome predicts, this gives a prediction of the connection for
held-out people, which is compared with what their scans show.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr
from scipy.stats import false_discovery_control

from genebrain.common.types import FloatArray, IntArray

CONNECTION_COLUMNS = ("parcel_1", "parcel_2", "r", "p", "q", "in_latents")
ENTRIES = 2**23
"""Entries of covariances whose correlations are held together."""


def connection_findings(
    parts: Iterable[tuple[IntArray, FloatArray]],
    training: IntArray,
    held_out: IntArray,
    observed: FloatArray,
    predicted: FloatArray,
    n_families: int,
) -> pd.DataFrame:
    """One row per pair of parcels, the best first.

    Parameters
    ----------
    parts : iterable of (int array [some], float array [some, parcels, parcels])
        Rows of some people after the others, and the covariances of their series; looked at once.
    training, held_out : int arrays
        Rows of the people.
    observed : float array [training people, dims]
        Their brain latents.
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
    freedom = n_families - 2
    if not observed.shape[1] or freedom < 1 or len(training) <= observed.shape[1] + 1:
        return pd.DataFrame(columns=list(CONNECTION_COLUMNS))
    u, guess = observed - observed.mean(axis=0), predicted - predicted.mean(axis=0)
    learned, tested = _Sums(training, np.linalg.pinv(u)), _Sums(held_out, guess.T)
    n_parcels, usual = 0, None
    for rows, covariances in parts:
        n_parcels = covariances.shape[1]
        step = max(1, ENTRIES // n_parcels**2)
        for first in range(0, len(rows), step):
            some, values = rows[first : first + step], _connections(covariances[first : first + step])
            if usual is None:  # sums of squares of what is left lose no digits
                usual = np.nan_to_num(values[0])
            values -= usual
            learned.add(some, values)
            tested.add(some, values)
    if n_parcels < 2:
        return pd.DataFrame(columns=list(CONNECTION_COLUMNS))
    middle = learned.total / np.maximum(learned.known, 1)
    slopes, power, _ = learned.around(middle)
    products, squares, total = tested.around(middle)
    spread = np.maximum(squares - total**2 / len(held_out), 0.0)
    r = _ratio(
        np.einsum("dc,dc->c", slopes, products),
        np.sqrt(np.einsum("dc,de,ec->c", slopes, guess.T @ guess, slopes, optimize=True) * spread),
    )
    one, two = np.triu_indices(n_parcels, 1)
    p = stdtr(freedom, -(c := r.clip(-1 + 1e-12, 1 - 1e-12)) * np.sqrt(freedom / (1 - c**2)))
    found = pd.DataFrame(
        {
            "parcel_1": one + 1,
            "parcel_2": two + 1,
            "r": r,
            "p": p,
            "q": false_discovery_control(p),
            "in_latents": _ratio(np.einsum("dc,de,ec->c", slopes, u.T @ u, slopes, optimize=True), power),
        }
    )
    return found.sort_values("p", kind="stable", ignore_index=True)[list(CONNECTION_COLUMNS)]


class _Sums:
    """Sums over some people of their connections, which come some people at a time; unknown ones count nothing.

    Parameters
    ----------
    people : int array
        Rows, each once.
    weights : float array [numbers, people]
        Connections are added up with these as well.
    """

    def __init__(self, people: IntArray, weights: FloatArray) -> None:
        self._order = np.argsort(people)
        self._sorted, self._weights = people[self._order], weights
        self.known, self.total, self._squares, self._of_values, self._of_known = (np.zeros(1) for _ in range(5))

    def add(self, rows: IntArray, values: FloatArray) -> None:
        """Take in those of ``rows`` that are meant, with their connections ``[rows, connections]``."""
        place = np.minimum(np.searchsorted(self._sorted, rows), len(self._sorted) - 1)
        mine = self._sorted[place] == rows
        weights, values = self._weights[:, self._order[place[mine]]], values[mine]
        known = np.isfinite(values).astype(np.float64)
        values = np.where(known, values, 0.0)
        self.known = self.known + known.sum(axis=0)
        self.total = self.total + values.sum(axis=0)
        self._squares = self._squares + np.einsum("nc,nc->c", values, values)
        self._of_values = self._of_values + weights @ values
        self._of_known = self._of_known + weights @ known

    def around(self, middle: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Weighted sums, sums of squares and sums of the connections less ``middle``."""
        squares = self._squares - 2 * middle * self.total + self.known * middle**2
        return self._of_values - self._of_known * middle, squares, self.total - self.known * middle


def _connections(covariances: FloatArray) -> NDArray[np.float64]:
    """Correlations ``[people, pairs of parcels]``; NaN where a series is constant."""
    one, two = np.triu_indices(covariances.shape[1], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.sqrt(np.einsum("npp->np", covariances).astype(np.float64))
        found: NDArray[np.float64] = covariances[:, one, two] / (sizes[:, one] * sizes[:, two])
    return found


def _ratio(a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.zeros_like(b, dtype=np.float64), where=b > 1e-12)
