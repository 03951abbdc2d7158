"""Files with the genotypes of a cohort, and which of their records are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genebrain.genetics.genotypes.record_filter import EVERYTHING, RecordFilter


@dataclass(frozen=True)
class GenotypeSource:
    """One file, or several that share out the genome (one per chromosome, or parts of one).

    Attributes
    ----------
    files : tuple of Path
        VCF, BCF or PGEN; at least one.
    filters : RecordFilter
        Records that are left out everywhere.
    """

    files: tuple[Path, ...]
    filters: RecordFilter = EVERYTHING

    @property
    def name(self) -> str:
        """For messages: the name of the file, or of the first one and how many more there are."""
        more = len(self.files) - 1
        return self.files[0].name + (f" and {more} more file{'s' * (more > 1)}" if more else "")

    def __str__(self) -> str:
        more = len(self.files) - 1
        return f"{self.files[0]}" + (f" and {more} more file{'s' * (more > 1)}" if more else "")
