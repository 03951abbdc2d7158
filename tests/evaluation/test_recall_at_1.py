"""Recall@1 from a matrix of scores: against brute force, and against the judge on people with relatives."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from genebrain.evaluation.rank_metrics import expected_recall_at_1, recall_at_1_of_each
from genebrain.evaluation.retrieval import evaluate_retrieval


def brute_force(scores: np.ndarray, gallery: int) -> float:
    """Every gallery of every query; a tie for the best is an equal chance."""
    values = []
    for table in (scores, scores.T):
        for i in range(len(table)):
            others = [j for j in range(len(table)) if j != i]
            for drawn in combinations(others, gallery - 1):
                rivals = table[i, list(drawn)]
                tied = np.sum(rivals == table[i, i])
                values.append(0.0 if np.any(rivals > table[i, i]) else 1.0 / (1 + tied))
    return float(np.mean(values))


@pytest.mark.parametrize("levels", [2, 4, 1000])
@pytest.mark.parametrize("gallery", [2, 4, 7])
def test_criterion_is_the_mean_over_all_galleries_with_random_ties(levels: int, gallery: int) -> None:
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, size=(7, 7)).astype(float) + np.eye(7)
    assert expected_recall_at_1(scores, relatives="rivals", gallery=gallery) == pytest.approx(
        brute_force(scores, gallery), abs=1e-12
    )


def test_constant_score_is_exactly_chance() -> None:
    assert expected_recall_at_1(np.zeros((200, 200)), relatives="rivals", gallery=32) == pytest.approx(1 / 32)


def test_gallery_is_capped_by_the_people_there_are() -> None:
    assert expected_recall_at_1(np.zeros((5, 5)), relatives="rivals", gallery=32) == pytest.approx(1 / 5)


@pytest.mark.parametrize("levels", [2, 1000])
def test_it_is_the_recall_of_evaluate_for_twins_and_siblings(levels: int) -> None:
    rng = np.random.default_rng(levels)
    genome, family = np.array([0, 0, *range(1, 29)]), np.array([0, 0, 0, 1, 1, *range(2, 27)])
    gene, brain = (rng.integers(0, levels, size=(30, 2)).astype(float) for _ in range(2))
    judged = evaluate_retrieval(gene, brain, genome_id=genome, families=family, gallery_size=8, n_bootstrap=2)
    found = recall_at_1_of_each(gene @ brain.T, genome, family, relatives="rivals", gallery=8).mean(axis=1)
    assert found == pytest.approx([judged[way]["recall@1"]["value"] for way in ("gene_to_brain", "brain_to_gene")])
    value = expected_recall_at_1(gene @ brain.T, genome, family, relatives="rivals", gallery=8)
    assert value == pytest.approx(judged["mean"]["recall@1"]["value"])


def test_relatives_are_left_out_where_it_is_said() -> None:
    scores = np.ones((6, 6))  # siblings in pairs that nothing can tell apart, everybody else well apart
    families = np.repeat(np.arange(3), 2)
    scores[families[:, None] != families[None, :]] = 0.0
    assert expected_recall_at_1(scores, family=families, relatives="left_out") == 1.0
    assert expected_recall_at_1(scores, family=families, relatives="rivals") == 0.5
    assert expected_recall_at_1(scores, genome=families, relatives="rivals") == 1.0, "twins are matches"
