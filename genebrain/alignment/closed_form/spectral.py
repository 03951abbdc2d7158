"""Principal components, folds, rotations, and ridge under any penalty, in primal or dual form.

The cost follows the smaller of people and columns.

Source: blocks of reflectors as in Schreiber & Van Loan (1989), a table reduced to a band as in Bischof et al. (2000).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.linalg import qr

from genebrain.common.types import FloatArray, IntArray

ROWS = 4096
"""People whose numbers are there in double precision at a time."""
BLOCK, STRIP = 64, 512
"""Columns that a reduction clears together, and columns whose products it makes together."""
TOGETHER = 8
"""Penalties that are tried side by side."""
RANK_TOLERANCE = 1e-6
"""Directions with a singular value below this share of the largest one are rounding error of float32 input."""


@dataclass(frozen=True)
class PrincipalComponents:
    """Mean and leading principal axes of a table.

    Attributes
    ----------
    mean : array [columns]
    axes : array [columns, components], orthonormal columns
    variances : array [components], in descending order
    total_variance : float
        Sum over all directions, kept or not.
    """

    mean: FloatArray
    axes: FloatArray
    variances: FloatArray
    total_variance: float

    def scores(self, x: FloatArray, *, whiten: bool = True) -> FloatArray:
        """Project ``x [people, columns]`` to ``[people, components]``; whitened: unit variance on the fitted rows."""
        z = projected(x, self.axes, self.mean)
        return z / np.sqrt(self.variances) if whiten else z


def projected(x: FloatArray, axes: FloatArray, mean: FloatArray | None = None) -> FloatArray:
    """``(x - mean) @ axes`` in double precision, some people at a time."""
    found = np.empty((len(x), axes.shape[1]))
    for first in range(0, len(x), ROWS):
        part = x[first : first + ROWS].astype(np.float64, copy=False)
        found[first : first + ROWS] = (part if mean is None else part - mean) @ axes
    return found


def principal_components(x: FloatArray, most: int | None = None, times: Any = None) -> PrincipalComponents:
    """Fit principal components by an eigendecomposition of the smaller of covariance and Gram matrix.

    Parameters
    ----------
    x : array [people, columns]
    most : int, optional
        Components beyond the numerical rank never appear, so a constant table gives none.
    times : array [rows], optional (how many people each row stands for)
    """
    n, p = len(x) if times is None else int(times.sum()), x.shape[1]
    mean = x.mean(axis=0, dtype=np.float64) if times is None else times @ x.astype(np.float64) / n
    small = _covariance(x, mean, times) if p <= n else (x - mean) @ (x - mean).T
    values, vectors = np.linalg.eigh(small)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = max(values[0], 0.0) if len(values) else 0.0
    # A constant column leaves a rounding residue: compare with its own magnitude too.
    floor = max(largest * RANK_TOLERANCE**1.5, n * float(np.sum(mean**2)) * 1e-13)
    keep = values > floor
    total = float(np.sum(values[keep])) / n
    values, vectors = values[keep][:most], vectors[:, keep][:, :most]
    axes = vectors if p <= n else (x - mean).T @ vectors / np.sqrt(values)
    largest_entry = np.abs(axes).argmax(axis=0) if axes.size else np.zeros(0, dtype=int)
    axes = axes * np.sign(axes[largest_entry, np.arange(axes.shape[1])])  # the same signs on every machine
    return PrincipalComponents(mean, axes, values / n, total)


def _covariance(x: FloatArray, mean: FloatArray, times: FloatArray | None) -> FloatArray:
    """Sum of products of centred columns."""
    found = np.zeros((x.shape[1], x.shape[1]))
    for first in range(0, len(x), ROWS):
        centred = x[first : first + ROWS] - mean
        centred *= 1.0 if times is None else np.sqrt(times[first : first + ROWS, None])
        found += centred.T @ centred
    return found


def grouped_folds(families: IntArray, n_folds: int, seed: int) -> list[IntArray]:
    """Split rows into folds of nearly equal size that keep families whole.

    Returns
    -------
    list of int arrays
        Held-out rows of each fold. Fewer folds than asked for where there are fewer families.
    """
    labels, member = np.unique(families, return_inverse=True)
    sizes = np.bincount(member)
    if len(labels) < 2:
        raise ValueError(f"cross-validation needs at least 2 families, got {len(labels)}")
    n_folds = min(n_folds, len(labels))
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    filled = np.zeros(n_folds)
    fold_of_family = np.empty(len(labels), dtype=np.int64)
    for family in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        target = int(filled.argmin())
        fold_of_family[family] = target
        filled[target] += sizes[family]
    return [np.flatnonzero(fold_of_family[member] == fold) for fold in range(n_folds)]


def varimax(loadings: FloatArray, times: FloatArray | None = None) -> FloatArray:
    """Orthogonal ``R [dims, dims]`` that makes ``loadings [rows, dims] @ R`` sparse (Kaiser 1958), rows ``times``."""
    p, k = loadings.shape
    rotation, turned = np.eye(k), loadings.T if times is None else loadings.T * times
    if p == 0 or k < 2 or not np.any(loadings):
        return rotation
    previous = 0.0
    for _ in range(200):
        rotated = loadings @ rotation
        squares = rotated**2  # a third power takes twenty times as long as everything else here
        gradient = turned @ (rotated * (squares - np.average(squares, axis=0, weights=times)))
        left, singular, right = np.linalg.svd(gradient)
        rotation = left @ right
        if singular.sum() <= previous * (1.0 + 1e-7):
            break
        previous = float(singular.sum())
    return rotation


@dataclass(frozen=True)
class BlockTridiagonal:
    """A symmetric table ``Q B Q'`` with ``B`` block tridiagonal and ``Q`` orthogonal.

    Nearly all of the reduction is products of tables. ``B`` plus any multiple of the identity is solved in linear time.

    Attributes
    ----------
    diagonal, below : list of arrays [block, block]
        Blocks of ``B`` on the diagonal, and those below it.
    reflectors : list of (array [rows, block], array [block, block])
        ``Q`` is the product of ``I - V T V'`` on the last rows.
    """

    diagonal: list[FloatArray]
    below: list[FloatArray]
    reflectors: list[tuple[FloatArray, FloatArray]]

    @classmethod
    def of(cls, table: FloatArray, precision: type[np.floating[Any]] = np.float64) -> BlockTridiagonal:
        """Reduce a symmetric table; it is left as it is."""
        left, size = np.array(table, precision, order="C"), len(table)
        reflectors = [_reduce_columns(left, first) for first in range(0, size - 2 * BLOCK, BLOCK)]
        parts = [slice(first, min(first + BLOCK, size)) for first in range(0, size, BLOCK)]
        diagonal = [np.tril(left[one, one]) + np.tril(left[one, one], -1).T for one in parts]
        below = [left[after, one].copy() for one, after in pairwise(parts)]
        return cls(diagonal, below, reflectors)

    def turned(self, values: FloatArray, *, back: bool = False) -> FloatArray:
        """``Q' values``, or ``Q values``, of ``values [rows, k]``."""
        found = np.array(values, self.diagonal[0].dtype if self.diagonal else np.float64)
        for first, (v, t) in list(enumerate(self.reflectors))[:: -1 if back else 1]:
            found[(first + 1) * BLOCK :] -= v @ ((t if back else t.T) @ (v.T @ found[(first + 1) * BLOCK :]))
        return found

    def _factors(self, penalties: FloatArray) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
        """Rows of each block, inverse of its Cholesky factor, and the factor below the diagonal in front of it.

        All of ``B + penalty``, one behind the other in the first dimension.
        """
        first, inverse = 0, np.zeros((len(penalties), 0, 0))
        for number, block in enumerate(self.diagonal):
            size = len(block)
            before = self.below[number - 1] if number else np.zeros((size, 0), block.dtype)
            step = before @ np.swapaxes(inverse, 1, 2).astype(block.dtype)
            shifted = block + (penalties[:, None, None] * np.eye(size)).astype(block.dtype)
            inverse = np.linalg.inv(np.linalg.cholesky(shifted - step @ np.swapaxes(step, 1, 2)))
            yield slice(first, first + size), inverse, step
            first += size

    def powers(self, turned: FloatArray, penalties: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``log |B + penalty|`` ``[penalties]``, and the diagonal of ``v' (B + penalty)^-1 v`` ``[penalties, k]``."""
        logs, found = np.zeros(len(penalties)), np.zeros((len(penalties), turned.shape[1]))
        for first in range(0, len(penalties), TOGETHER):
            some = slice(first, first + TOGETHER)
            half = np.zeros((len(penalties[some]), 0, turned.shape[1]), turned.dtype)
            for rows, inverse, step in self._factors(penalties[some]):
                logs[some] -= 2 * np.log(np.einsum("gjj->gj", inverse)).sum(axis=1, dtype=np.float64)
                half = inverse @ (turned[rows] - step @ half)
                found[some] += np.einsum("gjk,gjk->gk", half, half)
        return logs, found

    def solved(self, turned: FloatArray, penalty: float) -> FloatArray:
        """``(B + penalty)^-1 turned``."""
        factors, half = list(self._factors(np.array([penalty]))), np.zeros_like(turned)
        last = slice(0, 0)
        for rows, inverse, step in factors:
            half[rows] = inverse[0] @ (turned[rows] - step[0] @ half[last])
            last = rows
        for rows, inverse, step in reversed(factors):
            half[rows] = inverse[0].T @ half[rows]
            if step.shape[2]:
                half[rows.start - BLOCK : rows.start] -= step[0].T @ half[rows]
        return half

    def trace(self, penalty: float) -> float:
        """Trace of ``(B + penalty)^-1``."""
        total, behind = 0.0, None
        for _, inverse, step in reversed(list(self._factors(np.array([penalty])))):
            own = inverse[0].T @ inverse[0] if behind is None else inverse[0].T @ (behind @ inverse[0])
            total += float(np.trace(own))
            behind = np.eye(step.shape[2]) + step[0].T @ own @ step[0]
        return total


def _reduce_columns(table: FloatArray, first: int) -> tuple[FloatArray, FloatArray]:
    """Clear a block of columns below the next block, in place; ``V`` and ``T`` of the reflectors that do it.

    Only what lies below the diagonal is kept true, and whole squares of ``STRIP`` on it.
    """
    start = first + BLOCK
    (below, scales), _ = qr(table[start:, first:start], mode="raw", check_finite=False)
    table[start : start + BLOCK, first:start] = np.triu(below[:BLOCK])
    v = np.tril(below, -1)
    np.fill_diagonal(v, 1.0)
    v, inner, t = np.ascontiguousarray(v), v.T @ v, np.diag(scales)
    for column in range(1, BLOCK):
        t[:column, column] = -scales[column] * (t[:column, :column] @ inner[:column, column])
    rest, strips = table[start:, start:], [0, *range(STRIP - start % STRIP, len(v), STRIP), len(v)]
    moved = np.zeros_like(v)
    for one, end in pairwise(strips):
        moved[one:] += rest[one:, one:end] @ v[one:end]
        moved[one:end] += rest[end:, one:end].T @ v[end:]
    moved = moved @ t
    moved -= 0.5 * v @ (t.T @ (v.T @ moved))
    left, right = np.concatenate([v, moved], axis=1), np.concatenate([moved, v], axis=1)
    for one, end in pairwise(strips):
        rest[one:, one:end] -= left[one:] @ right[one:end].T
    return v, t


@dataclass(frozen=True)
class RidgePath:
    """Ridge of latents ``U`` on columns ``X`` under any penalty, from one reduction.

    Attributes
    ----------
    reduced : BlockTridiagonal
        Of the table.
    table, right : array [rows, rows], array [rows, dims]
        ``X'X`` and ``X'U``; or ``X X'`` and ``U`` where there are more columns than people.
    x : array [people, columns], optional
        Of the form with people.
    """

    reduced: BlockTridiagonal
    table: FloatArray
    right: FloatArray
    x: FloatArray | None = None

    def explained(self, penalties: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Diagonal of ``U'X (X'X + penalty)^-1 X'U`` ``[dims, penalties]``, and ``log |I + X'X / penalty|``."""
        turned = self.reduced.turned(self.right)
        logs, powers = self.reduced.powers(turned, penalties)
        if self.x is not None:
            powers = np.sum(turned**2, axis=0, dtype=np.float64) - penalties[:, None] * powers
        return powers.T, logs - len(self.table) * np.log(penalties)

    def used(self, penalty: float) -> float:
        """Degrees of freedom: trace of ``X (X'X + penalty)^-1 X'``."""
        return len(self.table) - penalty * self.reduced.trace(penalty)

    def coefficients(self, penalties: FloatArray) -> FloatArray:
        """Coefficients ``[columns, dims]`` with one penalty per dimension; zero where it is infinite."""
        live, found = np.isfinite(penalties), np.zeros_like(self.right)
        right, own = self.right[:, live], penalties[live]
        solved = self._solved(right, own).astype(np.float64)
        for _ in range(2):  # single precision loses what these bring back
            solved += self._solved(right - self.table @ solved - own * solved, own)
        found[:, live] = solved
        return found if self.x is None else self.x.T @ found

    def _solved(self, right: FloatArray, penalties: FloatArray) -> FloatArray:
        turned = self.reduced.turned(right)
        for penalty in np.unique(penalties):
            own = penalties == penalty
            turned[:, own] = self.reduced.solved(turned[:, own], float(penalty))
        return self.reduced.turned(turned, back=True)
