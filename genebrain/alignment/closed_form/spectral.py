"""Principal components, whitening and ridge canonical correlation analysis, in primal or dual form.

Everything is computed from one thin singular value decomposition per side, so that the cost follows the smaller of
people and columns, and a ridge only rescales singular values.

Source: ridge CCA as in Vinod (1976); both sides are shrunk towards the identity,
``R = (1 - gamma) X'X/n + gamma I``, the form used for imaging genetics by Zhuang et al. (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigvalsh_tridiagonal, lapack, solveh_banded

from genebrain.common.types import FloatArray, IntArray

ROWS = 4096
"""People whose numbers are there in double precision at a time."""
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


def principal_components(x: FloatArray, max_components: int | None = None) -> PrincipalComponents:
    """Fit principal components by an eigendecomposition of the smaller of covariance and Gram matrix.

    Parameters
    ----------
    x : array [people, columns]
    max_components : int, optional
        Components beyond the numerical rank never appear, so a constant table gives none.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    n, p = x.shape
    small = _covariance(x, mean) if p <= n else (x - mean) @ (x - mean).T
    values, vectors = np.linalg.eigh(small)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = max(values[0], 0.0) if len(values) else 0.0
    # A constant column leaves a rounding residue: compare with its own magnitude too.
    floor = max(largest * RANK_TOLERANCE**1.5, n * float(np.sum(mean**2)) * 1e-13)
    keep = values > floor
    total = float(np.sum(values[keep])) / n
    values, vectors = values[keep][:max_components], vectors[:, keep][:, :max_components]
    axes = vectors if p <= n else (x - mean).T @ vectors / np.sqrt(values)
    largest_entry = np.abs(axes).argmax(axis=0) if axes.size else np.zeros(0, dtype=int)
    axes = axes * np.sign(axes[largest_entry, np.arange(axes.shape[1])])  # the same signs on every machine
    return PrincipalComponents(mean, axes, values / n, total)


def _covariance(x: FloatArray, mean: FloatArray) -> FloatArray:
    """Sum of products of centred columns."""
    found = np.zeros((x.shape[1], x.shape[1]))
    for first in range(0, len(x), ROWS):
        centred = x[first : first + ROWS] - mean
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


def varimax(loadings: FloatArray, max_iterations: int = 200) -> FloatArray:
    """Orthogonal ``R [dims, dims]`` that makes ``loadings [rows, dims] @ R`` sparse (Kaiser 1958)."""
    p, k = loadings.shape
    rotation = np.eye(k)
    if p == 0 or k < 2 or not np.any(loadings):
        return rotation
    previous = 0.0
    for _ in range(max_iterations):
        rotated = loadings @ rotation
        squares = rotated**2  # a third power takes twenty times as long as everything else here
        gradient = loadings.T @ (rotated * (squares - squares.mean(axis=0)))
        left, singular, right = np.linalg.svd(gradient)
        rotation = left @ right
        if singular.sum() <= previous * (1.0 + 1e-7):
            break
        previous = float(singular.sum())
    return rotation


@dataclass(frozen=True)
class Tridiagonal:
    """A symmetric table ``Q T Q'`` with ``T`` tridiagonal and ``Q`` orthogonal.

    Half the time of an eigendecomposition and a third of its memory. ``T`` plus any multiple of the identity is solved
    in linear time, and its eigenvalues are those of the table.

    Attributes
    ----------
    diagonal : array [rows]
    beside : array [rows - 1]
    reflectors, scales
        ``Q`` as LAPACK keeps it.
    """

    diagonal: FloatArray
    beside: FloatArray
    reflectors: FloatArray
    scales: FloatArray

    @classmethod
    def of(cls, table: FloatArray) -> Tridiagonal:
        """Reduce a symmetric table; it is left as it is."""
        size = len(table)
        if size < 3:
            return cls(np.diag(table).copy(), np.diag(table, 1).copy(), np.zeros((0, 0)), np.zeros(0))
        work, _ = lapack.dsytrd_lwork(size, lower=1)
        copied = np.array(table, order="C").T  # of a symmetric table: as LAPACK wants it, without turning it
        reflectors, diagonal, beside, scales, _ = lapack.dsytrd(copied, lower=1, lwork=int(work), overwrite_a=1)
        return cls(diagonal, beside, reflectors, scales)

    @property
    def eigenvalues(self) -> FloatArray:
        """In ascending order, those below zero taken as zero."""
        if not len(self.diagonal):
            return np.zeros(0)
        found = eigvalsh_tridiagonal(self.diagonal, self.beside, check_finite=False, lapack_driver="sterf")
        return np.maximum(found, 0.0)

    def turned(self, values: FloatArray, *, back: bool = False) -> FloatArray:
        """``Q' values``, or ``Q values``, of ``values [rows, k]``."""
        size = len(self.diagonal)
        if not len(self.scales) or not values.size:
            return values
        # The reflectors lie below the diagonal: a table with one row more, that begins one number later.
        below = self.reflectors.ravel(order="K")[1 : 1 + size * (size - 1)].reshape((size, size - 1), order="F")
        rest, work = np.array(values[1:], order="F"), max(64 * values.shape[1], 4300)
        rest = lapack.dormqr("L", "N" if back else "T", below, self.scales, rest, work, overwrite_c=1)[0]
        return np.concatenate([values[:1], rest])

    def solved(self, values: FloatArray, penalty: float) -> FloatArray:
        """``(T + penalty)^-1 values``."""
        if not values.size or len(values) == 1:
            return values / (self.diagonal[:, None] + penalty)
        banded = np.stack([self.diagonal + penalty, np.append(self.beside, 0.0)])
        return np.asarray(solveh_banded(banded, values, lower=True, check_finite=False))


