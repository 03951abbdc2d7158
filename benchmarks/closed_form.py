"""Closed form with many gene columns: people's rows and blocks of columns against tables of columns, one by one.

Run: ``python -m benchmarks.closed_form [--people 1500] [--columns 4000]``. Random columns with planted effects, one
thread. The plain form is that of ``tests/alignment/plain_regression.py``; both ways run in turn, figures are medians of
the ratios. Memory is the peak of a process of its own, above its inputs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.infonce import high_water_mark
from genebrain.alignment.closed_form.empirical_bayes import fit_ridge, fit_sparse
from genebrain.alignment.closed_form.regression_data import Moments, PeopleRows
from genebrain.alignment.closed_form.spectral import varimax
from tests.alignment.closed_form import plain_regression as plain

DIMS, FITS, PAIRS = 16, 6, 3


def people(n: int, p: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Columns, latents of which four columns explain a part each, and the folds with the fit on everybody."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, p))
    effects = np.zeros((p, DIMS))
    for d in range(DIMS):
        effects[rng.choice(p, 4, replace=False), d] = 0.4
    left_out = [*np.array_split(rng.permutation(n), FITS - 1), np.zeros(0, np.int64)]
    return x, x @ effects + 0.7 * rng.normal(size=(n, DIMS)), left_out


def third_power(loadings: np.ndarray) -> np.ndarray:
    """Varimax as it is written down."""
    rotation, previous = np.eye(loadings.shape[1]), 0.0
    for _ in range(200):
        rotated = loadings @ rotation
        gradient = loadings.T @ (rotated**3 - rotated * np.mean(rotated**2, axis=0))
        left, singular, right = np.linalg.svd(gradient)
        rotation = left @ right
        if singular.sum() <= previous * (1.0 + 1e-7):
            break
        previous = float(singular.sum())
    return rotation


def compared(what: str, before: Callable[[], Any], after: Callable[[], Any], pairs: int = PAIRS) -> str:
    """A row of the table: both ways in turn."""
    times: list[tuple[float, float]] = []
    for _ in range(pairs):
        marks, results = [time.perf_counter()], []
        for way in (before, after):
            results.append(way())
            marks.append(time.perf_counter())
        times.append((marks[1] - marks[0], marks[2] - marks[1]))
    difference = np.abs(results[0] - results[1]).max() / np.abs(results[0]).max()
    ratios = sorted(a / b for a, b in times)
    plain_s, new_s = (statistics.median(column) for column in zip(*times, strict=True))
    spread = f"{statistics.median(ratios):.1f} ({ratios[0]:.1f}-{ratios[-1]:.1f})"
    return f"| {what} | {plain_s:.2f} | {new_s:.2f} | {spread} | {difference:.0e} |"


def rows(n: int, p: int) -> Iterator[str]:
    """Lines of the table."""
    yield "| part | plain s | now s | times faster | largest difference |"
    yield "|---|---|---|---|---|"
    for columns in (p // 4, p):
        x, u, left_out = people(n, columns)
        form: Any = Moments if columns <= n else PeopleRows
        size = f"{n:,} people x {columns:,} columns, {form.__name__}"
        two = left_out[-2:]
        yield compared(
            f"{size}: sums and ridge of 2 fits",
            lambda x=x, u=u, two=two: plain.ridge(Moments.of_subsets(x, u, two)).mean,
            lambda x=x, u=u, two=two, form=form: fit_ridge(form.of_subsets(x, u, two)).mean,
        )
        tables, data = Moments.of_subsets(x, u, left_out), form.of_subsets(x, u, left_out)
        start = fit_ridge(data).mean
        for shared in (True, False):
            yield compared(
                f"{size}: 6 sweeps of {'row' if shared else 'entry'}, {FITS} fits, {DIMS} latents",
                lambda t=tables, s=start, shared=shared: plain.sparse(t, s, shared=shared, max_sweeps=6).mean,
                lambda d=data, s=start, shared=shared: fit_sparse(d, s, shared=shared, max_sweeps=6).mean,
            )
    loadings = np.random.default_rng(1).normal(size=(n, 20))
    yield compared(
        f"varimax, 20 components of {n:,} people",
        lambda: third_power(loadings),
        lambda: varimax(loadings),
        2 * PAIRS + 1,
    )
    memory = [peak(form, n, p) for form in ("Moments", "PeopleRows")]
    yield ""
    yield f"Peak memory of the ridge and a sweep, {n:,} people x {p:,} columns, {FITS} fits:"
    yield f"{memory[0]:.0f} MiB as tables of columns, {memory[1]:.0f} MiB as rows of people."


def peak(form: str, n: int, p: int) -> float:
    """MiB above the inputs, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.closed_form", "--people", str(n), "--columns", str(p), "--child", form]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def child(form: str, n: int, p: int) -> None:
    x, u, left_out = people(n, p)
    before = high_water_mark()
    data = {"Moments": Moments, "PeopleRows": PeopleRows}[form].of_subsets(x, u, left_out)  # type: ignore[attr-defined]
    fit_sparse(data, fit_ridge(data).mean, shared=True, max_sweeps=1)
    print(high_water_mark() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description="closed form with many gene columns")
    parser.add_argument("--people", type=int, default=1500)
    parser.add_argument("--columns", type=int, default=4000)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with threadpool_limits(1):
        if arguments.child:
            child(arguments.child, arguments.people, arguments.columns)
            return
        for line in rows(arguments.people, arguments.columns):
            print(line, flush=True)


if __name__ == "__main__":
    main()
