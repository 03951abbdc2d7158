"""Ranks of the true partner, and their exact expectation over random galleries.

A query is scored against all candidates; what is kept per query is three counts: candidates that score strictly
better than the match, candidates that tie with it, and how many non-matching candidates there were. Everything else
(recall at k, reciprocal rank, median rank, at any gallery size) follows from these counts without drawing a single
gallery.

Arrays in, counts and expectations out.

Ties: a tied match stands at a uniformly random place among its equals (equivalently the mid-rank for everything
linear in the rank), so a collapsed model gets exactly chance. Counting only strictly better candidates would give it
recall@1 = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from genebrain.common.types import FloatArray, IntArray, UserError

BLOCK_SCORES = 8_000_000
"""Scores held at once (rows of a block times candidates); 32 MB in float32."""


@dataclass(frozen=True)
class RankCounts:
    """Where the match stood among all candidates, per query.

    Attributes
    ----------
    better, ties, negatives
        int64 ``[queries]``: non-matching candidates that score higher than the best match, that tie with
        it, and their total number.
    """

    better: IntArray
    ties: IntArray
    negatives: IntArray

    @property
    def percentile(self) -> NDArray[np.float64]:
        """``[queries]`` share of the non-matching candidates that the match beats, ties counted half."""
        return 1.0 - (self.better + 0.5 * self.ties) / self.negatives


def check_embeddings(gene: FloatArray, brain: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Refuse what would score silently wrong: other shapes, fewer than two rows, values that are not finite.

    A NaN loses every comparison, so naive ranking puts its match first; hence the error instead of a number.
    Values whose dot product would overflow come to the same.
    """
    gene, brain = np.asarray(gene), np.asarray(brain)
    if gene.ndim != 2 or gene.shape != brain.shape:
        raise UserError(
            f"gene and brain embeddings must have the same shape [subjects, columns], "
            f"got {list(gene.shape)} and {list(brain.shape)}."
        )
    if len(gene) < 2:
        raise UserError(f"Retrieval needs at least 2 subjects, got {len(gene)}.")
    if gene.shape[1] == 0:
        # A model that found nothing shared scores every pair alike: all tie, which is chance.
        gene = brain = np.zeros((len(gene), 1), np.float32)
    problems = []
    for name, values in (("gene", gene), ("brain", brain)):
        rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(rows):
            shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
            problems.append(f"{len(rows)} of {len(values)} {name} embeddings (rows {shown})")
    if problems:
        raise UserError(
            f"Embeddings hold values that are not finite: {'; '.join(problems)}. "
            "Look for a diverged training or an empty input of these subjects; their ranks mean nothing."
        )
    dtype = np.promote_types(np.result_type(gene, brain), np.float32)
    largest = float(np.abs(gene).max()) * float(np.abs(brain).max()) * gene.shape[1]
    if largest > float(np.finfo(dtype).max):
        raise UserError(
            f"Embeddings are so large (up to {np.abs(gene).max():.0e} and {np.abs(brain).max():.0e}) that their "
            f"dot product may overflow {dtype}. Scale them, or look for a diverged training."
        )
    return gene.astype(dtype, copy=False), brain.astype(dtype, copy=False)


def distinct_rows(values: FloatArray) -> tuple[FloatArray, IntArray]:
    """Distinct rows ``[distinct, columns]`` and, for every row, which of them it is ``[rows]``.

    Without repeats the rows come back in their own order, so the second part can be left unused.

    Identical candidates are scored once: a matrix product may round equal columns differently by their
    position, which would break a true tie in favour of some candidates.
    """
    rows = np.ascontiguousarray(values + 0.0)  # -0.0 and 0.0 are the same value but other bytes
    keys = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return values, np.arange(len(rows))
    return rows[first], inverse


