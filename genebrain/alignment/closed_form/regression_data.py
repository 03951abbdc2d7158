"""Sufficient statistics for regressing brain latents on gene columns, for all cross-validation folds at once.

Two forms of the same sums. `Moments` holds ``X'X`` of every fit: its cost does not grow with people. `PeopleRows`
keeps the people's rows and never makes a table of columns by columns: for more columns than people it is smaller and
faster. Both give the same numbers up to rounding (`fit_size` chooses).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from genebrain.common.types import FloatArray, IntArray


@dataclass(frozen=True)
class Spectrum:
    """One fit in the directions in which its columns do not correlate.

    Attributes
    ----------
    values : array [directions]
        Eigenvalues of ``X'X``; directions that are not there are those of eigenvalue zero.
    power : array [directions, dims]
        Squares of ``X'U`` in these directions.
    solution : callable
        Weights ``[directions, dims]`` on ``X'U`` in these directions -> coefficients ``[columns, dims]``.
    """

    values: FloatArray
    power: FloatArray
    solution: Callable[[FloatArray], FloatArray]


class Residual(ABC):
    """What is left of the latents while coefficients move, for all fits."""

    @abstractmethod
    def of(self, columns: IntArray) -> FloatArray:
        """``X'(U - X mean)`` of some columns, ``[columns, f, dims]``."""

    @abstractmethod
    def gram(self, columns: IntArray) -> FloatArray:
        """``X'X`` among some columns, ``[columns, columns, f]``."""

    @abstractmethod
    def move(self, columns: IntArray, steps: FloatArray) -> None:
        """Add ``steps [columns, f, dims]`` to the coefficients of some columns."""

    @abstractmethod
    def explained(self, mean: FloatArray) -> FloatArray:
        """``sum mean * (X'U + X'(U - X mean))`` over columns, ``[f, dims]``: what the coefficients explain."""


@dataclass(frozen=True)
class RegressionData(ABC):
    """Sums over the people of each fit in a batch of ``f`` fits.

    Attributes
    ----------
    xu : array [f, columns, dims]
    uu : array [f, dims, dims]
    n : array [f]
    """

    xu: FloatArray
    uu: FloatArray
    n: FloatArray

    @property
    @abstractmethod
    def diagonal(self) -> FloatArray:
        """Sums of squares of the columns, ``[f, columns]``."""

    @abstractmethod
    def spectrum(self, fit: int) -> Spectrum:
        """Eigendecomposition of one fit."""

    @abstractmethod
    def residual(self, mean: FloatArray) -> Residual:
        """State from which coefficients ``[f, columns, dims]`` move on."""

    def rotated(self, rotation: FloatArray) -> Self:
        """Sums of ``u @ rotation``, with one rotation per fit ``[f, dims, new dims]``."""
        return replace(self, xu=self.xu @ rotation, uu=np.swapaxes(rotation, 1, 2) @ self.uu @ rotation)

    def part(self, dims: slice) -> Self:
        """Only some of the latents."""
        return replace(self, xu=self.xu[:, :, dims], uu=self.uu[:, dims, dims])


@dataclass(frozen=True)
class Moments(RegressionData):
    """With ``X'X`` of every fit.

    Attributes
    ----------
    xx : array [f, columns, columns]
    """

    xx: FloatArray

    @classmethod
    def of_subsets(cls, x: FloatArray, u: FloatArray, left_out: Sequence[IntArray]) -> Moments:
        """One fit per entry of ``left_out``, its rows subtracted: the people are summed only once."""
        whole = x.T @ x
        xx = np.empty((len(left_out), *whole.shape))  # stacked tables would be there twice
        for fit, rows in enumerate(left_out):
            np.subtract(whole, x[rows].T @ x[rows], out=xx[fit])
        return cls(*_sums(x, u, left_out), xx)

    @property
    def diagonal(self) -> FloatArray:
        """Sums of squares of the columns, ``[f, columns]``."""
        return np.einsum("fjj->fj", self.xx)

    def spectrum(self, fit: int) -> Spectrum:
        """From the table of columns by columns."""
        values, vectors = np.linalg.eigh(self.xx[fit])
        projected = vectors.T @ self.xu[fit]
        return Spectrum(np.maximum(values, 0.0), projected**2, lambda weights: vectors @ (weights * projected))

    def residual(self, mean: FloatArray) -> Residual:
        """``X'(U - X mean)`` of all columns."""
        return _OfMoments(self, mean)


