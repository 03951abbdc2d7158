"""A gene side whose rare alleles are written as the major one: the same encoder, options and store on other strings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from genebrain.sides.genome import GeneSide

if TYPE_CHECKING:
    from genebrain.cohort.participants import Cohort
    from genebrain.genetics.haplotypes.common_alleles import AlleleMask


@dataclass(frozen=True)
class MaskedGenes(GeneSide):
    """A gene side under a mask; made from the training people of a split, never written into a run.

    Attributes
    ----------
    mask : AlleleMask
    digest : str
        Of the mask: sides with equal masks are equal.
    """

    mask: AlleleMask | None = field(default=None, compare=False)
    digest: str = ""

    @classmethod
    def of(cls, gene: GeneSide, mask: AlleleMask) -> Self:
        """The same options under a mask."""
        return cls(**{f.name: getattr(gene, f.name) for f in fields(GeneSide)}, mask=mask, digest=mask.digest)

    @property
    def rare_under(self) -> float | None:
        """The frequency of the mask."""
        return None if self.mask is None else self.mask.frequency

    def chunk_inputs(self, cohort: Cohort) -> dict[str, Any]:
        """As of the side, with the mask."""
        return {**super().chunk_inputs(cohort), "mask": self.mask}

    def _paired(self, chunks: Any, inputs: dict[str, Any]) -> Any:
        return super()._paired(chunks, {name: value for name, value in inputs.items() if name != "mask"})
