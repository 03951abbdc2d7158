"""Survey of all variants before the model runs: do they belong to this reference, what cannot be scored?

Everything that can be wrong with the input costs seconds, not hours. Every variant is counted under one status; a
share of mismatches that means another genome build is an error with examples.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from genebrain.common.types import Metrics, UserError
from genebrain.genetics.genome.contigs import canonical, match_contigs
from genebrain.genetics.genome.gene_windows import SHOWN
from genebrain.genetics.variants.contexts import SCORED, STATUSES, GenomeLetters, ScoreRule, status_of
from genebrain.genetics.variants.files import Variant


class ContigNames:
    """Spelling of contigs in the reference (``1`` may be ``chr1``), looked up once each."""

    def __init__(self, available: Iterable[str]) -> None:
        self._available = list(available)
        self._canonical = {canonical(name) for name in self._available}
        self.found: dict[str, str | None] = {}

    def resolve(self, name: str) -> str | None:
        """The reference's name, or None when it has no such contig; two that fit are a ``UserError``."""
        if name not in self.found:
            known = canonical(name) in self._canonical
            self.found[name] = match_contigs([name], self._available, "reference")[name] if known else None
        return self.found[name]


@dataclass(frozen=True)
class Survey:
    """What a file of variants holds.

    Attributes
    ----------
    n_variants : int
        Alternative alleles.
    statuses : dict
        Number of variants of each status that occurs.
    contigs : dict
        Spelling in the file -> spelling in the reference, None where that lacks the contig.
    lower_case : int
        Variants with lower-case allele letters, which are read as upper case (not under ``parity``).
    labels : tuple of int
        Variants labelled 0 and 1.
    digest : str
        Identity of all variants and labels in their order.
    """

    n_variants: int
    statuses: dict[str, int]
    contigs: dict[str, str | None]
    lower_case: int
    labels: tuple[int, int]
    digest: str

    @property
    def mismatch_share(self) -> float:
        """Share of the variants with a place in the reference whose REF it contradicts."""
        placed = sum(self.statuses.get(kind, 0) for kind in (SCORED, "mismatch", "outside", "no_downstream"))
        return (self.statuses.get("mismatch", 0) + self.statuses.get("outside", 0)) / placed if placed else 0.0

    def lines(self) -> list[str]:
        """The counts in words, for people."""
        scored = self.statuses.get(SCORED, 0)
        lines = [f"{self.n_variants:,} variants, {scored:,} to be scored; REF differs for {self.mismatch_share:.2%}"]
        lines += [f"  not scored: {n:,} {STATUSES[kind]}" for kind, n in self.statuses.items() if kind != SCORED]
        if renamed := {a: b for a, b in self.contigs.items() if b is not None and a != b}:
            shown = ", ".join(f"{a} is {b}" for a, b in list(renamed.items())[:SHOWN])
            lines.append(f"  contig names differ: {shown} in the reference{' ...' if len(renamed) > SHOWN else ''}")
        if absent := [name for name, there in self.contigs.items() if there is None]:
            lines.append(f"  contigs that the reference lacks: {', '.join(absent[:SHOWN])}")
        if self.lower_case:
            lines.append(f"  lower-case alleles of {self.lower_case:,} variants are read as upper case")
        return lines

    def as_dict(self) -> Metrics:
        """JSON-ready."""
        return {
            "n_variants": self.n_variants,
            "statuses": self.statuses,
            "mismatch_share": self.mismatch_share,
            "contigs": self.contigs,
            "lower_case": self.lower_case,
            "n_benign": self.labels[0],
            "n_pathogenic": self.labels[1],
        }


def alleles(variant: Variant, rule: ScoreRule) -> tuple[str, str]:
    """REF and ALT as they are scored: upper case, but as written under ``parity``."""
    pair = variant.reference, variant.alternative
    return pair if rule.parity else (pair[0].upper(), pair[1].upper())


def survey(
    variants: Iterable[Variant], genome: GenomeLetters, names: ContigNames, rule: ScoreRule, max_mismatch_share: float
) -> Survey:
    """Count all variants by status, and refuse a file that belongs to another genome.

    Raises
    ------
    UserError
        No variant can be scored, or more than ``max_mismatch_share`` of those with a place in the reference
        contradict it.
    """
    counts: Counter[str] = Counter()
    labels: Counter[int | None] = Counter()
    examples: list[str] = []
    digest = hashlib.blake2b(digest_size=16)
    n_lower = 0
    for variant in variants:
        reference, alternative = alleles(variant, rule)
        contig = names.resolve(variant.contig)
        status = status_of(genome, contig, variant.position, reference, alternative, rule)
        counts[status] += 1
        labels[variant.label] += 1
        n_lower += (reference, alternative) != (variant.reference, variant.alternative)
        if status in ("mismatch", "outside") and len(examples) < SHOWN:
            examples.append(_example(genome, variant, contig, reference))
        digest.update(repr(variant).encode())
    found = Survey(
        sum(counts.values()),
        {kind: counts[kind] for kind in STATUSES if counts[kind]},
        names.found,
        n_lower,
        (labels[0], labels[1]),
        digest.hexdigest(),
    )
    if found.mismatch_share > max_mismatch_share:
        wrong = counts["mismatch"] + counts["outside"]
        raise UserError(
            f"wrong genome build? {wrong:,} of {wrong + counts[SCORED]:,} variants ({found.mismatch_share:.1%}) "
            f"contradict the reference, allowed are {max_mismatch_share:.1%}: {'; '.join(examples)}. Use the reference "
            "the variants were called on, or raise max_mismatch_share if these few are known to be wrong"
        )
    if not counts[SCORED]:
        lines = "; ".join(line.strip() for line in found.lines()[1:])
        there = ", ".join(list(genome.contigs)[:SHOWN])
        raise UserError(
            f"none of {found.n_variants:,} variants can be scored: {lines or 'the file is empty'} (the reference has "
            f"{there}{' ...' if len(genome.contigs) > SHOWN else ''})"
        )
    return found


def _example(genome: GenomeLetters, variant: Variant, contig: str | None, reference: str) -> str:
    assert contig is not None
    start = variant.position - 1
    there = genome.span(contig, start, start + len(reference)).upper()
    place = f"{variant.contig}:{variant.position:,}"
    if start + len(reference) > genome.contigs[contig]:
        return f"{place} is behind the end of the contig at {genome.contigs[contig]:,}"
    return f"{place} is {reference[:10]} in the variants, {there[:10]} in the reference"