class _OfMoments(Residual):
    def __init__(self, data: Moments, mean: FloatArray) -> None:
        self._data, self._left = data, data.xu - data.xx @ mean

    def of(self, columns: IntArray) -> FloatArray:
        return np.swapaxes(self._left[:, columns], 0, 1).copy()

    def gram(self, columns: IntArray) -> FloatArray:
        return np.moveaxis(self._data.xx[:, columns[:, None], columns], 0, -1).copy()

    def move(self, columns: IntArray, steps: FloatArray) -> None:
        rows = self._data.xx[:, columns]  # of a symmetric table: they lie together, its columns do not
        self._left -= np.swapaxes(rows, 1, 2) @ np.swapaxes(steps, 0, 1)

    def explained(self, mean: FloatArray) -> FloatArray:
        return np.sum(mean * (self._data.xu + self._left), axis=1)


@dataclass(frozen=True)
class PeopleRows(RegressionData):
    """With the rows themselves.

    Attributes
    ----------
    x : array [people, columns]
    u : array [people, f, dims]
        Zero for the people that a fit does without.
    left_out : list of int arrays
        The rows that each fit does without.
    """

    x: FloatArray
    u: FloatArray
    left_out: Sequence[IntArray]

    @classmethod
    def of_subsets(cls, x: FloatArray, u: FloatArray, left_out: Sequence[IntArray]) -> PeopleRows:
        """One fit per entry of ``left_out``, without its rows."""
        per_fit = np.repeat(u[:, None], len(left_out), axis=1)
        return cls(*_sums(x, u, left_out), x, _without(per_fit, left_out), left_out)

    @property
    def diagonal(self) -> FloatArray:
        """Sums of squares of the columns, ``[f, columns]``."""
        squares = np.einsum("nj,nj->j", self.x, self.x)
        return np.stack([squares - np.einsum("nj,nj->j", self.x[r], self.x[r]) for r in self.left_out])

    @cached_property
    def _people(self) -> FloatArray:
        return self.x @ self.x.T

    def spectrum(self, fit: int) -> Spectrum:
        """From the table of people by people: its eigenvalues other than zero are the same."""
        rows = np.setdiff1d(np.arange(len(self.x)), self.left_out[fit])
        values, vectors = np.linalg.eigh(self._people[np.ix_(rows, rows)])
        values = np.maximum(values, 0.0)
        projected = vectors.T @ self.u[rows, fit]

        def solution(weights: FloatArray) -> FloatArray:
            return self.x[rows].T @ (vectors @ (weights * projected))

        return Spectrum(values, values[:, None] * projected**2, solution)

    def residual(self, mean: FloatArray) -> Residual:
        """``U - X mean`` of all people."""
        return _OfPeople(self, mean)

    def rotated(self, rotation: FloatArray) -> PeopleRows:
        """Sums and rows of ``u @ rotation``."""
        turned = np.swapaxes(np.swapaxes(self.u, 0, 1) @ rotation, 0, 1)
        return replace(super().rotated(rotation), u=np.ascontiguousarray(turned))

    def part(self, dims: slice) -> PeopleRows:
        """Only some of the latents."""
        return replace(super().part(dims), u=np.ascontiguousarray(self.u[:, :, dims]))


class _OfPeople(Residual):
    def __init__(self, data: PeopleRows, mean: FloatArray) -> None:
        predicted = np.swapaxes(data.x @ mean, 0, 1)
        self._data, self._left = data, data.u - _without(predicted, data.left_out)

    def of(self, columns: IntArray) -> FloatArray:
        n, fits, dims = self._left.shape
        return (self._data.x[:, columns].T @ self._left.reshape(n, -1)).reshape(len(columns), fits, dims)

    def gram(self, columns: IntArray) -> FloatArray:
        x = self._data.x[:, columns]
        whole = x.T @ x
        return np.stack([whole - x[rows].T @ x[rows] for rows in self._data.left_out], axis=-1)

    def move(self, columns: IntArray, steps: FloatArray) -> None:
        moved = self._data.x[:, columns] @ steps.reshape(len(columns), -1)
        self._left -= _without(moved.reshape(self._left.shape), self._data.left_out)

    def explained(self, mean: FloatArray) -> FloatArray:
        # X mean is what the latents have lost.
        return np.sum(mean * self._data.xu, axis=1) + np.sum((self._data.u - self._left) * self._left, axis=0)


Form = type[Moments] | type[PeopleRows]


def _sums(x: FloatArray, u: FloatArray, left_out: Sequence[IntArray]) -> tuple[Any, Any, Any]:
    xu, uu = x.T @ u, u.T @ u
    return (
        np.stack([xu - x[rows].T @ u[rows] for rows in left_out]),
        np.stack([uu - u[rows].T @ u[rows] for rows in left_out]),
        np.array([len(x) - len(rows) for rows in left_out], dtype=np.float64),
    )


def _without(values: FloatArray, left_out: Sequence[IntArray]) -> FloatArray:
    """``values [people, f, dims]`` with zeros for the people that a fit does without, in place."""
    for fit, rows in enumerate(left_out):
        values[rows, fit] = 0.0
    return values
