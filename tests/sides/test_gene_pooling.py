"""Pooling of stored chunk vectors: an independent loop, haploid and absent windows, symmetry of the haplotypes."""

from __future__ import annotations

import numpy as np
import pytest

from genebrain.alignment.closed_form.column_sets import mapped, row_counts, rows_of
from genebrain.alignment.closed_form.columns import ColumnSettings, WindowColumns
from genebrain.alignment.made_blocks import MadeBlocks, lacking
from genebrain.common.types import UserError
from genebrain.sides import pooling
from genebrain.sides.pooling import GenePooling


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((30, 5)).astype(np.float32)
    index = rng.integers(0, 30, (6, 2, 3, 4)).astype(np.int32)
    n_chunks = np.array([4, 2, 3])
    for window, count in enumerate(n_chunks):
        index[:, :, window, count:] = -1
    index[1, 1, 0] = -1  # haploid
    index[2, :, 1] = -1  # window absent
    index[3, 0, 2, 1] = -1  # one chunk lost
    return table, index, n_chunks


def by_hand(table, index, n_chunks, chunk, diploid):
    out = []
    for window, count in enumerate(n_chunks):
        people = []
        for person in index[:, :, window, :count]:
            copies = []
            for copy in person:
                rows = copy[copy >= 0]
                if len(rows) == 0:
                    continue
                vectors = table[rows]
                copies.append({
                    "mean": lambda v=vectors: v.mean(axis=0),
                    "max": lambda v=vectors: v.max(axis=0),
                    "last": lambda v=vectors: v[-1],
                    "flatten": lambda c=copy: np.concatenate([table[r] if r >= 0 else np.zeros(5) for r in c]),
                }[chunk]())  # fmt: skip
            if not copies:
                people.append(None)
                continue
            stacked = np.stack(copies)
            difference = np.abs(stacked[0] - stacked[-1])
            people.append({
                "sum": stacked.sum(axis=0),
                "mean": stacked.mean(axis=0),
                "max": stacked.max(axis=0),
                "mean_absdiff": np.concatenate([stacked.mean(axis=0), difference]),
            }[diploid])  # fmt: skip
        width = next(len(p) for p in people if p is not None)
        out.append(np.stack([np.full(width, np.nan) if p is None else p for p in people]))
    return out


@pytest.mark.parametrize("chunk", ["mean", "max", "last", "flatten"])
@pytest.mark.parametrize("diploid", ["sum", "mean", "max", "mean_absdiff"])
def test_blocks_equal_an_independent_loop(cohort, chunk, diploid):
    blocks = GenePooling(chunk=chunk, diploid=diploid).blocks(*cohort)
    for block, expected in zip(blocks, by_hand(*cohort, chunk, diploid), strict=True):
        np.testing.assert_allclose(block, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("diploid", ["sum", "mean", "max", "mean_absdiff"])
def test_the_order_of_the_haplotypes_carries_no_meaning(cohort, diploid):
    table, index, n_chunks = cohort
    pooling = GenePooling(diploid=diploid)
    for a, b in zip(
        pooling.blocks(table, index, n_chunks), pooling.blocks(table, index[:, ::-1], n_chunks), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("window", ["mean", "max"])
def test_windows_pool_over_those_that_exist(cohort, window):
    per_window = GenePooling(chunk="mean", diploid="mean").blocks(*cohort)
    (pooled,) = GenePooling(chunk="mean", diploid="mean", window=window).blocks(*cohort)
    stacked = np.stack(per_window, axis=1)
    expected = np.nanmean(stacked, axis=1) if window == "mean" else np.nanmax(stacked, axis=1)
    np.testing.assert_allclose(pooled, expected, rtol=1e-5)


def test_all_wrong_levels_are_named_together():
    with pytest.raises(UserError, match=r"(?s)token=middle.*chunk=meen.*plugins=\[\.\.\.\] adds.*window=all"):
        GenePooling(token="middle", chunk="meen", window="all")


@pytest.mark.parametrize("chunk", ["flatten", "mean"])
def test_blocks_of_a_large_cohort_are_made_when_asked_for(cohort, chunk, monkeypatch):
    """The same numbers, changed, sliced and fitted, from blocks of which none is kept."""
    kept = GenePooling(chunk=chunk).blocks(*cohort)
    monkeypatch.setattr(pooling, "KEPT", 0)
    made = GenePooling(chunk=chunk).blocks(*cohort)
    assert isinstance(kept, list)
    assert isinstance(made, MadeBlocks)
    assert made[0] is not made[0]
    assert [len(made), made.people, made.widths] == [3, 6, [block.shape[1] for block in kept]]
    for one, other in zip(made, kept, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(made[-1], kept[2])
    np.testing.assert_array_equal(made[1:][0], kept[1])
    with pytest.raises(IndexError):
        made[3]
    rows = np.array([5, 0, 3])
    np.testing.assert_array_equal(lacking(made), lacking(kept))
    np.testing.assert_array_equal(lacking(made.rows(rows)), lacking(kept)[rows])
    assert lacking(kept).any()
    for one, other in zip(made.rows(rows).rows(np.array([2, 2, 0])), kept, strict=True):
        np.testing.assert_array_equal(one, other[[3, 3, 5]])
    few = [rows_of(mapped(blocks, lambda block: np.nan_to_num(block) + 1), rows) for blocks in (made, kept)]
    assert row_counts(few[0]) == row_counts(few[1]) == {f"window {w}": 3 for w in range(3)}
    for one, other in zip(*few, strict=True):
        np.testing.assert_array_equal(one, other)
    width = 5 if chunk == "flatten" else None
    for settings in (ColumnSettings(rotate=False, power=0.5, item_width=width), ColumnSettings()):
        fits = [WindowColumns.fit(blocks, settings) for blocks in (made, kept)]
        np.testing.assert_allclose(fits[0].transform(made), fits[1].transform(kept), rtol=1e-6, atol=1e-6)
    other_width = MadeBlocks(lambda number, rows: kept[0], 6, [block.shape[1] + 1 for block in kept])
    with pytest.raises(ValueError, match="fitted on windows of widths"):
        fits[0].transform(other_width)


def test_of_some_people_nothing_of_the_others_is_made():
    asked = []

    def make(window, rows):
        asked.append(None if rows is None else rows.tolist())
        return np.zeros((6 if rows is None else len(rows), 2), np.float32)

    blocks = MadeBlocks(make, 6, [2, 2])
    list(blocks.rows(np.array([4, 1, 3])).rows(np.array([1, 2])))
    list(blocks.mapped(np.negative).rows(np.array([4])))
    assert asked == [[1, 3], [1, 3], None, None], "what changes a block sees everybody"
