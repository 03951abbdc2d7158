"""Retrieval metrics with intervals from rank counts, at a gallery of any size.

Counts per query and direction in, the nested dictionaries of ``metrics.json`` out. Every metric is an average over
subjects, so one bootstrap of whole families serves them all (the median through the rank's cumulative distribution).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from genebrain.common.types import FloatArray, IntArray, Metrics
from genebrain.evaluation.intervals import FamilyBootstrap, median_of, rate_interval, summary
from genebrain.evaluation.ranks import RankCounts, over_ties, recall_tables, reciprocal_table

RECALL_AT = (1, 5, 10)
AVERAGES = ("mrr", "mean_rank", "percentile_rank")
MEDIAN_POSITIONS = 512
"""Up to this gallery size the median rank is exact; beyond, it is resolved to about two per cent."""


def summarise(counts: dict[str, RankCounts], gallery_size: int, bootstrap: FamilyBootstrap) -> Metrics:
    """Metrics with intervals for each direction in ``counts``, and for their mean."""
    positions = _median_positions(gallery_size)
    sums = {name: _family_sums(one, gallery_size, positions, bootstrap) for name, one in counts.items()}
    sums["mean"] = np.mean(list(sums.values()), axis=0)
    n_rates, n_averages = len(RECALL_AT), len(RECALL_AT) + len(AVERAGES)
    result: Metrics = {}
    for direction, family_sums in sums.items():
        value, draws = bootstrap.means(family_sums)
        low, high = rate_interval(value[:n_rates], draws[:, :n_rates], bootstrap.n_subjects, bootstrap.n_families)
        metrics: Metrics = {
            f"recall@{k}": {
                "value": float(np.clip(value[i], 0, 1)),  # sums of many small chances may overshoot
                "ci": [float(low[i]), float(high[i])],
            }
            for i, k in enumerate(RECALL_AT)
        }
        for column, name in enumerate(AVERAGES, start=n_rates):
            metrics[name] = summary(value[column], draws[:, column])
        cdf, cdf_draws = value[n_averages:], draws[:, n_averages:]
        metrics["median_rank"] = summary(float(median_of(cdf, positions)), median_of(cdf_draws, positions))
        metrics["matched_auc"] = dict(metrics["percentile_rank"])
        result[direction] = metrics
    return result


def recalls(counts: RankCounts, gallery_size: int, ks: list[int]) -> NDArray[np.float64]:
    """Expected recall ``[len(ks), queries]`` at every k of ``ks``, increasing."""
    out = np.empty((len(ks), len(counts.better)))
    for negatives in np.unique(counts.negatives):
        rows = np.flatnonzero(counts.negatives == negatives)
        out[:, rows] = over_ties(recall_tables(int(negatives), gallery_size, ks), counts, rows)
    return out


def _family_sums(
    counts: RankCounts, gallery_size: int, positions: IntArray, bootstrap: FamilyBootstrap
) -> NDArray[np.float64]:
    """Sums per family ``[families, statistics]``: `RECALL_AT`, `AVERAGES`, then the cdf of the rank."""
    n = len(counts.better)
    mrr = np.empty(n)
    for negatives in np.unique(counts.negatives):
        rows = np.flatnonzero(counts.negatives == negatives)
        mrr[rows] = over_ties(reciprocal_table(int(negatives), gallery_size), counts, rows)
    percentile = counts.percentile
    mean_rank = 1 + (gallery_size - 1) * (1 - percentile)
    shown = recalls(counts, gallery_size, list(RECALL_AT))
    cdf = [bootstrap.sums(recalls(counts, gallery_size, part.tolist())) for part in _pieces(positions, 64)]
    return np.concatenate([bootstrap.sums(np.vstack([shown, mrr, mean_rank, percentile])), *cdf], axis=1)


def _median_positions(gallery_size: int) -> IntArray:
    if gallery_size <= MEDIAN_POSITIONS:
        return np.arange(1, gallery_size + 1)
    return np.unique(np.geomspace(1, gallery_size, MEDIAN_POSITIONS).round().astype(np.int64))


def _pieces(values: IntArray, size: int) -> list[IntArray]:
    return [values[begin : begin + size] for begin in range(0, len(values), size)]


Relatives = Literal["rivals", "left_out"]
"""Whether people of one family and different genomes stand in the galleries of each other; those of `evaluate` do."""


def expected_recall_at_1(
    scores: FloatArray,
    genome: IntArray | None = None,
    family: IntArray | None = None,
    *,
    relatives: Relatives,
    gallery: int = 32,
) -> float:
    """Mean of :func:`recall_at_1_of_each` over people and directions; 1 for a single person."""
    if len(scores) < 2:
        return 1.0
    each = recall_at_1_of_each(scores, genome, family, relatives=relatives, gallery=gallery)
    return float(np.mean([np.mean(one) for one in each]))


def recall_at_1_of_each(
    scores: FloatArray,
    genome: IntArray | None = None,
    family: IntArray | None = None,
    *,
    relatives: Relatives,
    gallery: int = 32,
) -> NDArray[np.float64]:
    """Expected recall@1 of each person over all galleries of a given size, exact: ``[2 directions, people]``.

    Equals the recall@1 of :func:`~genebrain.evaluation.retrieval.evaluate_retrieval`, from a matrix of scores. With
    ``b`` candidates above the match among ``m`` rivals, a gallery of ``gallery - 1`` random rivals holds none of them
    with probability ``C(m - b, gallery - 1) / C(m, gallery - 1)``. Ties are broken at random, in expectation: a
    constant score gives exactly ``1 / gallery``. (Inserting the mid-rank into the formula instead would give a
    constant score almost zero.)

    Parameters
    ----------
    scores : array [people, people]
        Row: gene query; column: brain candidate; the diagonal holds the matches.
    genome, family : int arrays [people], optional
        People of one genome (identical twins) are matches of each other, of which the best counts. None: all differ.
    relatives : {"rivals", "left_out"}
        ``rivals`` as in ``evaluate``; ``left_out``: people of one family are in no gallery of each other.
    gallery : int
        Gallery size, capped by the number of people that can be drawn for a query.
    """
    n = len(scores)
    genome = np.arange(n) if genome is None else genome
    same = genome[:, None] == genome[None, :]
    apart = genome if relatives == "rivals" or family is None else family
    rival = (apart[:, None] != apart[None, :]) & ~same
    twins = len(np.unique(genome)) < n
    values = []
    for table in (scores, scores.T):
        match = np.diag(table)[:, None]
        if twins:
            match = np.max(table, axis=1, where=same, initial=-np.inf)[:, None]
        above = np.sum((table > match) & rival, axis=1)
        ties = np.sum((table == match) & rival, axis=1)
        m = rival.sum(axis=1)
        values.append(_chance_of_none(above, ties, m, np.minimum(gallery - 1, m)))
    return np.stack(values)


def _chance_of_none(above: IntArray, ties: IntArray, m: IntArray, drawn: IntArray) -> FloatArray:
    """Mean over b = above..above+ties of C(m-b, drawn) / C(m, drawn), by the hockey-stick identity."""

    def log_choose(a: IntArray, b: IntArray) -> FloatArray:
        return gammaln(a + 1.0) - gammaln(b + 1.0) - gammaln(np.maximum(a - b, 0) + 1.0)

    def tail(b: IntArray) -> FloatArray:  # sum over b' >= b of C(m-b', drawn) / C(m, drawn)
        top = m - b + 1
        possible = top >= drawn + 1
        return np.where(possible, np.exp(log_choose(np.maximum(top, drawn + 1), drawn + 1) - log_choose(m, drawn)), 0.0)

    return (tail(above) - tail(above + ties + 1)) / (ties + 1)
