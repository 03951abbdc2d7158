"""A change of basis: nothing that depends on distances may change, and less memory is used."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.fit import ClosedFormSettings, fit_closed_form
from genebrain.sides.compact import compact
from genebrain.sides.pooling import GenePooling


@pytest.fixture
def cohort():
    rng = np.random.default_rng(1)
    table = (8 + rng.standard_normal(40) + 0.01 * rng.standard_normal((60, 40))).astype(np.float32)
    index = np.full((90, 2, 2, 3), -1, np.int32)
    for place in range(6):
        index[:, :, place // 3, place % 3] = rng.integers(10 * place, 10 * place + 5, (90, 2))
    index[3, 1, 0] = -1
    index[4, :, 1, 2] = -1
    return table, index, np.array([3, 3])


@pytest.mark.parametrize("diploid", ["sum", "mean"])
def test_gram_matrices_of_the_blocks_stay_the_same(cohort, diploid):
    table, index, n_chunks = cohort
    narrow, renumbered = compact(table, index)
    assert narrow.shape[1] == 5
    assert renumbered.dtype == np.int16
    pooling = GenePooling(diploid=diploid)
    for a, b in zip(pooling.blocks(table, index, n_chunks), pooling.blocks(narrow, renumbered, n_chunks), strict=True):
        np.testing.assert_allclose(b.astype(np.float64) @ b.T, a.astype(np.float64) @ a.T, rtol=1e-6)
        assert b.shape[1] == 15


def test_the_closed_form_scores_the_same_people_the_same(cohort):
    table, index, n_chunks = cohort
    brain = {"b": np.random.default_rng(2).standard_normal((90, 12)).astype(np.float32)}
    brain["b"][:, :3] += np.eye(3)[index[:, 0, 0, 0] % 3]
    scores = []
    for vectors, rows in ((table, index), compact(table, index)):
        blocks = GenePooling().blocks(vectors, rows, n_chunks)
        settings = ClosedFormSettings(columns=ColumnSettings(item_width=vectors.shape[1]), modes=("ridge",))
        model = fit_closed_form(blocks, brain, np.arange(90), settings=settings)
        scores.append(model.gene_vectors(model.gene_columns(blocks)) @ model.brain_vectors(brain["b"]).T)
    np.testing.assert_allclose(scores[1], scores[0], atol=2e-2 * np.abs(scores[0]).max())


def test_what_would_not_get_narrower_stays_as_it_is(cohort):
    table, index, _ = cohort
    same, rows = compact(table[:, :4], index)
    assert same.shape == (60, 4)
    assert rows is index


def test_a_chunk_at_two_places_keeps_both(cohort):
    table, index, n_chunks = cohort
    index = index.copy()
    index[:, :, 1, 1] = index[:, :, 0, 0]
    narrow, renumbered = compact(table, index)
    pooling = GenePooling()
    for a, b in zip(pooling.blocks(table, index, n_chunks), pooling.blocks(narrow, renumbered, n_chunks), strict=True):
        np.testing.assert_allclose(b.astype(np.float64) @ b.T, a.astype(np.float64) @ a.T, rtol=1e-6)
