"""Learner's ceiling: the best retrieval after learning from so many people, where the true prior is normal.

Given causal columns whose effects on the trait are independent standard normal, and readings ``u`` of the training
people with known noise, the posterior of the effects is Gaussian and everything follows exactly: what a perfect method
that knows the prior would predict for a new person, and how surely. Below the ceiling of the true pair, which knows the
effects; the difference is what only more people can give.
"""

from __future__ import annotations

import numpy as np

from genebrain.common.types import FloatArray, IntArray


def learner_vectors(
    design: FloatArray, u: FloatArray, r2: float, training: IntArray, judged: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Two-tower vectors of the judged people whose dot product is the posterior log-likelihood ratio.

    Parameters
    ----------
    design : ``[people, columns]``
        Causal columns, scaled so that the prior of every effect on the genetic value is standard normal.
    u : ``[people, k]``
        Standardised readings; their squared correlation with the genetic value is ``r2`` in every dimension.
    r2 : float
        In (0, 1).
    training, judged : int arrays
        Rows.

    Returns
    -------
    gene, brain : float64 ``[judged, k + 3]``
    """
    if not 0 < r2 < 1:
        raise ValueError(f"r2 must lie in (0, 1), got {r2}")
    x = design.astype(np.float64) * np.sqrt(r2)
    seen, new = x[training], x[judged]
    noise = 1 - r2
    # The smaller of people and columns decides the size of the system.
    if seen.shape[0] <= seen.shape[1]:
        inner = seen @ seen.T + noise * np.eye(len(seen))
        gain = np.linalg.solve(inner, seen @ new.T).T
        mean = gain @ u[training]
        variance = noise + np.sum(new**2, axis=1) - np.sum(gain * (new @ seen.T), axis=1)
    else:
        precision = np.eye(seen.shape[1]) + seen.T @ seen / noise
        mean = new @ np.linalg.solve(precision, seen.T @ u[training].astype(np.float64)) / noise
        variance = noise + np.sum(new * np.linalg.solve(precision, new.T).T, axis=1)
    k = u.shape[1]
    constant = -0.5 * np.sum(mean**2, axis=1) / variance - 0.5 * k * np.log(variance)
    ones = np.ones(len(judged))
    square = np.sum(u[judged].astype(np.float64) ** 2, axis=1)
    gene = np.column_stack([mean / variance[:, None], -0.5 / variance, constant, ones])
    brain = np.column_stack([u[judged], square, ones, 0.5 * square])
    return gene, brain
