"""Adds up what was odd in the genotypes of all windows and refuses what a policy forbids, in numbers.

One place where counts of windows become totals, shares and messages. JSON-ready, no subject named; every kind of
problem is told once, with its share and first examples.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import UserError
from genebrain.genetics.genome.gene_windows import SHOWN, Window
from genebrain.genetics.haplotypes.policies import Policies


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


MOST_MISMATCHES = 0.05
"""Largest share of records with another REF at which using them as they are is a choice."""


class CountedWindow(Protocol):
    """What was counted in a window."""

    @property
    def counts(self) -> dict[str, int]:
        """Every event."""

    @property
    def mismatches(self) -> list[dict[str, Any]]:
        """Records whose REF differs from the FASTA."""

    @property
    def several_sets(self) -> NDArray[np.bool_]:
        """Subjects with more than one phase set."""


class GenotypeReport:
    """Counts of every event, per window and in total."""

    def __init__(self, genotypes: str, reference: str, n_subjects: int) -> None:
        self.genotypes, self.reference, self.n_subjects = genotypes, reference, n_subjects
        self.per_window: list[dict[str, Any]] = []
        self.mismatches: list[dict[str, Any]] = []
        self.absent_copies_inferred = 0
        self.in_several_phase_sets = np.zeros(n_subjects, bool)

    def add(self, window: Window, found: CountedWindow) -> None:
        """Take over the counts of one window."""
        self.per_window.append({"name": window.name, **found.counts})
        self.mismatches += found.mismatches
        self.in_several_phase_sets |= found.several_sets

    def total(self, name: str) -> int:
        """Sum of one count over windows."""
        return sum(counts.get(name, 0) for counts in self.per_window)

    def refuse(self, policies: Policies) -> None:
        """Raise one error that names every kind of problem that the policies forbid.

        Raises
        ------
        UserError
            With counts, shares, the first examples, and what to do.
        """
        problems = []
        if self.mismatches and policies.reference_mismatch == "error":
            problems.append(self._mismatch_text())
        unphased, het = self.total("used_unphased_het_genotypes"), self.total("used_het_genotypes")
        if unphased and policies.unphased == "error":
            problems.append(
                f"{unphased:,} of {het:,} heterozygous genotypes ({_share(unphased, het):.1%}) in "
                f"{self._windows_with('used_unphased_het_genotypes')} are unphased, so their haplotypes are "
                "not known. Phase the file (SHAPEIT, Beagle, Eagle), or set genetics.unphased=as_written or random."
            )
        if (symbolic := self.total("symbolic_carried_records")) and policies.symbolic == "error":
            problems.append(
                f"{symbolic:,} of {self.total('records'):,} records in "
                f"{self._windows_with('symbolic_carried_records')} have symbolic alleles (<DEL>, breakends) that "
                "somebody carries. "
                "Remove them or set genetics.symbolic=drop."
            )
        if problems:
            raise UserError(f"{self.genotypes}: " + "\n".join(problems))

    def _windows_with(self, name: str) -> str:
        touched = [counts["name"] for counts in self.per_window if counts.get(name)]
        more = " ..." if len(touched) > SHOWN else ""
        return f"{len(touched)} of {len(self.per_window)} windows ({', '.join(touched[:SHOWN])}{more})"

    def _mismatch_text(self) -> str:
        checked = self.total("used_records")
        advice = (
            "If the reference is right, set genetics.reference_mismatch=report to use the records as they are."
            if len(self.mismatches) <= MOST_MISMATCHES * checked
            else "So many cannot be used as they are: give the reference that the genotypes were called against."
        )
        examples = "; ".join(
            f"{m['contig']}:{m['position']} REF {m['ref'][:20]}, FASTA {m['fasta'][:20] or 'nothing'}"
            for m in self.mismatches[:SHOWN]
        )
        return (
            f"REF differs from {self.reference} at {len(self.mismatches):,} of {checked:,} records "
            f"({_share(len(self.mismatches), checked):.1%}): {examples}. Is this the wrong genome build? "
            f"{advice}"
        )

    def as_dict(self, policies: Policies, **settings: Any) -> dict[str, Any]:
        """Everything, JSON-ready."""
        names = [name for name in dict.fromkeys(key for c in self.per_window for key in c) if name != "name"]
        counts = {name: self.total(name) for name in names}
        checked, pairs = counts["used_records"], self.n_subjects * len(self.per_window)
        return {
            "genotypes": self.genotypes,
            "reference": self.reference,
            "n_subjects": self.n_subjects,
            "n_windows": len(self.per_window),
            "settings": {**settings, "policies": asdict(policies)},
            "counts": counts,
            "shares": {
                "reference_mismatch": _share(len(self.mismatches), checked),
                "unphased_het": _share(counts["used_unphased_het_genotypes"], counts["used_het_genotypes"]),
                "masked_subject_windows": _share(counts["masked_subjects"], pairs),
            },
            "reference_mismatches": self.mismatches,
            "windows_without_records": [c["name"] for c in self.per_window if not c["records"]],
            "subjects_in_several_phase_sets": int(self.in_several_phase_sets.sum()),
            "absent_copies_inferred": self.absent_copies_inferred,
            "per_window": self.per_window,
        }
