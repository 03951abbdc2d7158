"""Blocks of sums of pairs: the columns made of distinct pairs are those that are made of everybody's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.alignment import made_blocks
from genebrain.alignment.closed_form.columns import ColumnSettings, WindowColumns
from genebrain.alignment.made_blocks import MadeBlocks, PairSums
from genebrain.sides import pooling
from genebrain.sides.compact import compact
from genebrain.sides.pooling import GenePooling

PEOPLE, CHUNKS = 900, (7, 5, 6)


@pytest.fixture(scope="module")
def cohort() -> tuple[np.ndarray, np.ndarray]:
    """Vectors of chunks, and who has which: frequent and rare ones, a chunk and a window that people lack, nobody's."""
    rng = np.random.default_rng(0)
    table, index = rng.normal(size=(300, 64)).astype(np.float32), np.full((PEOPLE, 2, 3, max(CHUNKS)), -1, np.int32)
    for window, count in enumerate(CHUNKS):
        for chunk in range(count):
            rows = rng.choice(300, 12, replace=False)
            index[:, :, window, chunk] = rng.choice(rows, (PEOPLE, 2), p=rng.dirichlet(np.full(12, 0.4)))
    index[rng.random((PEOPLE, 2)) < 0.05] = -1
    index[rng.random(PEOPLE) < 0.05, :, 0] = -1
    index[::3, :, 1, 2] = -1
    index[:, :, 2] = -1
    index[0, :, 2, :4] = 3
    return table, index


SETTINGS = {
    "by frequency": {"variance": 1.0, "rotate": False, "power": 0.5},
    "rotated": {"variance": 1.0},
    "some": {},
}


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("sorted_pairs", [True, False])
def test_columns_of_distinct_pairs_are_those_of_everybody(
    cohort: tuple[np.ndarray, np.ndarray], name: str, narrow: bool, sorted_pairs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooling, "KEPT", 0)
    if sorted_pairs:
        monkeypatch.setattr(made_blocks, "LARGEST_TABLE", 0)
    table, index = compact(*cohort) if narrow else cohort
    made = GenePooling().blocks(table, index, np.array(CHUNKS))
    assert isinstance(made, MadeBlocks)
    sums = made.sums()
    assert sums is not None
    kept, training = list(made), np.random.default_rng(1).permutation(PEOPLE)[:600]
    for block, one in zip(kept, sums, strict=True):
        assert isinstance(one, PairSums)
        assert one.shape == block.shape
        np.testing.assert_array_equal(one.lacking, np.isnan(block).all(axis=1))
        values = np.concatenate([distinct[which] for distinct, which in one.items()], axis=1)
        np.testing.assert_array_equal(np.where(one.lacking[:, None], np.nan, values), block)
    settings = ColumnSettings(item_width=table.shape[1], **SETTINGS[name])
    there = WindowColumns.fit([block[training] for block in kept], settings)
    here = WindowColumns.fit(made.rows(training), settings)
    np.testing.assert_array_equal(here.window, there.window)
    assert len(here.window) > 20
    for own, other in zip(here.pieces, there.pieces, strict=True):
        for mine, theirs in zip(own, other, strict=True):
            np.testing.assert_allclose(mine[0], theirs[0], atol=1e-12)
            np.testing.assert_allclose(mine[1], theirs[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(here.transform(made), there.transform(kept), rtol=1e-6, atol=1e-6)


def test_blocks_that_are_changed_or_otherwise_pooled_are_no_sums(
    cohort: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooling, "KEPT", 0)
    for other in (GenePooling(diploid="max"), GenePooling(chunk="mean")):
        blocks = other.blocks(*cohort, np.array(CHUNKS))
        assert isinstance(blocks, MadeBlocks)
        assert blocks.sums() is None
    plain = GenePooling().blocks(*cohort, np.array(CHUNKS))
    assert isinstance(plain, MadeBlocks)
    assert plain.mapped(lambda block: block + 1).sums() is None
