"""Statistical power of a cohort of a given size, in closed form, before anything is trained.

Counts in, smallest detectable numbers and the expected retrieval out. Two questions are kept apart: *detectable* (how
far above chance must the test set score to be told from luck) and *expected* (where would it score, if every one of
``axes`` shared directions had a given squared correlation, given that the gene side has to be learned from
``n_train`` subjects).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betaincinv
from scipy.stats import binom, chi2, ncx2, norm, qmc

from genebrain.common.types import Metrics, UserError
from genebrain.evaluation.retrieval import chance, usual_gallery

POINTS = 2**12
SMALL_R2 = 1e-3
SHOWN_R2 = (0.02, 0.05, 0.1, 0.2, 0.4)


def expected_retrieval(axes: int, r2: float, gallery_size: int) -> dict[str, float]:
    """Retrieval of the best score over ``axes`` independent directions of squared correlation ``r2``.

    The likelihood ratio ranks candidates u of a query g by their distance to g / r. With R = |g|^2,
    chi-square with ``axes`` degrees of freedom, the match lies at D = (1 - r^2) X, X non-central chi-square
    of non-centrality (1 - r^2) R / r^2; another candidate is nearer with chance p = F(D), F non-central
    chi-square of non-centrality R / r^2; the number of nearer ones in a gallery of N is Binomial(N - 1, p).
    The expectation runs over a fixed Sobol sequence, so the result is smooth in ``r2`` and the same every
    time. For tiny r^2 the distances degenerate and p becomes that of the dot product, Phi(-(r |g| + sqrt(1
    - r^2) z)).

    Returns
    -------
    ``recall@1``, ``recall@5``, ``recall@10``, ``percentile_rank``.
    """
    if axes < 1 or not 0 <= r2 < 1 or gallery_size < 2:
        raise UserError(
            f"Expected retrieval needs axes >= 1, 0 <= r2 < 1 and a gallery of 2 or more; "
            f"got axes {axes}, r2 {r2}, gallery {gallery_size}."
        )
    length2, z, rest = _standard_draws(axes)
    if r2 < SMALL_R2:
        nearer = norm.sf(np.sqrt(r2 * length2) + np.sqrt(1 - r2) * z)
    else:
        distance = (1 - r2) * ((np.sqrt((1 - r2) * length2 / r2) - z) ** 2 + rest)
        nearer = ncx2.cdf(distance, axes, length2 / r2)
    recall = {f"recall@{k}": _mean_cdf(k, gallery_size, nearer) for k in (1, 5, 10)}
    return {**recall, "percentile_rank": float(1 - nearer.mean())}


def learned_r2(r2: float, n_train: int, gene_columns: int) -> float:
    """Squared correlation of a gene predictor learned from ``n_train`` subjects with the brain direction.

    The share A of r^2 that is learned solves A = n r^2 / (n r^2 + M (1 - r^2 A)): the accuracy of Daetwyler
    et al. 2008 (PLoS ONE 3:e3395), with the noise that is left after the joint fit. M counts independent
    gene columns (linked variants count once; for windows of linked variants M is far below their number).
    """
    if r2 == 0:
        return 0.0
    signal, columns = n_train * r2, float(gene_columns)
    total = signal + columns
    share = 2 * signal / (total + np.sqrt(total**2 - 4 * columns * r2 * signal))
    return float(r2 * share)


def detectable_effect(
    *,
    n_train: int,
    n_test: int,
    gene_columns: int,
    gallery_size: int | None = None,
    axes: int = 8,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Metrics:
    """Smallest retrieval that a test of level ``alpha`` finds with chance ``power``, and what it would take.

    Parameters
    ----------
    n_train, n_test
        Subjects to learn from and to test on (families, if there are relatives).
    gene_columns
        Independent columns of the gene side that are learned.
    gallery_size
        Candidates per query for recall@1; None: 64, or everybody of a smaller test set.
    axes
        Assumed number of independent shared directions; fewer make each of them need more correlation.

    Returns
    -------
    ``percentile_rank`` and ``recall@1`` (smallest detectable; the first is far more sensitive), ``test_r2``
    (squared correlation per axis on the test set that gives this percentile rank), ``true_r2`` (the same in
    the population, so that ``n_train`` subjects suffice to learn it; None when no r^2 below 0.99 does),
    ``expected`` (list over true r^2 of the retrieval to expect), ``null_sd``, ``chance``, ``sentence``.
    """
    gallery_size = usual_gallery(gallery_size, n_test)
    smallest = min(n_train, n_test, gene_columns)
    if smallest < 1 or n_test < 2 or not 2 <= gallery_size <= n_test:
        raise UserError(
            "Power needs at least 1 training subject, 1 gene column, 2 test subjects and a gallery between 2 "
            f"and the test set; got n_train {n_train}, gene_columns {gene_columns}, n_test {n_test}, "
            f"gallery {gallery_size}."
        )
    if not (0 < alpha < 1 and 0 < power < 1):
        raise UserError(f"alpha={alpha:g} and power={power:g} are probabilities: each must lie between 0 and 1.")
    # One query's percentile is uniform on n_test places; its two directions share the matched score, so that
    # averaging them is not counted on to shrink the spread.
    null_sd = float(np.sqrt((n_test + 1) / (12 * (n_test - 1)) / n_test))
    percentile = min(0.5 + float(norm.isf(alpha) + norm.ppf(power)) * null_sd, 1.0)
    hits = int(binom.isf(alpha, n_test, 1 / gallery_size)) + 1
    recall = float(betaincinv(hits, n_test - hits + 1, power))
    test_r2 = _smallest_r2(lambda r2: r2, axes, percentile)
    true_r2 = _smallest_r2(lambda r2: learned_r2(r2, n_train, gene_columns), axes, percentile)
    result: Metrics = {
        "n_train": n_train,
        "n_test": n_test,
        "gene_columns": gene_columns,
        "gallery_size": gallery_size,
        "axes": axes,
        "alpha": alpha,
        "power": power,
        "chance": chance(gallery_size),
        "null_sd": null_sd,
        "percentile_rank": percentile,
        "recall@1": recall,
        "test_r2": test_r2,
        "true_r2": true_r2,
        "expected": [
            {"true_r2": r2} | expected_retrieval(axes, learned_r2(r2, n_train, gene_columns), gallery_size)
            for r2 in SHOWN_R2
        ],
    }
    return {**result, "sentence": _sentence(result)}


@cache
def _standard_draws(axes: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """|g|^2, the normal along g and the squared length across it, ``[points]`` each."""
    uniform = qmc.Sobol(3, scramble=True, rng=np.random.default_rng(0)).random(POINTS)
    across = chi2.ppf(uniform[:, 2], axes - 1) if axes > 1 else np.zeros(POINTS)
    return chi2.ppf(uniform[:, 0], axes), norm.ppf(uniform[:, 1]), across


def _mean_cdf(k: int, gallery_size: int, nearer: NDArray[np.float64]) -> float:
    return float(binom.cdf(k - 1, gallery_size - 1, nearer).mean())


def _smallest_r2(on_test: Callable[[float], float], axes: int, percentile: float) -> float | None:
    def gap(r2: float) -> float:
        return expected_retrieval(axes, on_test(r2), 2)["percentile_rank"] - percentile

    if gap(0.99) < 0:
        return None
    return float(brentq(gap, 0.0, 0.99, xtol=1e-5))


def _sentence(result: Metrics) -> str:
    start = (
        f"With {result['n_test']} test subjects a mean percentile rank of {result['percentile_rank']:.3f} "
        f"(chance 0.5) or a recall@1 of {result['recall@1']:.3f} in a gallery of {result['gallery_size']} "
        f"(chance {1 / result['gallery_size']:.3f}) is found with {result['power']:.0%} power."
    )
    if result["true_r2"] is None:
        return start + (
            f" No correlation suffices to learn it from {result['n_train']} training subjects and "
            f"{result['gene_columns']} gene columns."
        )
    return start + (
        f" To get there, genes would have to explain {result['true_r2']:.1%} of each of {result['axes']} "
        f"brain axes, learned from {result['n_train']} subjects over {result['gene_columns']} gene columns."
    )
