"""Alleles by what their writing says: letters, a change without letters, or what nobody carries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genotypes.records import Sites

NEVER_CARRIED = (b"<*>", b"<NON_REF>", b"<X>")


def is_symbolic(allele: bytes) -> bool:
    """``<DEL>``-like or a breakend, which name a change without writing its letters."""
    return any(mark in allele for mark in (b"<", b"[", b"]", b"."))


def is_unreadable(allele: bytes) -> bool:
    """A symbolic allele that somebody may carry; ``<*>``, ``<NON_REF>`` and ``<X>`` stand for what nobody carries."""
    return is_symbolic(allele) and allele.upper() not in NEVER_CARRIED


def is_readable(allele: bytes) -> bool:
    """Whether the letters of an ALT allele are known; ``*`` is part of a deletion that another record writes."""
    return allele != b"*" and not is_symbolic(allele)


def usable(sites: Sites, window: Window) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks over records, bool ``[records]``: used, with an unreadable change, reaching over an edge of the window.

    A record with readable and unreadable ALT alleles is used: whoever carries a readable one keeps it.
    """
    end = sites.position + np.array([len(ref) for ref in sites.reference], np.int64)
    unreadable = np.array([any(map(is_unreadable, alts)) for alts in sites.alternatives], bool)
    nothing = np.array([bool(alts) and all(map(is_symbolic, alts)) for alts in sites.alternatives], bool)
    edge = (sites.position < window.start) | (~nothing & (end > window.end))
    return ~nothing & ~edge, unreadable & ~edge, edge


def symbolic_carriers(sites: Sites, row: int) -> int:
    """Haplotypes that carry an unreadable change of a record."""
    numbers = [n for n, alt in enumerate(sites.alternatives[row], start=1) if is_unreadable(alt)]
    return int(np.isin(sites.alleles[row], numbers).sum())


def in_several_sets(known: NDArray[np.bool_], sets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Subjects whose genotypes name more than one phase set, bool ``[subjects]``.

    Parameters
    ----------
    known : bool ``[records, subjects]``
        Phased heterozygous genotypes: the others have no order.
    sets : int64 ``[records, subjects]``
    """
    limits = np.iinfo(np.int64)
    first = np.where(known, sets, limits.max).min(axis=0, initial=limits.max)
    last = np.where(known, sets, limits.min).max(axis=0, initial=limits.min)
    return np.asarray(first < last)
