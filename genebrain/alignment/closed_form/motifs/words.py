"""Degenerate words: at each of eight places some of the four letters, and the exact words that they stand for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import FloatArray, IntArray

WORD, LETTERS = 8, 4
N_EXACT = LETTERS**WORD
POWERS = LETTERS ** np.arange(WORD)[::-1]
IUPAC = {
    frozenset(letters): name
    for name, letters in {
        "A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
        "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
    }.items()
}  # fmt: skip
Word = NDArray[np.bool_]
"""``[8, 4]``: whether a place allows A, C, G, T."""


def exact_word(code: int) -> Word:
    """The word of one exact code, digits to the base 4."""
    word = np.zeros((WORD, LETTERS), bool)
    word[np.arange(WORD), code // POWERS % LETTERS] = True
    return word


def codes(word: Word) -> IntArray:
    """Codes of all exact words that a word stands for."""
    found = np.zeros(1, np.int64)
    for place in word:
        found = (found[:, None] * LETTERS + np.flatnonzero(place)).ravel()
    return found


def name_of(word: Word) -> str:
    """The word in IUPAC letters."""
    return "".join(IUPAC[frozenset("ACGT"[i] for i in np.flatnonzero(place))] for place in word)


def word_of(name: str) -> Word:
    """The word of IUPAC letters."""
    sets = {letter: letters for letters, letter in IUPAC.items()}
    return np.array([[letter in sets[one] for letter in "ACGT"] for one in name], bool).reshape(-1, LETTERS)


def counts_of(words: list[Word], exact: NDArray[np.generic]) -> FloatArray:
    """Counts ``[people, words]`` from the counts of all exact words ``[people, 65536]``."""
    parts = [exact[:, codes(word)].sum(axis=1, dtype=np.float64) for word in words]
    return np.stack(parts, axis=1) if parts else np.zeros((len(exact), 0))
