"""Counts and their expectation over galleries, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom

from genebrain.evaluation import ranks
from genebrain.evaluation.ranks import RankCounts, distinct_rows, over_ties, rank_counts
from genebrain.evaluation.ranks import recall_tables as recall
from genebrain.evaluation.ranks import reciprocal_table as reciprocal


@pytest.mark.parametrize(("negatives", "size"), [(20, 2), (20, 8), (63, 64), (300, 64)])
def test_recall_table_is_the_hypergeometric_distribution(negatives: int, size: int):
    ks = [1, 2, 5, 10]
    better = np.arange(negatives + 1)
    expected = [hypergeom.cdf(k - 1, negatives, better, size - 1) for k in ks]
    assert recall(negatives, size, ks) == pytest.approx(np.array(expected), abs=1e-10)


@pytest.mark.parametrize(("negatives", "size"), [(20, 2), (20, 8), (63, 64), (300, 64)])
def test_reciprocal_table_is_the_expected_reciprocal_rank(negatives: int, size: int):
    drawn = np.arange(size)
    expected = [(hypergeom.pmf(drawn, negatives, b, size - 1) / (1 + drawn)).sum() for b in range(negatives + 1)]
    assert reciprocal(negatives, size) == pytest.approx(np.array(expected), abs=1e-10)


def test_ties_take_every_place_equally_often():
    table = np.array([[1.0, 0.5, 0.2, 0.0]])
    counts = RankCounts(np.array([0, 1, 3]), np.array([0, 2, 0]), np.full(3, 3))
    assert over_ties(table, counts, np.arange(3))[0] == pytest.approx([1.0, 0.7 / 3, 0.0])


def test_counts_of_a_table_read_by_hand():
    query = np.array([[1.0], [-1.0], [2.0]])
    candidate = np.array([[2.0], [5.0], [2.0]])
    counts = rank_counts(query, candidate, np.arange(3))
    assert counts.better.tolist() == [1, 2, 1]
    assert counts.ties.tolist() == [1, 0, 1]
    assert counts.negatives.tolist() == [2, 2, 2]
    assert counts.percentile == pytest.approx([0.25, 0.0, 0.25])


def test_blocks_do_not_change_counts(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    query, candidate = rng.standard_normal((2, 57, 4)).round(1)
    genome = rng.integers(0, 40, 57)
    whole = rank_counts(query, candidate, genome)
    monkeypatch.setattr(ranks, "BLOCK_SCORES", 57 * 5)
    blocks = rank_counts(query, candidate, genome)
    assert np.array_equal(whole.better, blocks.better)
    assert np.array_equal(whole.ties, blocks.ties)
    assert np.array_equal(whole.negatives, 57 - np.bincount(genome)[genome])


def test_distinct_rows():
    values = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, -0.0]])
    distinct, which = distinct_rows(values)
    assert np.array_equal(distinct[which], values)
    assert len(distinct) == 2
    alone, order = distinct_rows(values[:2])
    assert np.array_equal(alone, values[:2])
    assert order.tolist() == [0, 1]
