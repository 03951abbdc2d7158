"""Calls of each ALT allele of a window; an allele that several records write is one allele.

Files that were merged or split hold records of the same place, REF and ALT. A haplotype carries such an allele if any
of its records says so: this is what its letters have, so dosages and counts take it in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genotypes.allele_kinds import is_readable, usable
from genebrain.genetics.genotypes.records import ABSENT, MISSING, Sites

Written = dict[tuple[int, bytes, bytes], list[tuple[int, int]]]
"""Place, REF and ALT of an allele -> rows that write it, each with the number of the allele there."""
_OTHER = 2


class AlleleCalls(NamedTuple):
    """One ALT allele and everybody's calls of it.

    Attributes
    ----------
    position : int
        0-based.
    reference, alternative : str
        Letters, upper case.
    calls : int16 ``[subjects, 2]``
        ``number`` where a haplotype carries it, 0 for REF, ``MISSING``, ``ABSENT``, or the number of another allele.
    number : int
    """

    position: int
    reference: str
    alternative: str
    calls: NDArray[np.int16]
    number: int

    @property
    def carried(self) -> NDArray[np.bool_]:
        """Haplotypes that carry it, bool ``[subjects, 2]``."""
        return self.calls == self.number

    def copies(self) -> NDArray[np.float32]:
        """Copies of each subject; NaN where one of its calls is missing or it has no copy of the contig."""
        first, second = self.calls[:, 0], self.calls[:, 1]  # sums over an axis of two take six times as long
        copies = (first == self.number).astype(np.float32) + (second == self.number)
        unknown = (first == MISSING) | (second == MISSING) | ((first == ABSENT) & (second == ABSENT))
        if unknown.any():
            copies[unknown] = np.nan
        return copies


def allele_calls(sites: Sites, window: Window) -> Iterator[AlleleCalls]:
    """Readable ALT alleles of the records that are used, in the order in which the file first writes them."""
    rows = np.flatnonzero(usable(sites, window)[0])
    for (position, ref, alt), written in _written(sites, rows).items():
        calls, number = calls_of(sites.alleles, [(int(rows[row]), number) for row, number in written])
        yield AlleleCalls(position, ref.decode(), alt.decode(), calls, number)


def repeated_records(sites: Sites, rows: NDArray[np.intp]) -> int:
    """How many records of ``rows`` write an allele that another one of them has written."""
    return n_repeated(_written(sites, rows))


def n_repeated(written: Written) -> int:
    """How many records write an allele again."""
    return sum(len(places) - 1 for places in written.values())


def _written(sites: Sites, rows: NDArray[np.intp]) -> Written:
    references = [sites.reference[row].upper() for row in rows.tolist()]
    alternatives = [tuple(alt.upper() for alt in sites.alternatives[row]) for row in rows.tolist()]
    return where_written(sites.position[rows], references, alternatives)


def where_written(
    positions: NDArray[np.int64], references: Sequence[bytes], alternatives: Sequence[tuple[bytes, ...]]
) -> Written:
    """Rows of each readable ALT allele, alleles in the order in which they are first written."""
    found: Written = {}
    for row, (position, ref, alts) in enumerate(zip(positions.tolist(), references, alternatives, strict=True)):
        for number, alt in enumerate(alts, start=1):
            if is_readable(alt):
                found.setdefault((position, ref, alt), []).append((row, number))
    return found


def calls_of(alleles: NDArray[np.int16], written: Sequence[tuple[int, int]]) -> tuple[NDArray[np.int16], int]:
    """Calls of one allele from all of its rows, and its number in them; of several rows the first carried one stands.

    A call that one row misses and another has is known.
    """
    (row, number), *others = written
    if not others:
        return alleles[row], number
    joined: NDArray[Any] = _coded(alleles[row], number)
    for row, number in others:
        coded = _coded(alleles[row], number)
        joined = np.where(joined > 0, joined, np.maximum(joined, coded))
    return joined, 1


def _coded(calls: NDArray[np.int16], number: int) -> NDArray[np.int16]:
    return np.where(calls == number, 1, np.where(calls > 0, _OTHER, calls)).astype(np.int16)
