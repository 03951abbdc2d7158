"""Motif pursuit: words whose counts explain the latents beyond a polygenic background, one after the other.

Model: ``u = sum over words of effect * count + background + noise``, the background a random effect of all allele
counts. Everything is whitened by background and noise, then words are taken greedily: the best exact words are seeds,
each is changed letter set by letter set as long as its score rises, and the best of them joins. No gradient: counts
are linear in the letters that a place allows, so all fifteen sets of a place cost no more than four columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from genebrain.alignment.closed_form.motifs.words import LETTERS, N_EXACT, POWERS, WORD, Word, codes, exact_word
from genebrain.common.types import FloatArray, IntArray

SETS = np.array([[bool(one >> i & 1) for i in range(LETTERS)] for one in range(1, 2**LETTERS)], float)
SETS = SETS[np.argsort(SETS.sum(axis=1), kind="stable")]
"""The fifteen sets of letters that a place may allow, narrow ones first: letters that change nothing are left out."""
EQUAL = 1e-6
"""Scores closer than this share are equal."""
RATIOS = np.logspace(-6, 2, 40)
"""Variance of the background per squared singular value, over that of the noise."""


@dataclass(frozen=True)
class PursuitSettings:
    """How far the search goes.

    Attributes
    ----------
    most : int
        Words at most.
    seeds, starts : int
        Exact words, and words drawn at random, from which every word is looked for: wide words are often reached from
        another wide one only.
    least : float
        Chance that a score is that large without a signal, for one word that was not searched for.
    least_carriers : int
        People whose count differs from the usual one, for a seed.
    widest : int
        Exact words that a word stands for at most.
    sweeps : int
        Times that the places of one word are gone through at most.
    """

    most: int = 40
    seeds: int = 10
    starts: int = 40
    least: float = 1e-6
    least_carriers: int = 10
    widest: int = 8192
    sweeps: int = 12


def pursue(exact: NDArray[np.generic], background: FloatArray, u: FloatArray, settings: PursuitSettings) -> list[Word]:
    """Words in the order in which they were found.

    Parameters
    ----------
    exact : int array [people, 65536]
        Counts of all exact words.
    background : float array [people, columns]
        Allele counts, scaled as their effects are expected.
    u : float array [people, dims]
        Latents.
    """
    search = _Search.of(exact, background, u, settings)
    least = float(chdtri(u.shape[1], settings.least))
    found: list[Word] = []
    rng = np.random.default_rng(0)
    while len(found) < settings.most:
        starts = [*search.seeds(), *(_drawn(rng) for _ in range(settings.starts))]
        best, score = max((search.climbed(one) for one in starts), key=lambda one: one[1], default=(None, 0))
        if best is None or score < least or any((best == word).all() for word in found):
            break
        found.append(best)
        search.take(best)
    return found


def _drawn(rng: np.random.Generator) -> Word:
    """A word with one to three letters at each place."""
    word = np.zeros((WORD, LETTERS), bool)
    for place in word:
        place[rng.permutation(LETTERS)[: rng.integers(1, LETTERS)]] = True
    return word


class _Search:
    """Whitened counts of the exact words that vary ``[words, people]``, and what is left of the latents."""

    def __init__(self, x: FloatArray, place: IntArray, left: FloatArray, carriers: IntArray, settings: PursuitSettings):
        self._x, self._place, self._left, self._settings = x, place, left, settings
        self._codes = np.flatnonzero(place >= 0)
        self._common = carriers >= settings.least_carriers
        self._squares = np.einsum("vn,vn->v", x, x).astype(np.float64)
        self._smallest = 1e-3 * self._squares
        self._taken: FloatArray = np.zeros((x.shape[1], 0), x.dtype)

    @classmethod
    def of(
        cls, exact: NDArray[np.generic], background: FloatArray, u: FloatArray, settings: PursuitSettings
    ) -> _Search:
        """Whiten; columns that do not vary are left out."""
        vary = np.flatnonzero((exact != exact[:1]).any(axis=0))
        place = np.full(N_EXACT, -1, np.int64)
        place[vary] = np.arange(len(vary))
        x = exact[:, vary].astype(np.float32)
        usual = np.median(x, axis=0) if len(vary) else np.zeros(0, np.float32)
        carriers = (x != usual).sum(axis=0)
        x -= x.mean(axis=0, dtype=np.float64).astype(np.float32)
        whiten = whitening(background, u)
        left = whiten(u - u.mean(axis=0))
        left = left / np.maximum(left.std(axis=0), 1e-12)
        return cls(np.ascontiguousarray(whiten(x).T), place, left.astype(np.float32), carriers, settings)

    def seeds(self) -> list[Word]:
        """The best exact words."""
        if not len(self._codes):
            return []
        free = self._squares > np.maximum(self._smallest, 1e-9)
        scores = np.square(self._x @ self._left).sum(axis=1) / np.where(free, self._squares, 1.0)
        scores[~(free & self._common)] = 0.0
        best = np.argsort(-scores, kind="stable")[: self._settings.seeds]
        return [exact_word(int(self._codes[one])) for one in best if scores[one] > 0]

    def climbed(self, word: Word) -> tuple[Word, float]:
        """Take the best set of letters of one place after the other, until none gains."""
        word, score = word.copy(), -1.0
        for _ in range(self._settings.sweeps):
            before = score
            for j in range(WORD):
                value, which = self._sets_of_place(word, j)
                narrower = SETS[which].sum() < word[j].sum()
                if value > score + EQUAL * abs(score) or (narrower and value >= score - EQUAL * abs(score)):
                    word[j], score = SETS[which] > 0, value
            if score <= before + EQUAL * abs(before):
                break
        return word, score

    def _sets_of_place(self, word: Word, j: int) -> tuple[float, int]:
        """Best score over the letters that one place may allow, the others as they are; and which set it is."""
        counts = self._counts_by_letter(word, j)
        products = counts.T.astype(np.float64) @ self._left
        inner = self._taken.T @ counts
        gram = (counts.T @ counts - inner.T @ inner).astype(np.float64)
        whole = np.einsum("si,ij,sj->s", SETS, (counts.T @ counts).astype(np.float64), SETS)
        squares = np.einsum("si,ij,sj->s", SETS, gram, SETS)
        width = SETS.sum(axis=1) * np.prod(np.delete(word, j, axis=0).sum(axis=1))
        free = (squares > 1e-3 * whole) & (squares > 1e-9) & (width <= self._settings.widest)
        scores = np.where(free, np.square(SETS @ products).sum(axis=1) / np.where(free, squares, 1.0), -1.0)
        which = int(np.argmax(scores >= scores.max() - EQUAL * abs(scores.max())))
        return float(scores[which]), which

    def _counts_by_letter(self, word: Word, j: int) -> FloatArray:
        """Whitened counts ``[people, 4]`` of the word with each letter at one place."""
        with_first = word.copy()
        with_first[j] = np.arange(LETTERS) == 0
        others = codes(with_first)
        found = np.zeros((LETTERS, self._x.shape[1]), np.float32)
        for letter in range(LETTERS):
            columns = self._place[others + letter * POWERS[j]]
            columns = columns[columns >= 0]
            if len(columns):
                found[letter] = self._x[columns].sum(axis=0)
        return found.T

    def take(self, word: Word) -> None:
        """Count a word as found: what follows is free of it."""
        counts = self._counts_by_letter(word, 0) @ word[0].astype(np.float32)
        rest = counts - self._taken @ (self._taken.T @ counts)
        rest /= max(float(np.linalg.norm(rest)), 1e-12)
        self._taken = np.concatenate([self._taken, rest[:, None]], axis=1)
        self._left = self._left - np.outer(rest, rest @ self._left)
        self._squares = np.maximum(self._squares - np.square(self._x @ rest), 0.0)


def whitening(background: FloatArray, u: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Multiplication by the inverse root of ``1 + ratio * background @ background.T``, the ratio by evidence."""
    centred = background - background.mean(axis=0) if background.shape[1] else background
    axes, values, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    kept = values > 1e-6 * values[:1].sum()
    axes, power = axes[:, kept], values[kept] ** 2
    latents = u - u.mean(axis=0)
    projected = np.square(axes.T @ latents)
    outside = np.maximum(np.square(latents).sum(axis=0) - projected.sum(axis=0), 1e-9 * len(u))

    def evidence(ratio: float) -> float:
        spread = 1.0 + ratio * power
        left = outside + (projected / spread[:, None]).sum(axis=0)
        return float(-0.5 * len(u) * np.log(left).sum() - 0.5 * u.shape[1] * np.log(spread).sum())

    best = max(RATIOS, key=evidence) if len(power) else 0.0
    shrunk = (1.0 - 1.0 / np.sqrt(1.0 + best * power))[:, None]

    def whiten(values: FloatArray) -> FloatArray:
        own, weight = axes.astype(values.dtype), shrunk.astype(values.dtype)
        return values - own @ (weight * (own.T @ values))

    return whiten
