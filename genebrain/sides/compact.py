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
    places = _rows_of_places(index)
    width = max((len(rows) for rows in places), default=0)
    if width == 0 or width >= table.shape[1]:
        return table, index
    # In double precision: the differences between people are a thousandth of the vectors.
    coordinates = [np.linalg.qr(table[rows].astype(np.float64).T)[1].T for rows in places]
    return _renumbered(places, coordinates, index, width)


def place_bases(table: FloatArray, index: IntArray) -> FloatArray | None:
    """Bases in which :func:`compact` writes the chunks of each place; None where it leaves them as they are.

    Returns
    -------
    float64 array
        ``[places, hidden, width]``, zero behind the last direction of a place; places window by window.
    """
    places = _rows_of_places(index)
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
    places = _rows_of_places(index)
    coordinates = [table[rows].astype(np.float64) @ base for rows, base in zip(places, bases, strict=True)]
    return _renumbered(places, coordinates, index, bases.shape[2])


def _rows_of_places(index: IntArray) -> list[IntArray]:
    """Distinct rows of the table at each place, window by window."""
    places = [np.unique(index[:, :, w, c]) for w in range(index.shape[2]) for c in range(index.shape[3])]
    return [rows[rows >= 0] for rows in places]


def _renumbered(
    places: list[IntArray], coordinates: list[FloatArray], index: IntArray, width: int
) -> tuple[FloatArray, IntArray]:
    """Coordinates of all places below each other, and the index into them."""
    narrow = np.zeros((sum(map(len, places)), width), np.float32)
    # Of a large cohort the index is larger than anything else that is read of genomes.
    renumbered = np.full_like(index, -1, dtype=np.int16 if len(narrow) <= np.iinfo(np.int16).max else index.dtype)
    start = 0
    for place, (rows, values) in enumerate(zip(places, coordinates, strict=True)):
        if len(rows) == 0:
            continue
        window, chunk = divmod(place, index.shape[3])
        narrow[start : start + len(rows), : values.shape[1]] = values
        here = index[:, :, window, chunk]
        renumbered[:, :, window, chunk] = np.where(here >= 0, start + np.searchsorted(rows, here), -1)
        start += len(rows)
    return narrow, renumbered