@dataclass(frozen=True)
class RidgePath:
    """Ridge of latents ``U`` on columns ``X`` under any penalty, from one reduction.

    Attributes
    ----------
    table : Tridiagonal
        Of ``X'X``, or of ``X X'`` where there are more columns than people.
    values : array [rows of the table]
        Eigenvalues of ``X'X``; those that are not there are zero.
    turned : array [rows of the table, dims]
        ``Q' X'U``, or ``Q' U``.
    x : array [people, columns], optional
        Of the form with people.
    """

    table: Tridiagonal
    values: FloatArray
    turned: FloatArray
    x: FloatArray | None = None

    @classmethod
    def of_columns(cls, table: Tridiagonal, xu: FloatArray) -> RidgePath:
        """From the reduced ``X'X``, and ``X'U``."""
        return cls(table, table.eigenvalues, table.turned(xu))

    @classmethod
    def of_people(cls, table: Tridiagonal, u: FloatArray, x: FloatArray) -> RidgePath:
        """From the reduced ``X X'``, ``U`` and ``X``."""
        return cls(table, table.eigenvalues, table.turned(u), x)

    def explained(self, penalty: float) -> FloatArray:
        """Diagonal of ``U'X (X'X + penalty)^-1 X'U``, ``[dims]``."""
        solved = self.table.solved(self.turned, penalty)
        return np.sum(self.turned * (solved if self.x is None else self.turned - penalty * solved), axis=0)

    def coefficients(self, penalties: FloatArray) -> FloatArray:
        """Coefficients ``[columns, dims]`` with one penalty per dimension; zero where it is infinite."""
        solved = np.zeros_like(self.turned)
        for penalty in np.unique(penalties[np.isfinite(penalties)]):
            own = np.flatnonzero(penalties == penalty)
            solved[:, own] = self.table.solved(self.turned[:, own], float(penalty))
        solved = self.table.turned(solved, back=True)
        return solved if self.x is None else self.x.T @ solved


@dataclass(frozen=True)
class CanonicalBasis:
    """Thin decompositions of two tables, from which every ridge CCA solution follows at little cost."""

    gene: PrincipalComponents
    brain: PrincipalComponents
    cross: FloatArray  # correlation of whitened gene with whitened brain components [gene rank, brain rank]

    @classmethod
    def fit(cls, gene: FloatArray, brain: FloatArray, max_brain_components: int) -> CanonicalBasis:
        """Decompose ``gene [people, columns]`` and ``brain [people, features]``."""
        gene_pc, brain_pc = principal_components(gene), principal_components(brain, max_brain_components)
        return cls(gene_pc, brain_pc, gene_pc.scores(gene).T @ brain_pc.scores(brain) / len(gene))

    def solve(self, gamma_gene: float, gamma_brain: float, k: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Leading ``k`` canonical directions in component coordinates.

        Returns
        -------
        gene_map [gene rank, k], brain_map [brain rank, k]
            They act on *unwhitened* component scores and give unit variance on the fitted rows.
        correlations [k]
            Singular values of the regularised cross-covariance (above 1 is possible: ridges below 1 scale down the
            variances that they divide by).
        """
        if not self.cross.size:  # a constant table has no direction
            return np.zeros((len(self.gene.variances), 1)), np.zeros((len(self.brain.variances), 1)), np.zeros(1)
        variance_x = self.gene.variances / self.gene.variances.mean()
        variance_f = self.brain.variances / self.brain.variances.mean()
        shrunk_x = np.sqrt((1 - gamma_gene) * variance_x + gamma_gene)
        shrunk_f = np.sqrt((1 - gamma_brain) * variance_f + gamma_brain)
        table = (np.sqrt(variance_x) / shrunk_x)[:, None] * self.cross * (np.sqrt(variance_f) / shrunk_f)
        values, right = np.linalg.eigh(table.T @ table)
        values, right = values[::-1][:k], right[:, ::-1][:, :k]
        correlations = np.sqrt(np.maximum(values, 0.0))
        left = table @ right / np.maximum(correlations, 1e-12)
        gene_map, brain_map = left / shrunk_x[:, None], right / shrunk_f[:, None]
        gene_sd = np.sqrt(np.sum(gene_map**2 * self.gene.variances[:, None], axis=0))
        brain_sd = np.sqrt(np.sum(brain_map**2 * self.brain.variances[:, None], axis=0))
        return gene_map / np.maximum(gene_sd, 1e-12), brain_map / np.maximum(brain_sd, 1e-12), correlations
