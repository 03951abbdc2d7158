"""The frequencies below which an allele is rare: default and checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from genebrain.common.types import UserError

if TYPE_CHECKING:
    from genebrain.genetics.haplotypes.common_alleles import AlleleTable

RARE_BELOW = (0.003, 0.01)
"""Two masks: the lower keeps alleles that many people together can use, the higher is what single effects need."""


def checked_rare(given: float | Sequence[float]) -> tuple[float, ...]:
    """Frequencies in ascending order, without zeros.

    Raises
    ------
    UserError
        One is negative, or so high that no allele could be common; more than two.
    """
    values = (given,) if isinstance(given, int | float) else tuple(given)
    if wrong := [value for value in values if not 0 <= value < 0.5]:
        raise UserError(
            f"genetics.rare_below={', '.join(map(str, wrong))}: a share of alleles from 0 (none is rare) to below .5"
        )
    if len(values) > 2:
        raise UserError(f"genetics.rare_below has {len(values)} numbers: give one, or a lower and a higher one")
    return tuple(sorted({float(value) for value in values if value > 0}))


def refuse_all_rare(table: AlleleTable, low: float, n_training: int) -> None:
    """Refuse genotypes in which no allele is left after the lowest mask.

    Raises
    ------
    UserError
        Says how many alleles there were, and what to do.
    """
    from genebrain.genetics.haplotypes.common_alleles import LEAST_COPIES

    if any(allele.varies(low) for window in table.alleles for allele in window):
        return
    if not table.n_seen:
        raise UserError(
            f"none of the {n_training:,} training people differs from the reference in any of the "
            f"{len(table.alleles):,} windows: name other windows, or genotypes that cover them"
        )
    raise UserError(
        f"all {table.n_seen:,} alleles in the windows are rare among the {n_training:,} training people (below "
        f"genetics.rare_below={low:g}, or fewer than {LEAST_COPIES} copies), so nothing is left to learn from: name "
        "more windows or people, or read all alleles with genetics.rare_below=0 genetics.columns=embeddings"
    )


def needs_split(gene: object) -> bool:
    """Whether what a gene side reads depends on who is trained on."""
    return bool(getattr(gene, "frequencies", ())) or "embeddings" not in getattr(gene, "families", ("embeddings",))
