"""Sufficient statistics for regressing brain latents on gene columns, for all cross-validation folds at once.

Two forms of the same sums. `Moments` holds ``X'X`` of every fit: its cost does not grow with people. `PeopleRows`
keeps the people's rows and never makes a table of columns by columns: for more columns than people it is smaller and
faster. Both give the same numbers up to rounding (`memory.form_for` chooses).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from genebrain.alignment.closed_form import spectral
from genebrain.alignment.closed_form.spectral import BlockTridiagonal, RidgePath
from genebrain.alignment.large_tables import add_products, in_parts, large_tables, mirror
from genebrain.common.types import FloatArray, IntArray

SINGLE_FROM = 2048
"""Rows of a table from which it is reduced in single precision; coefficients are mended in double."""


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
    kept : dict
        What was computed of the columns alone, whatever the latents.
    """

    xu: FloatArray
    uu: FloatArray
    n: FloatArray
    kept: dict[str, Any] = field(default_factory=dict, kw_only=True)

    @property
    @abstractmethod
    def diagonal(self) -> FloatArray:
        """Sums of squares of the columns, ``[f, columns]``."""

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def _reduced(self, fit: int, table: FloatArray) -> BlockTridiagonal:
        precision = np.float32 if len(table) >= SINGLE_FROM else np.float64
        found: BlockTridiagonal = self._once(f"reduced {fit}", lambda: BlockTridiagonal.of(table, precision))
        return found

    @abstractmethod
    def ridge_path(self, fit: int) -> RidgePath:
        """What ridge needs of one fit under any penalty."""

    @abstractmethod
    def of_latents(self, x: FloatArray, u: FloatArray, left_out: Sequence[IntArray]) -> Self:
        """The same columns of the same people with other latents: what the columns share is not summed again."""

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
        """One fit per entry of ``left_out``, its rows subtracted: nobody is summed twice where these do not overlap."""
        p = x.shape[1]
        xx = np.zeros((len(left_out), p, p))  # stacked tables would be there twice
        (apart, rest), spare = _parts(len(x), left_out), [*map(len, left_out), 0].index(0)  # a fit on everybody
        whole = xx[spare] if spare < len(xx) else np.zeros((p, p))
        with large_tables():
            for table, rows in [*zip(xx, left_out, strict=True), (whole, rest)]:
                for _, doubles in in_doubles(x, rows):
                    add_products(table, doubles)
        others = [table for fit, table in enumerate(xx) if fit != spare]
        for table in others if apart else ():
            whole += table
        for table in others:
            np.subtract(whole, table, out=table)
        for table in xx:
            mirror(table)
        return cls(*_sums(x, u, left_out), xx)

    def of_latents(self, x: FloatArray, u: FloatArray, left_out: Sequence[IntArray]) -> Moments:
        """Other latents beside the same tables."""
        return Moments(*_sums(x, u, left_out), self.xx, kept=self.kept)

    @property
    def diagonal(self) -> FloatArray:
        """Sums of squares of the columns, ``[f, columns]``."""
        return np.einsum("fjj->fj", self.xx)

    def ridge_path(self, fit: int) -> RidgePath:
        """From the table of columns by columns."""
        return RidgePath(self._reduced(fit, self.xx[fit]), self.xx[fit], self.xu[fit])

    def residual(self, mean: FloatArray) -> Residual:
        """``X'(U - X mean)`` of all columns."""
        return _OfMoments(self, mean)


