"""Alleles that are frequent among training people: their dosages, and a mask that writes all others as the major one.

A rare allele is carried by too few training people to learn what it does, but it moves the embedding of its chunk as
far as any other. Written as the major allele *before* chunking, it moves nothing, and there are fewer chunks to read.
Counted on training people; applied to anybody, by place and letters: an allele that training people lack is rare.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genotypes.records import Alleles, Sites
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.haplotypes.allele_calls import AlleleCalls, allele_calls
from genebrain.genetics.haplotypes.resolve import sites_of

LEAST_COPIES, MORE_COPIES, STRICT = 5, 12, 0.01
"""An allele with fewer copies among training people is rare, whatever its frequency; more are asked for under a mask
from ``STRICT`` on, whose columns all weigh the same, so that those of a few people would do harm."""

UNKNOWN = -1
"""Where whole numbers stand for dosages."""
OF_BYTES = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float32)
"""Dosages by the byte that stands for them."""
OF_BYTES[UNKNOWN] = np.nan


class Allele(NamedTuple):
    """An ALT allele of a window, and how often it was counted.

    Attributes
    ----------
    position : int
        0-based.
    reference, alternative : str
        Letters, upper case.
    copies, of_reference, known : int
        Haplotypes of training people with this allele, with REF, and with any known allele of the record.
    """

    position: int
    reference: str
    alternative: str
    copies: int
    of_reference: int
    known: int

    def is_common(self, frequency: float) -> bool:
        """Whether training people carry it often enough."""
        return self.copies >= self._least(frequency)

    def common_reference(self, frequency: float) -> bool:
        """Whether they carry REF often enough."""
        return self.of_reference >= self._least(frequency)

    def varies(self, frequency: float) -> bool:
        """Whether both it and whatever else is carried are common."""
        return min(self.copies, self.known - self.copies) >= self._least(frequency)

    def _least(self, frequency: float) -> float:
        return max(LEAST_COPIES if frequency < STRICT else MORE_COPIES, frequency * self.known)


@dataclass(frozen=True)
class AlleleMask:
    """What is written as the major allele: everything but the common alleles of each window.

    Attributes
    ----------
    frequency : float
        Below it an allele is rare.
    windows : tuple of tuple of Allele
        Common ALT alleles of each window.
    """

    frequency: float
    windows: tuple[tuple[Allele, ...], ...]

    @property
    def digest(self) -> str:
        """Name by content: what is kept, and what takes the place of the rest; not the counts behind it."""
        kept = [
            [
                (a.position, a.reference, a.alternative, a.common_reference(self.frequency), a.copies > a.of_reference)
                for a in sorted(window, key=lambda a: (a.position, a.reference, -a.copies))
            ]
            for window in self.windows
        ]
        return hashlib.blake2b(json.dumps(kept).encode(), digest_size=16).hexdigest()

    def apply(
        self,
        number: int,
        position: NDArray[np.int64],
        references: Sequence[bytes],
        alternatives: Sequence[tuple[bytes, ...]],
        alleles: Alleles,
    ) -> int:
        """Write rare alleles of window ``number`` as the major one, in place; how many kinds of alleles were rare."""
        at: dict[tuple[int, str], dict[str, Allele]] = {}
        for allele in self.windows[number]:
            at.setdefault((allele.position, allele.reference), {})[allele.alternative] = allele
        masked = 0
        for row, (start, ref, alts) in enumerate(zip(position.tolist(), references, alternatives, strict=True)):
            known = at.get((start, ref.decode()), {})
            found = [known.get(alt.decode()) for alt in alts]
            kept = np.array([True, *(one is not None for one in found)])
            best = max((one for one in found if one is not None), key=lambda one: one.copies, default=None)
            major = 0
            if best is not None:
                kept[0] = best.common_reference(self.frequency)
                if not kept[0] or best.copies > best.of_reference:
                    major = 1 + found.index(best)
            if kept.all():
                continue
            numbers = np.bincount(alleles[row].ravel(), minlength=len(kept))
            masked += int(np.count_nonzero(numbers[~kept]))
            written = np.where(kept, np.arange(len(kept)), major).astype(alleles.dtype)
            alleles[row] = written[alleles[row]] if written.any() else 0
        return masked


@dataclass(frozen=True)
class AlleleTable:
    """Common alleles of some windows and everybody's dosages.

    Attributes
    ----------
    alleles : list of list of Allele
        Per window; common at the lowest frequency that was asked for.
    dosages : list of arrays
        ``[subjects, alleles]``: int8 with ``UNKNOWN``, or float32, NaN where not known (:func:`dosages_of`).
    n_seen : int
        ALT alleles that training people carry, rare ones included.
    rare : float32 array ``[subjects, windows]``
        Copies of all other ALT alleles together.
    """

    alleles: list[list[Allele]]
    dosages: Sequence[NDArray[Any]]
    n_seen: int
    rare: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @classmethod
    def joined(cls, parts: Sequence[AlleleTable]) -> AlleleTable:
        """One table of the windows of several, in their order."""
        return cls(
            [window for part in parts for window in part.alleles],
            [block for part in parts for block in part.dosages],
            sum(part.n_seen for part in parts),
            np.concatenate([part.rare for part in parts], axis=1),
        )

    def mask(self, frequency: float) -> AlleleMask:
        """The mask at a frequency (not below the lowest)."""
        return AlleleMask(frequency, tuple(tuple(a for a in w if a.is_common(frequency)) for w in self.alleles))

    def blocks(self, frequency: float) -> list[NDArray[np.float32]]:
        """Dosages of the alleles that vary at a frequency, ``[subjects, alleles]`` per window."""
        return [self.block(frequency, window) for window in range(len(self.alleles))]

    def block(
        self, frequency: float, window: int, people: NDArray[np.integer[Any]] | None = None
    ) -> NDArray[np.float32]:
        """The same of one window, of everybody or of some people."""
        return self._known(window, [a.varies(frequency) for a in self.alleles[window]], people)

    def burden(self, frequency: float) -> list[NDArray[np.float32]]:
        """Copies of alleles that are rare at a frequency, all together, ``[subjects, 1]`` per window."""
        rarer = [[not a.is_common(frequency) for a in alleles] for alleles in self.alleles]
        return [
            self.rare[:, [w]] + np.nansum(self._known(w, which), axis=1, keepdims=True) for w, which in enumerate(rarer)
        ]

    def _known(
        self, window: int, which: list[bool], people: NDArray[np.integer[Any]] | None = None
    ) -> NDArray[np.float32]:
        whole = self.dosages[window]
        block = (whole if people is None else whole[people])[:, which]
        if block.dtype == np.int8:
            return np.asarray(OF_BYTES[block.view(np.uint8)])
        return np.where(block == UNKNOWN, np.float32(np.nan), block.astype(np.float32))


def allele_table(
    genotypes: str | Path | GenotypeSource,
    windows: Sequence[Window],
    samples: Sequence[str],
    *,
    counting_rows: Sequence[int] | NDArray[np.integer[Any]],
    frequency: float,
) -> AlleleTable:
    """Count alleles among training people, and read everybody's dosages of the common ones.

    Parameters
    ----------
    samples : sequence of str
        Order of the rows.
    counting_rows : sequence of int
        Rows of the training people.
    frequency : float
        The lowest at which an allele is common.
    """
    counted = np.asarray(counting_rows, np.int64)
    read = zip(sites_of(genotypes, windows, samples), windows, strict=True)
    return AlleleTable.joined([window_table(sites, window, counted, frequency) for sites, window in read])


def window_table(sites: Sites, window: Window, counted: NDArray[np.int64], frequency: float) -> AlleleTable:
    """The same of one window, whose records have been read."""
    n_people = sites.alleles.shape[1]
    alleles, columns, rare, seen = [], [], np.zeros(n_people, np.float32), 0
    for calls, allele in _alleles(sites, window, counted):
        seen += allele.copies > 0
        if allele.is_common(frequency):
            alleles.append(allele)
            columns.append(np.nan_to_num(calls.copies(), nan=UNKNOWN).astype(np.int8))  # a quarter of the memory
        else:
            rare += np.nan_to_num(calls.copies())
    block = np.stack(columns, axis=1) if columns else np.zeros((n_people, 0), np.int8)
    return AlleleTable([alleles], [block], seen, rare[:, None])


def dosages_of(
    genotypes: str | Path | GenotypeSource,
    windows: Sequence[Window],
    samples: Sequence[str],
    alleles: Sequence[Sequence[Allele]],
) -> tuple[AlleleTable, int, int]:
    """Dosages of given alleles in other genotypes, by place and letters.

    Returns
    -------
    table : AlleleTable
        Dosages are 0 where the file has no such allele: nobody in it was seen to carry it. All alleles that training
        people lack count as rare, so that a person's numbers do not depend on who else is in the file.
    absent : int
        Alleles that the file does not have.
    unknown : int
        Alleles that people of the file carry and that are not among the given ones.
    """
    blocks, burden, absent, unknown = [], [], 0, 0
    everybody = np.arange(len(samples))
    for sites, window, wanted in zip(sites_of(genotypes, windows, samples), windows, alleles, strict=True):
        column = {a[:3]: i for i, a in enumerate(wanted)}  # by place and letters
        block, rare = np.zeros((len(samples), len(wanted)), np.float32), np.zeros(len(samples), np.float32)
        have = set()
        for calls, allele in _alleles(sites, window, everybody):
            place = column.get(allele[:3])
            if place is None:
                unknown += allele.copies > 0
                rare += np.nan_to_num(calls.copies())
                continue
            block[:, place] = calls.copies()
            have.add(place)
        absent += len(wanted) - len(have)
        blocks.append(block)
        burden.append(rare)
    return AlleleTable([list(w) for w in alleles], blocks, 0, np.stack(burden, axis=1)), absent, unknown


def _alleles(sites: Sites, window: Window, counted: NDArray[np.int64]) -> list[tuple[AlleleCalls, Allele]]:
    """Readable ALT alleles of the records that are used, each with its counts."""
    found: list[tuple[AlleleCalls, Allele]] = []
    for one in allele_calls(sites, window):
        calls = one.calls[counted]
        numbers = np.bincount(calls[calls >= 0], minlength=1 + one.number)
        counts = int(numbers[one.number]), int(numbers[0]), int(numbers.sum())
        found.append((one, Allele(*one[:3], *counts)))
    return found
