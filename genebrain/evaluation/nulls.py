"""Permutation test of the pairing: would these embeddings match as well were the scans dealt to others?

Test embeddings, families and optional strata in; p values and a summary of the null out. The model is not refitted,
so this tests the model at hand, not the pipeline that made it.

Whole families are dealt (Winkler et al. 2015, NeuroImage, doi 10.1016/j.neuroimage.2015.05.092): a family's scans go
to a family of the same size, and in the stratified test of the same make-up of strata. The free test asks whether
anything is shared, including site and ancestry; the stratified test asks whether anything beyond the strata is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import FloatArray, IntArray, Metrics, UserError
from genebrain.evaluation.ranks import BLOCK_SCORES, check_embeddings, distinct_rows


def permutation_test(
    gene: FloatArray,
    brain: FloatArray,
    *,
    families: IntArray | None = None,
    strata: Sequence[str] | IntArray | None = None,
    n: int = 1000,
    seed: int = 0,
) -> Metrics:
    """Test whether matched pairs rank higher than re-dealt ones.

    Parameters
    ----------
    gene, brain
        ``[subjects, columns]`` test embeddings, matched by row.
    families
        int ``[subjects]``, the units that are dealt; default: every subject on its own.
    strata
        ``[subjects]`` labels within which the stratified test deals; None: no stratified test.
    n
        Number of permutations; the smallest possible p is 1 / (1 + n).

    Returns
    -------
    ``n``, ``statistic`` (mean percentile rank over subjects and both directions, chance 0.5),
    ``statistic_name``, ``p_free``, ``p_stratified`` (None without strata), ``exchangeable_free`` and
    ``exchangeable_stratified`` (share of subjects that can be dealt elsewhere), ``null_free`` and
    ``null_stratified`` (mean, sd, 2.5/50/97.5 % quantiles, histogram). p = (1 + b) / (1 + n), b
    permutations at least as good as the truth.
    """
    gene, brain = check_embeddings(gene, brain)
    family = np.arange(len(gene)) if families is None else np.asarray(families)
    for name, labels in (("families", family), ("strata", family if strata is None else strata)):
        if len(labels) != len(gene):
            raise UserError(f"{name} has {len(labels)} labels for {len(gene)} subjects.")
    if n < 1:
        raise UserError(f"The permutation test needs at least 1 permutation, got {n}.")
    rng = np.random.default_rng(seed)
    one = np.zeros(len(gene), dtype=np.int64)
    deals = [deal(family, one, n, rng)]
    if strata is not None:
        deals.append(deal(family, np.unique(np.asarray(strata), return_inverse=True)[1], n, rng))
    identity = np.arange(len(gene), dtype=np.int32)[None]
    values = mean_percentile(gene, brain, np.concatenate([identity, *deals]))
    observed, nulls = float(values[0]), [values[1 : n + 1], values[n + 1 :]]
    result: Metrics = {
        "n": n,
        "statistic": observed,
        "statistic_name": "mean percentile rank, both directions",
        "p_stratified": None,
    }
    for name, moved, null in zip(("free", "stratified"), deals, nulls, strict=False):
        result[f"p_{name}"] = p_value(observed, null)
        result[f"exchangeable_{name}"] = float((moved != identity).any(axis=0).mean())
        result[f"null_{name}"] = summary_of_null(null)
    return result


def p_value(observed: float, null: NDArray[np.float64]) -> float:
    """(1 + permutations at least as good) / (1 + permutations); ties up to rounding count as good."""
    return float((1 + np.count_nonzero(null >= observed - 1e-12)) / (1 + len(null)))


def deal(family: IntArray, stratum: IntArray, n: int, rng: np.random.Generator) -> IntArray:
    """Random re-pairings ``[n, subjects]``: entry i is the subject whose scan subject i is given.

    Families are exchangeable when they have the same size and the same make-up of strata; inside a family,
    members of one stratum are shuffled. A family without an equal keeps its scans (its members may still
    swap).
    """
    groups: dict[tuple[int, ...], list[IntArray]] = {}
    order = np.lexsort((stratum, family))
    for members in np.split(order, np.flatnonzero(np.diff(family[order])) + 1):
        groups.setdefault(tuple(stratum[members].tolist()), []).append(members)
    dealt = np.tile(np.arange(len(family), dtype=np.int32), (n, 1))
    for make_up, listed in groups.items():
        members = np.stack(listed)
        donor = rng.permuted(np.tile(np.arange(len(members)), (n, 1)), axis=1)
        given = members[donor]
        for begin, end in _runs(make_up):
            given[:, :, begin:end] = rng.permuted(given[:, :, begin:end], axis=2)
        dealt[:, members.ravel()] = given.reshape(n, -1)
    return dealt


def mean_percentile(gene: FloatArray, brain: FloatArray, pairings: IntArray) -> NDArray[np.float64]:
    """Mean percentile rank over subjects and directions, for every pairing ``[pairings, subjects]``.

    The ranks of all candidates of a query are computed once (in blocks of queries) and every pairing only
    looks its partners up, so a thousand permutations cost little more than one.
    """
    inverse = np.argsort(pairings, axis=1).astype(np.int32)
    return 0.5 * (_looked_up(gene, brain, pairings) + _looked_up(brain, gene, inverse))


def _looked_up(query: FloatArray, candidate: FloatArray, pairings: IntArray) -> NDArray[np.float64]:
    n = len(query)
    distinct, which = distinct_rows(candidate)
    total = np.zeros(len(pairings))
    step = max(1, BLOCK_SCORES // n)
    for begin in range(0, n, step):
        rows = slice(begin, min(begin + step, n))
        scores = (query[rows] @ distinct.T)[:, which]
        partners = np.ascontiguousarray(pairings[:, rows].T)
        ordered = np.sort(scores, axis=1)
        tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        for row, values in enumerate(ordered):
            given = scores[row, partners[row]]
            below = np.searchsorted(values, given)
            up_to = np.searchsorted(values, given, side="right") if tied[row] else below + 1
            total += below + up_to - 1  # twice the mid-rank among ties, the partner itself not counted
    return total / (2 * n * (n - 1))


def _runs(labels: tuple[int, ...]) -> list[tuple[int, int]]:
    """Stretches of equal neighbours longer than one."""
    edges = [0, *(i for i in range(1, len(labels)) if labels[i] != labels[i - 1]), len(labels)]
    return [(a, b) for a, b in pairwise(edges) if b - a > 1]


def summary_of_null(null: NDArray[np.float64]) -> Metrics:
    """Mean, sd, quantiles and histogram of what dealing gives."""
    counts, edges = np.histogram(null, bins=40)
    return {
        "mean": float(null.mean()),
        "sd": float(null.std()),
        "quantiles": {str(q): float(np.quantile(null, q)) for q in (0.025, 0.5, 0.975)},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }
