"""Large tables: sums of products in place, work side by side, and threads that are given back."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from genebrain.alignment.large_tables import (
    add_products,
    give_back,
    in_parts,
    large_tables,
    mirror,
    side_by_side,
    small_products,
)


def blas_threads() -> int:
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


@pytest.mark.parametrize("columns", [0, 1, 7, 1100])
def test_products_are_added_above_the_diagonal_and_mirrored(columns: int) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, columns)) for n in (5, 1, 30)]
    table = np.zeros((columns, columns))
    for part in parts:
        add_products(table, part)
    mirror(table)
    np.testing.assert_array_equal(table, table.T)
    np.testing.assert_allclose(table, sum(part.T @ part for part in parts), rtol=1e-12, atol=1e-12)


def test_threads_are_taken_for_large_tables_alone_and_given_back() -> None:
    with threadpool_limits(2, user_api="blas"):
        with small_products():
            assert blas_threads() == 1
            with small_products(), large_tables():
                assert blas_threads() == 2
            assert blas_threads() == 1
        assert blas_threads() == 2


def test_work_side_by_side_comes_back_in_its_order() -> None:
    both, who = threading.Barrier(2, timeout=10), set()

    def work(number: int) -> int:
        both.wait()  # one alone would wait forever
        who.add(threading.get_ident())
        return number**2

    with threadpool_limits(2, user_api="blas"), small_products():
        assert list(side_by_side(work, range(6))) == [0, 1, 4, 9, 16, 25]
        assert len(who) == 2
        here = {threading.get_ident()}
        assert {*side_by_side(lambda _: threading.get_ident(), range(3), most=1)} == here
    assert {*side_by_side(lambda _: threading.get_ident(), range(3))} == here


@pytest.mark.parametrize(("n", "parts"), [(6, [(0, 3), (3, 6)]), (1, [(0, 1)]), (0, [])])
def test_parts_of_work_go_to_several_cores_where_there_are_some(n: int, parts: list[tuple[int, int]]) -> None:
    done: list[tuple[int, int]] = []
    in_parts(lambda part: done.append((part.start, part.stop)), n)
    assert done == [(0, n)]
    done.clear()
    with threadpool_limits(2, user_api="blas"), small_products():
        in_parts(lambda part: done.append((part.start, part.stop)), n)
        with pytest.raises(ZeroDivisionError):
            in_parts(lambda part: 1 // 0, 4)
    assert sorted(done) == parts


def test_what_is_in_use_is_not_given_back() -> None:
    table = np.arange(1000.0)
    give_back()
    np.testing.assert_array_equal(table, np.arange(1000.0))
