"""Alleles of two kinds, eight to a byte, so that the genomes of a biobank fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PackedAlleles:
    """A table ``[sites, people, 2]`` of 0 (reference) and 1 (alternate), read like an int8 array by its first axis.

    Attributes
    ----------
    bits : uint8 ``[sites, bytes]``
    n_people : int
    """

    bits: NDArray[np.uint8]
    n_people: int

    @classmethod
    def of(cls, haplotypes: NDArray[np.integer[Any]]) -> Self:
        """Pack a table ``[sites, people, 2]``."""
        rows = [np.packbits(row.reshape(-1).astype(bool)) for row in haplotypes]
        return cls.of_packed(rows, haplotypes.shape[1])

    @classmethod
    def of_packed(cls, rows: Sequence[NDArray[np.uint8]], n_people: int) -> Self:
        """Sites whose ``2 * n_people`` alleles are packed already."""
        return cls(np.stack(rows) if len(rows) else np.zeros((0, -(-n_people // 4)), np.uint8), n_people)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sites, people, copies."""
        return len(self.bits), self.n_people, 2

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, sites: int | slice | NDArray[Any]) -> NDArray[np.int8]:
        """Alleles of one site ``[people, 2]``, or of some ``[sites, people, 2]``."""
        bits = self.bits[sites]
        alleles = np.unpackbits(bits, axis=-1, count=2 * self.n_people).view(np.int8)
        return alleles.reshape(*bits.shape[:-1], self.n_people, 2)

    def dosages(self) -> NDArray[np.int8]:
        """Alternate alleles ``[sites, people]``."""
        found = np.empty(self.shape[:2], np.int8)
        for site in range(len(self)):
            np.sum(self[site], axis=1, dtype=np.int8, out=found[site])
        return found