class _OfMoments(Residual):
    def __init__(self, data: Moments, mean: FloatArray) -> None:
        self._data, self._left = data, data.xu - data.xx @ mean

    def of(self, columns: IntArray) -> FloatArray:
        return np.swapaxes(self._left[:, _span(columns)], 0, 1).copy()

    def gram(self, columns: IntArray) -> FloatArray:
        return np.moveaxis(self._data.xx[:, columns[:, None], columns], 0, -1).copy()

    def move(self, columns: IntArray, steps: FloatArray) -> None:
        rows = self._data.xx[:, _span(columns)]  # of a symmetric table: they lie together, its columns do not
        a, b, left = np.swapaxes(rows, 1, 2), np.swapaxes(steps, 0, 1), self._left
        in_parts(lambda fits: np.subtract(left[fits], a[fits] @ b[fits], out=left[fits]), len(left))

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
        return cls(*_sums(x, u, left_out), x.astype(np.float64, copy=False), _per_fit(u, left_out), left_out)

    def of_latents(self, x: FloatArray, u: FloatArray, left_out: Sequence[IntArray]) -> PeopleRows:
        """Other latents beside the same rows."""
        return PeopleRows(*_sums(self.x, u, left_out), self.x, _per_fit(u, left_out), left_out, kept=self.kept)

    @property
    def diagonal(self) -> FloatArray:
        """Sums of squares of the columns, ``[f, columns]``."""
        squares = np.einsum("nj,nj->j", self.x, self.x)
        return np.stack([squares - np.einsum("nj,nj->j", self.x[r], self.x[r]) for r in self.left_out])

    def ridge_path(self, fit: int) -> RidgePath:
        """From the table of people by people: its eigenvalues other than zero are the same."""
        rows = np.setdiff1d(np.arange(len(self.x)), self.left_out[fit])
        table = self._once("people", lambda: self.x @ self.x.T)[np.ix_(rows, rows)]
        return RidgePath(self._reduced(fit, table), table, self.u[rows, fit], self.x[rows])

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
        self._block: IntArray | None = None

    def _of_block(self, columns: IntArray) -> FloatArray:
        """The block's columns side by side; they are asked for three times in a row."""
        if self._block is not columns:
            self._block, self._x = columns, np.ascontiguousarray(self._data.x[:, _span(columns)])
        return self._x

    def of(self, columns: IntArray) -> FloatArray:
        n, fits, dims = self._left.shape
        return (self._of_block(columns).T @ self._left.reshape(n, -1)).reshape(len(columns), fits, dims)

    def gram(self, columns: IntArray) -> FloatArray:
        x, left_out = self._of_block(columns), self._data.left_out
        apart, rest = _parts(len(x), left_out)
        parts = [x[rows].T @ x[rows] for rows in left_out]
        whole = x[rest].T @ x[rest] + sum(parts) if apart else x.T @ x
        return np.stack([whole - part for part in parts], axis=-1)

    def move(self, columns: IntArray, steps: FloatArray) -> None:
        moved = self._of_block(columns) @ steps.reshape(len(columns), -1)
        self._left -= _without(moved.reshape(self._left.shape), self._data.left_out)

    def explained(self, mean: FloatArray) -> FloatArray:
        # X mean is what the latents have lost.
        return np.sum(mean * self._data.xu, axis=1) + np.sum((self._data.u - self._left) * self._left, axis=0)


Form = type[Moments] | type[PeopleRows]


def _span(columns: IntArray) -> slice | IntArray:
    """Neighbouring columns as a slice, which is not copied."""
    together = columns[-1] - columns[0] == len(columns) - 1
    return slice(columns[0], columns[-1] + 1) if together else columns


def _parts(n: int, left_out: Sequence[IntArray]) -> tuple[bool, IntArray]:
    """Whether no row is left out twice, and the rows that are then still to be summed; otherwise all."""
    times = np.bincount(np.concatenate([np.zeros(0, np.int64), *left_out]), minlength=n)
    apart = bool((times <= 1).all())
    return apart, np.flatnonzero(times == 0) if apart else np.arange(n)


def in_doubles(x: FloatArray, rows: IntArray) -> Iterator[tuple[IntArray, FloatArray]]:
    """Some of these rows after the other, in double precision."""
    for first in range(0, len(rows), spectral.ROWS):
        some = rows[first : first + spectral.ROWS]
        yield some, x[some].astype(np.float64, copy=False)


def _sums(x: FloatArray, u: FloatArray, left_out: Sequence[IntArray]) -> tuple[Any, Any, Any]:
    apart, rest = _parts(len(x), left_out)
    k = u.shape[1]
    beside = np.zeros((len(left_out) + 1, x.shape[1] + k, k))  # of X and U together; the last of everybody
    for fit, rows in [*enumerate(left_out), (-1, rest)]:
        for some, doubles in in_doubles(x, rows):
            part = np.concatenate([doubles.T @ u[some], u[some].T @ u[some]])
            if fit >= 0:
                beside[fit] -= part
            if fit < 0 or apart:
                beside[-1] += part
    xu, uu = np.split(beside[:-1] + beside[-1], [x.shape[1]], axis=1)
    kept = np.array([len(x) - len(rows) for rows in left_out], dtype=np.float64)
    return xu, uu, kept


def _per_fit(u: FloatArray, left_out: Sequence[IntArray]) -> FloatArray:
    return _without(np.repeat(u[:, None], len(left_out), axis=1), left_out)


def _without(values: FloatArray, left_out: Sequence[IntArray]) -> FloatArray:
    """``values [people, f, dims]`` with zeros for the people that a fit does without, in place."""
    for fit, rows in enumerate(left_out):
        values[rows, fit] = 0.0
    return values
