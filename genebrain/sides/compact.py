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
    index : int32 array
        Like the input, into the new table.
    """
    places = [np.unique(index[:, :, w, c]) for w in range(index.shape[2]) for c in range(index.shape[3])]
    places = [rows[rows >= 0] for rows in places]
    width = max((len(rows) for rows in places), default=0)
    if width == 0 or width >= table.shape[1]:
        return table, index
    narrow = np.zeros((sum(map(len, places)), width), np.float32)
    renumbered = np.full_like(index, -1)
    start = 0
    for place, rows in enumerate(places):
        if len(rows) == 0:
            continue
        window, chunk = divmod(place, index.shape[3])
        # In double precision: the differences between people are a thousandth of the vectors.
        _, coordinates = np.linalg.qr(table[rows].astype(np.float64).T)
        narrow[start : start + len(rows), : len(coordinates)] = coordinates.T
        here = index[:, :, window, chunk]
        renumbered[:, :, window, chunk] = np.where(here >= 0, start + np.searchsorted(rows, here), -1)
        start += len(rows)
    return narrow, renumbered
