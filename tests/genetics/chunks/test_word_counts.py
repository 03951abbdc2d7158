"""Counts of words against counting by hand."""

from __future__ import annotations

import numpy as np

from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.chunks.word_counts import N_WORDS, WORD, codes_of, word_counts

COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


def counted(texts: list[bytes]) -> np.ndarray:
    found = np.zeros(N_WORDS, np.int64)
    for text in texts:
        for start in range(len(text) - WORD + 1):
            part = text[start : start + WORD].decode()
            if set(part) <= set("ACGT"):
                found[int("".join("0123"["ACGT".index(letter)] for letter in part), 4)] += 1
    return found


def test_counts_of_people_are_those_of_their_chunks() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), size=40)).encode() for _ in range(9)] + [b"ACGTNACGTACGTTT", b"ACG"]
    index = rng.integers(-1, len(texts), size=(7, 2, 3, 2)).astype(np.int32)
    index[:, :, 0, 0] = np.where(rng.random((7, 2)) < 0.7, 4, 5)
    keys = np.zeros((len(texts), 16), np.uint8)
    chunks = ChunkSet(keys, texts, index, ["a", "b", "c"], np.array([2, 2, 2]), {})
    found = word_counts(chunks, [False, True, False])
    assert found.dtype == np.uint16
    for person, own in zip(found, index, strict=True):
        written = [
            texts[i].translate(COMPLEMENT)[::-1] if window == 1 else texts[i]
            for (_, window, _), i in np.ndenumerate(own)
            if i >= 0
        ]
        np.testing.assert_array_equal(person, counted(written))


def test_words_begin_where_they_stand() -> None:
    starts, codes = codes_of(b"NAAAAAAAACN")
    assert starts.tolist() == [1, 2]
    assert codes.tolist() == [0, 1]
