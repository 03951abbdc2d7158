"""KING-robust kinship of one pair of people as the formula is written."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.cohort.relatedness.kinship import _block, _Indicators, hard_calls


def king_robust(dosage: NDArray[np.generic], *, block: int = 512) -> NDArray[np.float64]:
    """KING-robust kinship of all pairs.

    Parameters
    ----------
    dosage : array ``[people, SNPs]``
        Copies of the alternate allele at biallelic autosomal SNPs; negative or NaN is missing.
    block : int
        People per block of the computation; bounds the working memory.

    Returns
    -------
    float64 ``[people, people]``
        .5 for identical genomes, .25 for parent-child and full siblings, about 0 for unrelated people of one
        ancestry, negative across ancestries; NaN where one of the two has no heterozygous SNP in common data.
    """
    calls = hard_calls(dosage) if dosage.dtype != np.int8 else np.asarray(dosage, dtype=np.int8)
    n = len(calls)
    kinship = np.empty((n, n))
    for top in range(0, n, block):
        a = _Indicators(calls[top : top + block])
        for left in range(top, n, block):
            tile = _block(a, a if left == top else _Indicators(calls[left : left + block]))
            kinship[top : top + block, left : left + block] = tile
            kinship[left : left + block, top : top + block] = tile.T
    return kinship
