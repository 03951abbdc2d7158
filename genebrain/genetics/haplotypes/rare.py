"""Rare alleles of one window written as REF, by the counts and frequencies of the policies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.haplotypes.allele_calls import calls_of, where_written
from genebrain.genetics.haplotypes.policies import Policies


def mask_rare(
    alleles: NDArray[np.int16],
    raw: NDArray[np.int16],
    written: tuple[NDArray[np.int64], Sequence[bytes], Sequence[tuple[bytes, ...]]],
    counting_rows: Sequence[int] | None,
    policies: Policies,
) -> int:
    """Write alleles that are rare among the counting subjects as REF, in place; how many kinds were.

    Parameters
    ----------
    alleles, raw : int16 ``[records, subjects, 2]``
        Alleles of the haplotypes, and the calls they came from.
    written : positions, REF and ALT of each record
        An allele of several records is counted once.
    """
    rows = slice(None) if counting_rows is None else np.asarray(counting_rows, np.int64)
    counted, known = alleles[:, rows], raw[:, rows] >= 0
    number = [np.bincount(of.ravel(), minlength=int(all_.max()) + 1) for of, all_ in zip(counted, alleles, strict=True)]
    n_known = known.sum(axis=(1, 2))
    for places in where_written(*written).values():
        if len(places) > 1:
            calls, one = calls_of(counted, places)
            n_calls = known[[row for row, _ in places]].any(axis=0).sum()
            for row, place in places:
                n_known[row] = max(n_known[row], n_calls)
                if place < len(number[row]):
                    number[row][place] = (calls == one).sum()
    masked = 0
    for row in range(len(alleles)):
        least = max(policies.min_allele_count, policies.min_allele_frequency * n_known[row])
        rare = number[row] < least
        rare[0] = False
        masked += int(rare[np.unique(alleles[row])].sum())
        alleles[row][rare[alleles[row]]] = 0
    return masked
