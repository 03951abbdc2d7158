"""Kinship from genotypes (KING-robust), and families from related pairs.

KING-robust needs no allele frequencies, so it holds in cohorts of mixed ancestry. It does need many SNPs from
all over the genome: from gene windows alone a quarter of unrelated pairs look like second-degree relatives.
Knows arrays and pairs of row numbers, no files and no people.

Source: Manichaikul et al. 2010, Bioinformatics 26:2867, as written in the PLINK 2 documentation of
--make-king-table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from genebrain.common.types import FloatArray, IntArray

SECOND_DEGREE = 0.0884
"""Smallest kinship of a pair that must stay on one side of a split: 2^(-7/2), second degree or closer."""
SAME_GENOME = 0.354
"""Smallest kinship of a duplicate sample or a pair of identical twins: 2^(-3/2)."""


@dataclass(frozen=True)
class Pairs:
    """Related pairs: row numbers ``first`` < ``second`` and ``kinship``, all ``[pairs]``."""

    first: IntArray
    second: IntArray
    kinship: FloatArray

    def __len__(self) -> int:
        return len(self.first)

    def at_least(self, threshold: float) -> Pairs:
        """The pairs with a kinship of ``threshold`` or more."""
        keep = self.kinship >= threshold
        return Pairs(self.first[keep], self.second[keep], self.kinship[keep])

    @classmethod
    def empty(cls) -> Pairs:
        """No pair at all."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


class _Indicators:
    """Float32 0/1 matrices of a block of people; products of two of them count SNPs, exactly below 2^24."""

    def __init__(self, dosage: NDArray[np.int8]) -> None:
        self.reference = (dosage == 0).astype(np.float32)
        self.heterozygous = (dosage == 1).astype(np.float32)
        self.alternate = (dosage == 2).astype(np.float32)
        self.known = (dosage >= 0).astype(np.float32)


def _block(a: _Indicators, b: _Indicators) -> NDArray[np.float64]:
    """Kinship of all people of ``a`` with all of ``b``; SNPs where either is missing do not count."""
    both_het = (a.heterozygous @ b.heterozygous.T).astype(np.float64)
    opposite = (a.reference @ b.alternate.T + a.alternate @ b.reference.T).astype(np.float64)
    het_a = (a.heterozygous @ b.known.T).astype(np.float64)
    het_b = (a.known @ b.heterozygous.T).astype(np.float64)
    smaller = np.minimum(het_a, het_b)
    smaller[smaller == 0] = np.nan
    return (both_het - 2 * opposite) / (2 * smaller) + 0.5 - (het_a + het_b) / (4 * smaller)


def hard_calls(dosage: NDArray[np.generic]) -> NDArray[np.int8]:
    """Dosages 0, 1, 2 as int8 with -1 for missing (NaN or negative); fractional dosages are rounded."""
    if dosage.ndim != 2:
        raise ValueError(f"dosage must be [people, SNPs], got shape {dosage.shape}")
    values = np.asarray(dosage, dtype=np.float32)
    calls = np.where(np.isnan(values) | (values < 0), -1.0, np.rint(values))
    if calls.size and calls.max() > 2:
        raise ValueError(f"dosages lie in 0..2, got {calls.max():g}")
    return calls.astype(np.int8)


def related_pairs(dosage: NDArray[np.generic], *, block: int = 512) -> Pairs:
    """Pairs of people whose KING-robust kinship is `SECOND_DEGREE` or more, without holding the full matrix.

    ``dosage`` as in :func:`king_robust`; rows of the result are sorted by first, then second person.
    """
    calls = hard_calls(dosage) if dosage.dtype != np.int8 else np.asarray(dosage, dtype=np.int8)
    n = len(calls)
    found: list[tuple[IntArray, IntArray, FloatArray]] = []
    for top in range(0, n, block):
        a = _Indicators(calls[top : top + block])
        for left in range(top, n, block):
            tile = _block(a, a if left == top else _Indicators(calls[left : left + block]))
            rows, columns = np.nonzero(np.nan_to_num(tile, nan=-1.0) >= SECOND_DEGREE)
            upper = rows + top < columns + left
            rows, columns = rows[upper], columns[upper]
            found.append((rows + top, columns + left, tile[rows, columns]))
    if not found:
        return Pairs.empty()
    first, second, kinship = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((second, first))
    return Pairs(first[order], second[order], kinship[order])


def families(n_people: int, first: IntArray, second: IntArray) -> IntArray:
    """Family label of each person: connected components of the pairs ``(first, second)`` of row numbers.

    Returns
    -------
    int64 ``[people]``
        0, 1, ... in the order in which families first appear.
    """
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(n_people, n_people))
    labels = connected_components(graph, directed=False)[1]
    _, first_seen, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first_seen), dtype=np.int64)
    rank[np.argsort(first_seen)] = np.arange(len(first_seen))
    return rank[inverse]
