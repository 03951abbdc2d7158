"""Cut the haplotypes of a window at fixed places of the reference, and write down each distinct piece once.

Reference-cut chunks. A record belongs to the piece that holds its position, inserted bases stay with their anchor, a
deletion over a cut takes the head of the next pieces; the joined pieces of a haplotype are the haplotype. Only
distinct allele patterns become letters, never one string per subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.haplotypes.resolve import WindowAlleles

CutOrigin = Literal["genome", "window"]


def cut_places(window: Window, chunk_bp: int, origin: CutOrigin) -> NDArray[np.int64]:
    """Borders of the pieces in the genome, int64 ``[pieces + 1]``, from the start to the end of the window.

    ``genome`` cuts at multiples of ``chunk_bp`` of the contig, so that cohorts with other windows share
    chunks; ``window`` cuts at ``start + k * chunk_bp``.
    """
    first = window.start if origin == "window" else window.start // chunk_bp * chunk_bp
    inner = np.arange(first + chunk_bp, window.end, chunk_bp)
    return np.concatenate([[window.start], inner, [window.end]]).astype(np.int64)


def distinct_pieces(
    found: WindowAlleles, letters: bytes, cuts: NDArray[np.int64]
) -> Iterator[tuple[list[bytes], NDArray[np.intp]]]:
    """Per piece, in order of the plus strand: its distinct strings and which one each haplotype has.

    Parameters
    ----------
    found : WindowAlleles
    letters : bytes
        Upper-case plus-strand reference of the window, ``cuts[0]`` to ``cuts[-1]``.
    cuts : int64 ``[pieces + 1]``

    Yields
    ------
    strings : list of bytes
        One per distinct pattern of alleles, plus strand. Two patterns may spell the same string.
    which : int ``[existing haplotypes]``
        Index into ``strings``, for the haplotypes where ``found.exists``, in its order.
    """
    alleles = found.alleles[:, found.exists]
    borders = np.searchsorted(found.position, cuts)
    longest = int((found.end - found.position).max(initial=0))
    for piece, (start, stop) in enumerate(pairwise(cuts)):
        rows = slice(borders[piece], borders[piece + 1])
        earlier = slice(int(np.searchsorted(found.position, start - longest)), int(borders[piece]))
        reach = np.maximum(found.end[earlier] - start, 0)
        taken = np.where(alleles[earlier] > 0, reach[:, None], 0).max(axis=0, initial=0)
        patterns, which = _unique_columns(np.vstack([taken[None], alleles[rows]]).astype(np.int32))
        yield (
            [
                _write(
                    letters,
                    int(cuts[0]),
                    (int(start + pattern[0]), int(stop)),
                    found.position[rows],
                    found.end[rows],
                    [
                        alts[number - 1] if number else None
                        for alts, number in zip(found.alternatives[rows], pattern[1:], strict=True)
                    ],
                )
                for pattern in patterns
            ],
            which,
        )


def _unique_columns(table: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Distinct columns (as rows) and the number of each column's one; bytes compare faster than rows do."""
    columns = np.ascontiguousarray(table.T)
    as_bytes = columns.view(np.dtype((np.void, columns.dtype.itemsize * columns.shape[1]))).ravel()
    _, first, which = np.unique(as_bytes, return_index=True, return_inverse=True)
    return columns[first], which


def _write(
    letters: bytes,
    origin: int,
    span: tuple[int, int],
    position: NDArray[np.int64],
    end: NDArray[np.int64],
    inserts: list[bytes | None],
) -> bytes:
    """Letters of ``span`` in the genome with the inserts in place of their records' REF."""
    cursor, stop = span
    parts: list[bytes] = []
    for row, insert in enumerate(inserts):
        if insert is not None:
            # An indel's anchor may already be replaced or deleted by the record before: then it is not repeated.
            written = max(0, cursor - int(position[row]))
            parts += [letters[cursor - origin : int(position[row]) - origin], insert[written:]]
            cursor = int(end[row])
    if cursor < stop:
        parts.append(letters[cursor - origin : stop - origin])
    return b"".join(parts)
