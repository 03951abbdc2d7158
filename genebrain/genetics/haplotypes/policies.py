"""Policies for genotypes that do not say plainly what the two haplotypes are.

One validated set of policies. Every wrong setting is named in one error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.genotypes.records import Alleles

Unphased = Literal["error", "as_written", "random"]
Symbolic = Literal["drop", "error"]
ReferenceMismatch = Literal["error", "report"]
Mask = Callable[[NDArray[np.int64], list[bytes], list[tuple[bytes, ...]], Alleles], int]
"""Changes alleles in place, given positions, REF and ALT of their records; returns how many kinds it masked."""
NEVER_ON = {"min_allele_count": 0, "min_allele_frequency": 0.0}
"""Options of older versions, in the names of stored chunk indexes."""
_CHOICES = {
    "unphased": get_args(Unphased),
    "symbolic": get_args(Symbolic),
    "reference_mismatch": get_args(ReferenceMismatch),
}


@dataclass(frozen=True)
class GenotypeRules:
    """What to do with genotypes that do not say plainly what the two haplotypes are.

    Parameters
    ----------
    unphased : {"error", "as_written", "random"}
        Heterozygous genotypes without phase. ``0/0`` and ``1/1`` are always fine. ``random`` draws the order
        from a seed, the id of the person and the place of the record.
    missing_threshold : float
        Missing alleles count as reference; a window of a subject with a larger share of records that miss an
        allele is masked (0..1).
    symbolic : {"drop", "error"}
        ``<DEL>``-like alleles and breakends that somebody carries. Dropped: who carries them has the reference there;
        other alleles of the record stand. ``<*>`` and ``<NON_REF>`` mean what nobody was seen to carry.
    reference_mismatch : {"error", "report"}
        REF differs from the FASTA. ``report`` uses the record as it is.
    """

    unphased: Unphased = "error"
    missing_threshold: float = 0.1
    symbolic: Symbolic = "drop"
    reference_mismatch: ReferenceMismatch = "error"


@dataclass(frozen=True)
class Policies(GenotypeRules):
    """The rules, checked, with the ``seed`` of ``unphased="random"``; all others are of :class:`GenotypeRules`."""

    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            f"{name}={getattr(self, name)!r} (use {', '.join(choices)})"
            for name, choices in _CHOICES.items()
            if getattr(self, name) not in choices
        ]
        if not 0 <= self.missing_threshold <= 1:
            problems.append(f"missing_threshold={self.missing_threshold} (a share, 0 to 1)")
        if problems:
            raise UserError("genotype policies: " + "; ".join(problems))

    @classmethod
    def of_index(cls, stored: Mapping[str, Any]) -> Policies:
        """Policies of a stored chunk index; those of older versions hold options that nothing could switch on."""
        return cls(**{name: value for name, value in stored.items() if name not in NEVER_ON})
