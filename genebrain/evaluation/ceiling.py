r"""The best retrieval that any model can reach on a known-answer cohort, and the score that reaches it.

Gene side ``g`` and brain side ``u`` are standard normal vectors ``[k]`` with correlation ``r`` in every
dimension. The log-likelihood ratio "same person" against "two people" ranks candidates of a query ``g`` by
the distance ``|u - g / r|``. With ``R2 = |g|^2`` and ``D`` the distance (squared) of the true match,

.. math:: R2 \sim \chi^2_k, \quad D \mid R2 \sim (1 - r^2)\, \chi'^2_k((1 - r^2) R2 / r^2), \quad
          p = F_{\chi'^2_k(R2 / r^2)}(D)

and the number of better distractors in a gallery of N is Binomial(N - 1, p). The expectation over (R2, D) is
by Monte Carlo. The same answer holds for both directions.

It does not know files, cohorts or models, and holds for unrelated people of one stratum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, chndtr

from genebrain.evaluation.rank_metrics import RECALL_AT


def bayes_ceiling(
    k: int, r2: float, gallery_size: int, n_draws: int = 100_000, seed: int = 0, *, mislabelled: float = 0.0
) -> dict[str, float]:
    """Expected retrieval of the optimal score.

    Parameters
    ----------
    k : int
        Shared dimensions.
    r2 : float
        Squared correlation of gene and brain side in every dimension, in [0, 1).
    gallery_size : int
        Candidates, the match included.
    n_draws, seed : int
        Monte Carlo; 100,000 draws leave a standard error of .001 in recall@1.
    mislabelled : float
        Share of people who carry another person's genome; their rank is uniform.

    Returns
    -------
    dict
        ``recall@1``, ``recall@5``, ``recall@10``, ``median_rank`` and ``matched_auc`` (chance that the match
        beats one distractor). At ``r2 = 0`` these are the chance values, ties counted as mid-ranks.
    """
    if k < 1 or gallery_size < 2 or not 0 <= r2 < 1 or not 0 <= mislabelled <= 1:
        raise ValueError(
            f"need k >= 1, gallery_size >= 2, 0 <= r2 < 1 and 0 <= mislabelled <= 1; got k={k}, "
            f"gallery_size={gallery_size}, r2={r2}, mislabelled={mislabelled}"
        )
    share = 1.0 if r2 == 0 else mislabelled
    beaten = None if share == 1 else _probability_beaten(k, r2, n_draws, seed)

    def within(rank: int) -> float:
        """Chance that the match is among the first ``rank``."""
        uniform = min(rank, gallery_size) / gallery_size
        if beaten is None or rank >= gallery_size:
            return uniform
        return share * uniform + (1 - share) * float(bdtr(rank - 1, gallery_size - 1, beaten).mean())

    answer = {f"recall@{rank}": within(rank) for rank in RECALL_AT}
    answer["median_rank"] = (gallery_size + 1) / 2 if beaten is None else float(_median(within, gallery_size))
    matched = 0.5 if beaten is None else 1 - float(beaten.mean())
    answer["matched_auc"] = share * 0.5 + (1 - share) * matched
    return answer


def oracle_pair_vectors(
    g: NDArray[np.floating], u: NDArray[np.floating], r2: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two-tower vectors whose dot product is the optimal log-likelihood ratio.

    Scores the true pairs of the very people under test, beside the ceiling that is an expectation over
    cohorts.

    Parameters
    ----------
    g, u : ``[people, k]``
        True gene and brain values, standardised.
    r2 : float
        Squared correlation per dimension, in [0, 1). At 0 every score is zero: all candidates tie.

    Returns
    -------
    gene, brain : float64 ``[people, k + 2]``
    """
    if not 0 <= r2 < 1:
        raise ValueError(f"r2 must lie in [0, 1), got {r2}")
    if g.ndim != 2 or u.ndim != 2 or g.shape[1] != u.shape[1]:
        raise ValueError(f"g and u must be [people, k] with one k, got {g.shape} and {u.shape}")
    g, u = np.asarray(g, np.float64), np.asarray(u, np.float64)
    cross, square = np.sqrt(r2) / (1 - r2), -0.5 * r2 / (1 - r2)
    constant = -0.5 * g.shape[1] * np.log1p(-r2)
    of_gene = constant + square * (g**2).sum(1, keepdims=True)
    of_brain = square * (u**2).sum(1, keepdims=True)
    gene = np.hstack([cross * g, of_gene, np.ones_like(of_gene)])
    return gene, np.hstack([u, np.ones_like(of_brain), of_brain])


@lru_cache(maxsize=8)
def _probability_beaten(k: int, r2: float, n_draws: int, seed: int) -> NDArray[np.float64]:
    """Chance ``[draws]`` that one distractor lies nearer to the query than the match does."""
    rng = np.random.default_rng(seed)
    length = rng.chisquare(k, n_draws)
    distance = (1 - r2) * rng.noncentral_chisquare(k, (1 - r2) * length / r2)
    probability = np.clip(chndtr(distance, k, length / r2), 0.0, 1.0)
    probability.setflags(write=False)
    return probability


def _median(within: Callable[[int], float], gallery_size: int) -> int:
    """Smallest rank that holds at least half of the matches."""
    return bisect_left(range(1, gallery_size + 1), 0.5, key=within) + 1
