"""Chunk vectors in as few coordinates as there are distinct chunks at their place; distances stay exactly the same.

At one place of the genome a cohort has a few dozen distinct chunks, an encoder has thousands of dimensions. Vectors
of the chunks of one place are therefore written in an orthonormal basis of their own span: sums, means, principal
components and ridge regressions come out the same, in 30 times less memory for a 2048-D encoder. No statistic is
fitted: a change of basis sees distances only, so it may know all people.
"""

from __future__ import annotations

import numpy as np

from genebrain.common.types import FloatArray, IntArray


def compact(table: FloatArray, index: IntArray) -> tuple[FloatArray, IntArray]:
    """Re-express chunk vectors place by place.

    Parameters
    ----------
    table : float array
        ``[unique, hidden]``.
    index : int array
        ``[subjects, haplotypes, windows, chunks]``; -1 does not exist.

    Returns
    -------
    table : float32 array
        ``[rows, width]``, width the largest number of distinct chunks of one place; a chunk that occurs at several
        places has a row for each. The input itself where that would not be narrower.
    index : int array
        Like the input, into the new table; int16 where that will do.
    """
    places = _rows_of_places(index, len(table))
    width = max((len(rows) for rows in places), default=0)
    if width == 0 or width >= table.shape[1]:
        return table, index
    # In double precision: the differences between people are a thousandth of the vectors.
    coordinates = [np.linalg.qr(table[rows].astype(np.float64).T)[1].T for rows in places]
    return _renumbered(places, coordinates, index, len(table), width)


def place_bases(table: FloatArray, index: IntArray) -> FloatArray | None:
    """Bases in which :func:`compact` writes the chunks of each place; None where it leaves them as they are.

    Returns
    -------
    float64 array
        ``[places, hidden, width]``, zero behind the last direction of a place; places window by window.
    """
    places = _rows_of_places(index, len(table))
    width = max((len(rows) for rows in places), default=0)
    if width == 0 or width >= table.shape[1]:
        return None
    bases = np.zeros((len(places), table.shape[1], width))
    for base, rows in zip(bases, places, strict=True):
        if len(rows):
            q = np.linalg.qr(table[rows].astype(np.float64).T)[0]
            base[:, : q.shape[1]] = q
    return bases


def in_bases(table: FloatArray, index: IntArray, bases: FloatArray) -> tuple[FloatArray, IntArray]:
    """Re-express chunk vectors of other people in the bases of :func:`place_bases`; like :func:`compact`.

    What of a vector lies outside the span of a place is lost: nothing that was fitted in these coordinates looks there.
    """
    places = _rows_of_places(index, len(table))
    coordinates = [table[rows].astype(np.float64) @ base for rows, base in zip(places, bases, strict=True)]
    return _renumbered(places, coordinates, index, len(table), bases.shape[2])


def _rows_of_places(index: IntArray, size: int) -> list[IntArray]:
    """Distinct rows of a table of ``size`` rows at each place, window by window."""
    found: list[IntArray] = []
    for w in range(index.shape[2]):
        for here in _places(index[:, :, w]):
            seen = np.zeros(size + 1, bool)  # marked, not sorted; -1 marks the last
            seen[here] = True
            found.append(np.flatnonzero(seen[:-1]))
    return found


def _places(window: IntArray) -> IntArray:
    """Index of one window with the people of a place side by side, ``[chunks, people * haplotypes]``."""
    return np.ascontiguousarray(window.reshape(-1, window.shape[-1]).T)


def _renumbered(
    places: list[IntArray], coordinates: list[FloatArray], index: IntArray, size: int, width: int
) -> tuple[FloatArray, IntArray]:
    """Coordinates of all places below each other, and the index into them; ``size`` rows has the table before."""
    narrow = np.zeros((sum(map(len, places)), width), np.float32)
    # Of a large cohort the index is larger than anything else that is read of genomes.
    renumbered = np.empty(index.shape, np.int16 if len(narrow) <= np.iinfo(np.int16).max else index.dtype)
    people, haplotypes, windows, chunks = index.shape
    start = 0
    for w in range(windows):
        here = _places(index[:, :, w])
        found = np.empty(here.shape, renumbered.dtype)
        for c in range(chunks):
            rows, values = places[w * chunks + c], coordinates[w * chunks + c]
            number = np.full(size + 1, -1, renumbered.dtype)  # the last: does not exist
            number[rows] = np.arange(start, start + len(rows))
            found[c] = number[here[c]]
            narrow[start : start + len(rows), : values.shape[1]] = values
            start += len(rows)
        renumbered[:, :, w] = found.T.reshape(people, haplotypes, chunks)
    return narrow, renumbered
