"""Counts of all words of eight letters in a person's two haplotypes: what degenerate words are sums of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.genome.gene_windows import Window

WORD = 8
"""Letters of a word."""
N_WORDS = 4**WORD
PEOPLE_AT_ONCE = 256
_CODES = np.full(256, 4, np.uint8)
_CODES[np.frombuffer(b"ACGTacgt", np.uint8)] = [0, 1, 2, 3, 0, 1, 2, 3]
_POWERS = 4 ** np.arange(WORD)[::-1]


def codes_of(sequence: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where words begin in a sequence, and which they are (A, C, G, T as digits to the base 4); none spans an N."""
    letters = _CODES[np.frombuffer(sequence, np.uint8)]
    if len(letters) < WORD:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    views = np.lib.stride_tricks.sliding_window_view(letters, WORD)
    starts = np.flatnonzero((views < 4).all(axis=1))
    return starts, views[starts].astype(np.int64) @ _POWERS


OTHER_STRAND = (3 - np.arange(N_WORDS)[:, None] // _POWERS % 4)[:, ::-1] @ _POWERS
"""Code of each word's reverse complement."""


def word_counts(chunks: ChunkSet, minus: Sequence[bool]) -> NDArray[np.unsignedinteger]:
    """How often every word stands on the plus strand of the chunks of every person, ``[people, 65536]``.

    Words across the cut between two chunks are not counted. A window that a person lacks adds nothing.

    Parameters
    ----------
    minus : sequence of bool
        Whether the chunks of a window are written as its minus strand.
    """
    words = _by_chunk(chunks)
    nothing, n, copies_each = words.shape[0] // 2 - 1, *chunks.index.shape[:2]
    # Rows of the second half hold the same chunks as the other strand.
    turned = np.where(np.asarray(minus, bool)[:, None], nothing + 1, 0)
    index = carried_rows(chunks)
    index = np.where(index < 0, -1, index + turned).reshape(n, copies_each, -1)
    usual = np.zeros(words.shape[1], np.int64)
    person, other, modal, copies = [], [], [], []
    for place in range(index.shape[2]):
        rows, counts = np.unique(index[:, :, place], return_counts=True)
        if rows[-1] < 0:
            continue
        most = int(rows[rows >= 0][np.argmax(counts[rows >= 0])])
        usual += copies_each * np.asarray(words[most].todense()).ravel()
        who, copy = np.nonzero(index[:, :, place] != most)
        own = index[who, copy, place]
        person.append(who)
        other.append(np.where(own < 0, nothing, own))
        modal.append(np.full(len(who), most))
        copies.append(np.ones(len(who), np.int64))
    if not person:
        return np.zeros((n, words.shape[1]), np.uint16)
    pairs, which = np.unique(np.stack([np.concatenate(other), np.concatenate(modal)]), axis=1, return_inverse=True)
    changes = words[pairs[0]] - words[pairs[1]]
    carried = sparse.csr_array(
        (np.concatenate(copies), (np.concatenate(person), which.ravel())), shape=(n, pairs.shape[1])
    )
    found = np.zeros((n, words.shape[1]), np.uint32)
    for start in range(0, n, PEOPLE_AT_ONCE):
        some = slice(start, start + PEOPLE_AT_ONCE)
        found[some] = (carried[some] @ changes).toarray() + usual
    return found.astype(np.uint16) if found.max() < 2**16 else found


def carried_rows(chunks: ChunkSet) -> NDArray[np.int32]:
    """Rows of the strings that people carry ``[people, 2, windows, chunks]``, also where pairs are indexed."""
    if chunks.pairs is None:
        return chunks.index
    return np.where(chunks.index < 0, -1, chunks.pairs[chunks.index, 0])


def counts_in(chunks: ChunkSet, windows: Sequence[Window]) -> NDArray[np.unsignedinteger]:
    """`word_counts` of the chunks of these windows."""
    return word_counts(chunks, [window.strand == "-" for window in windows])


def _by_chunk(chunks: ChunkSet) -> sparse.csr_array:
    """Counts ``[2 (unique chunks + 1), words]`` as written, then of the other strand; no chunk is an empty row."""
    found = [codes_of(sequence)[1] for sequence in chunks.sequences]
    rows = np.repeat(np.arange(len(found)), [len(one) for one in found])
    columns = np.concatenate(found) if found else np.zeros(0, np.int64)
    rows, columns = np.concatenate([rows, rows + len(found) + 1]), np.concatenate([columns, OTHER_STRAND[columns]])
    shape = (2 * (len(found) + 1), N_WORDS)
    table = sparse.coo_array((np.ones(len(rows), np.int64), (rows, columns)), shape=shape).tocsr()
    table.sum_duplicates()
    return table
