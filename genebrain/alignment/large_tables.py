"""Large tables: all threads of BLAS for their products, sums of products in place, and work on several side by side.

Small products take one thread: several would wait for one another most of the time.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import TypeVar

import numpy as np
from scipy.linalg import blas
from threadpoolctl import threadpool_info, threadpool_limits

from genebrain.common.types import FloatArray

Given = TypeVar("Given")
Made = TypeVar("Made")

STRIP = 512
"""Rows and columns of a table that are turned together."""

_allowed: ContextVar[int] = ContextVar("cores", default=1)
_crew: ContextVar[ThreadPoolExecutor | None] = ContextVar("crew", default=None)


@contextmanager
def small_products() -> Iterator[None]:
    """One thread of BLAS inside; as many as there were before for what asks for them here."""
    before = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
    cores = max(before, _allowed.get())
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores) as crew:
        allowed, shared = _allowed.set(cores), _crew.set(crew if cores > 1 else None)
        try:
            yield
        finally:
            _allowed.reset(allowed)
            _crew.reset(shared)


@contextmanager
def large_tables() -> Iterator[None]:
    """All threads of BLAS that :func:`small_products` has found, for products of tables of thousands of columns."""
    with threadpool_limits(_allowed.get(), user_api="blas"):
        yield


def side_by_side(work: Callable[[Given], Made], given: Iterable[Given], most: int | None = None) -> Iterator[Made]:
    """Results in their order, worked out by so many Python threads; products of tables leave the interpreter free."""
    workers = min(_allowed.get(), most or _allowed.get())
    if workers < 2:
        yield from map(work, given)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(work, given)


def in_parts(work: Callable[[slice], object], n: int) -> None:
    """Do some work on parts of a range of ``n``, one part per core, side by side."""
    crew = _crew.get()
    if crew is None:
        work(slice(0, n))
        return
    edges = [n * one // _allowed.get() for one in range(_allowed.get() + 1)]
    for _ in crew.map(work, [slice(*edge) for edge in pairwise(edges) if edge[0] < edge[1]]):
        pass


def give_back() -> None:
    """Give memory that is free inside this process back to the system, where the C library can: large tables follow."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def add_products(table: FloatArray, rows: FloatArray) -> None:
    """Add ``rows' rows`` to a table of columns x columns in place, above its diagonal alone; see :func:`mirror`."""
    if len(table):
        blas.dsyrk(1.0, rows.T, beta=1.0, c=table.T, overwrite_c=True, lower=True)


def mirror(table: FloatArray) -> None:
    """Make a table symmetric by what stands above its diagonal, in place."""
    for first in range(0, len(table), STRIP):
        last = first + STRIP
        corner = table[first:last, first:last]
        corner[...] = np.triu(corner) + np.triu(corner, 1).T
        table[last:, first:last] = table[first:last, last:].T
