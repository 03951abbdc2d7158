"""Words of the sequence that carry the match: each tested on held-out people, with the places where people differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.alignment.closed_form.column_sets import SetColumns
from genebrain.alignment.closed_form.fit import ClosedForm
from genebrain.alignment.closed_form.motifs.columns import MotifColumns
from genebrain.alignment.closed_form.motifs.words import N_EXACT, WORD, Word, codes
from genebrain.common.types import FloatArray, IntArray
from genebrain.evaluation.disclosure import MIN_CELL
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.chunks.cutting import CutOrigin, cut_places
from genebrain.genetics.chunks.word_counts import OTHER_STRAND, carried_rows, codes_of
from genebrain.genetics.genome.gene_windows import Window
from genebrain.studies.findings.genes import gene_findings

MOST_PLACES = 10
"""Places of a word that a table names."""
REST = "everything else"


def found_words(closed: ClosedForm) -> tuple[list[str], list[Word], IntArray] | None:
    """Names and words of a model, and the word of every gene column (the number of words: none); None without words."""
    columns = closed.columns
    if not isinstance(columns, SetColumns):
        return None
    start, which = 0, np.zeros(0, np.int64)
    names: list[str] = []
    words: list[Word] = []
    for part in columns.parts:
        own = np.full(len(part.window), -1)
        if isinstance(part, MotifColumns):
            own[: len(part.words)] = len(words) + np.arange(len(part.words))
            names, words = [*names, *part.names], [*words, *part.words]
        which, start = np.concatenate([which, own]), start + len(own)
    return (names, words, np.where(which < 0, len(words), which)) if words else None


def word_findings(
    closed: ClosedForm,
    columns: FloatArray,
    observed: FloatArray,
    families: IntArray,
    chunks: ChunkSet,
    windows: Sequence[Window],
    chunk_bp: int,
    origin: CutOrigin,
    *,
    n: int = 1000,
) -> pd.DataFrame | None:
    """One row per word, the best first; None where the model reads none.

    Parameters
    ----------
    columns, observed, families, n
        See :func:`~genebrain.studies.findings.genes.gene_findings`.
    chunks : ChunkSet
        Of the people, with all their alleles.
    chunk_bp, origin
        How they were cut.

    Returns
    -------
    DataFrame
        ``word`` in IUPAC letters; ``share``, ``r``, ``low``, ``high``, ``p``, ``q`` as for windows, of the word's part
        of the prediction; ``n_places``: places where people differ in how often it stands there, unless few do;
        ``places``: the first of them, as ``window contig:position`` (1-based; an insertion before it in its chunk
        shifts it).
    """
    if (found := found_words(closed)) is None:
        return None
    names, words, which = found
    table = gene_findings(closed, columns, observed, [*names, REST], families, window=which, n=n)
    table = table[table["window"] != REST].rename(columns={"window": "word"}).reset_index(drop=True)
    places = dict(zip(names, _places(words, chunks, windows, chunk_bp, origin), strict=True))
    table["n_places"] = [len(places[name]) for name in table["word"]]
    table["places"] = ["; ".join(places[name][:MOST_PLACES]) for name in table["word"]]
    return table


def _places(
    words: Sequence[Word], chunks: ChunkSet, windows: Sequence[Window], chunk_bp: int, origin: CutOrigin
) -> list[list[str]]:
    """Where the count of each word differs between haplotypes that people carry."""
    index = carried_rows(chunks)
    known: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
    stands: list[NDArray[np.bool_]] = []
    for word in words:
        one = np.zeros(N_EXACT, bool)
        one[codes(word)] = True
        stands.append(one)
    found: list[list[str]] = [[] for _ in words]
    for w, window in enumerate(windows):
        cuts = cut_places(window, chunk_bp, origin)
        for piece in range(int(chunks.n_chunks[w])):
            rows, copies = np.unique(index[:, :, w, piece], return_counts=True)
            rows, copies = rows[rows >= 0], copies[rows >= 0]
            if len(rows) < 2:
                continue
            for row in rows:
                if row not in known:
                    known[int(row)] = codes_of(chunks.sequences[row])
            minus = window.strand == "-"
            first, last = (cuts[-piece - 2], cuts[-piece - 1]) if minus else (cuts[piece], cuts[piece + 1])
            for own, plus in zip(found, stands, strict=True):
                one = plus[OTHER_STRAND] if minus else plus
                starts = [known[int(row)][0][one[known[int(row)][1]]] for row in rows]
                for start in _differing(starts, copies):
                    position = last - start - WORD if minus else first + start
                    own.append(f"{window.name} {window.contig}:{position + 1}")
    return found


def _differing(starts: list[NDArray[np.int64]], copies: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where a word begins in one of two haplotypes only: the usual one, and the most frequent with another count.

    Nothing where fewer haplotypes than may be shown have another count: such a place would tell who the people are.
    """
    counts = np.array([len(one) for one in starts])
    usual = int(np.argmax(copies))
    other = counts != counts[usual]
    if copies[other].sum() < MIN_CELL:
        return np.zeros(0, np.int64)
    return np.setxor1d(starts[usual], starts[int(np.argmax(np.where(other, copies, 0)))])
