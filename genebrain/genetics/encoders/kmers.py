"""Counts of k-mers: the simplest reading of a sequence, which a DNA language model must beat."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.encoders.protocol import DNA_ENCODERS, DNAWeights

K = 4
_CODE = np.full(256, -1, np.int64)
_CODE[list(b"ACGT")] = range(4)


@DNA_ENCODERS.register("kmer_counts")
class KmerCounts:
    """How often each of the 256 words of four letters stands in a sequence; words with N are not counted.

    Parameters
    ----------
    weights : DNAWeights
        Not used: there are none.
    """

    poolings = ("mean",)
    hidden_size = 4**K
    fingerprint = f"counts of {K}-mers, forward strand, 1"
    words = tuple("".join(letters) for letters in product("ACGT", repeat=K))
    """The word of every entry of a vector."""

    def __init__(self, weights: DNAWeights | None = None) -> None:
        del weights

    def encode(self, sequences: list[str]) -> dict[str, Any]:
        """Counts float32 ``[sequences, 256]``, in the place of the mean over tokens."""
        return {"mean": np.stack([_counts(text) for text in sequences])}


def _counts(text: str) -> NDArray[np.float32]:
    code = _CODE[np.frombuffer(text.encode("ascii"), np.uint8)]
    n = len(code) - K + 1
    if n < 1:
        return np.zeros(4**K, np.float32)
    letters = np.stack([code[i : i + n] for i in range(K)])
    known = (letters >= 0).all(axis=0)
    places = 4 ** np.arange(K - 1, -1, -1) @ letters[:, known]
    return np.bincount(places, minlength=4**K).astype(np.float32)