def rank_counts(query: FloatArray, candidate: FloatArray, genome: IntArray) -> RankCounts:
    """Count the candidates better than, and tied with, the best match of every query.

    Parameters
    ----------
    query, candidate
        ``[n, columns]``, checked by `check_embeddings`; the score is the dot product, row i matches row i.
    genome
        int ``[n]``; all candidates of the query's genome (monozygotic twins) are matches, the best one
        counts.
    """
    n = len(query)
    distinct, inverse = distinct_rows(candidate)
    repeats = len(distinct) < n
    of_genome = np.unique(genome, return_inverse=True)[1]
    by_genome = np.argsort(of_genome, kind="stable")
    size = np.bincount(of_genome)
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    better, ties = np.empty(n, np.int64), np.empty(n, np.int64)
    step = max(1, BLOCK_SCORES // n)
    for begin in range(0, n, step):
        rows = np.arange(begin, min(begin + step, n))
        scores = query[rows] @ distinct.T
        if repeats:
            scores = scores[:, inverse]
        local = rows - begin
        best = scores[local, rows]
        for place in range(int(size[of_genome[rows]].max())):
            has = size[of_genome[rows]] > place
            match = by_genome[start[of_genome[rows[has]]] + place]
            best[has] = np.maximum(best[has], scores[local[has], match])
        for place in range(int(size[of_genome[rows]].max())):
            has = size[of_genome[rows]] > place
            match = by_genome[start[of_genome[rows[has]]] + place]
            scores[local[has], match] = -np.inf  # a match is neither better than nor tied with itself
        better[rows] = np.count_nonzero(scores > best[:, None], axis=1)
        ties[rows] = np.count_nonzero(scores == best[:, None], axis=1)
    return RankCounts(better, ties, n - size[of_genome])


def recall_tables(negatives: int, gallery_size: int, ks: list[int]) -> NDArray[np.float64]:
    """Chance that the match is among the first k, given how many of the candidates beat it.

    A gallery holds the match and ``gallery_size - 1`` of the ``negatives``, drawn without replacement, so the
    number of better ones in it is hypergeometric.

    Returns
    -------
    float64 ``[len(ks), negatives + 1]``; column b: b of the negatives are better. ``ks`` must be increasing.
    """
    b = np.arange(negatives + 1)
    drawn = gallery_size - 1
    out = np.empty((len(ks), negatives + 1))
    if drawn == negatives:  # the gallery is everybody: nothing is random
        for row, k in enumerate(ks):
            out[row] = b < k
        return out
    log_factorial = gammaln(np.arange(negatives + 2) + 1.0)
    constant = (
        log_factorial[drawn]
        + log_factorial[negatives - drawn]
        - log_factorial[negatives]
        + log_factorial[b]
        + log_factorial[negatives - b]
    )
    cumulative = np.zeros(negatives + 1)
    row = 0
    for x in range(min(ks[-1], gallery_size)):
        lo, hi = x, negatives - drawn + x  # values of b for which x better ones can be drawn
        inside = b[lo : hi + 1]
        cumulative[lo : hi + 1] += np.exp(
            constant[lo : hi + 1]
            - log_factorial[x]
            - log_factorial[inside - x]
            - log_factorial[drawn - x]
            - log_factorial[negatives - inside - drawn + x]
        )
        while row < len(ks) and ks[row] == x + 1:
            out[row] = np.minimum(cumulative, 1.0)
            row += 1
    out[row:] = 1.0  # k beyond the gallery
    return out


def reciprocal_table(negatives: int, gallery_size: int) -> NDArray[np.float64]:
    """Expected reciprocal rank given how many candidates beat the match, ``[negatives + 1]``.

    For X hypergeometric, E[1 / (1 + X)] = (M + 1) / ((m + 1) (b + 1)) * (1 - P(Y = 0)) with Y the same draw
    from one more candidate, one more better one and one more drawn.
    """
    m = gallery_size - 1
    b = np.arange(negatives + 1)
    none = np.zeros(negatives + 1)
    possible = negatives - b >= m + 1
    rest = (negatives - b)[possible].astype(float)
    none[possible] = np.exp(
        gammaln(rest + 1) - gammaln(rest - m) - gammaln(negatives + 2.0) + gammaln(negatives - m + 1.0)
    )
    table = (negatives + 1) / ((m + 1) * (b + 1.0)) * (1.0 - none)
    return np.minimum(table, 1.0)  # b = 0 is 1 but for rounding


def over_ties(table: NDArray[np.float64], counts: RankCounts, rows: IntArray) -> NDArray[np.float64]:
    """Average ``table[..., better + t]`` over t = 0..ties, for the queries ``rows``: ``[..., len(rows)]``.

    Standing at a uniform place among the ties of the full candidate set is standing at a uniform place
    among the ties of any gallery drawn from it, so this is exact.
    """
    low, ties = counts.better[rows], counts.ties[rows]
    if not ties.any():
        return table[..., low]
    summed = np.concatenate([np.zeros((*table.shape[:-1], 1)), np.cumsum(table, axis=-1)], axis=-1)
    return (summed[..., low + ties + 1] - summed[..., low]) / (ties + 1)
