"""Windows, genotypes and reference must speak of the same contigs; say where they do not.

A region query for a contig that a file spells otherwise finds nothing and fails nowhere: everybody would
silently carry the reference sequence. Knows names and lengths only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genebrain.cohort.tables.problems import Problems, named
from genebrain.genetics.genome.contigs import canonical
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genotypes.records import no_record_at_all


def windows_on_known_contigs(
    windows: Sequence[Window],
    genotype_contigs: Sequence[str],
    reference_lengths: Mapping[str, int],
    problems: Problems,
) -> list[Window]:
    """Windows that both files serve; absent contigs, other spellings and ends beyond go to ``problems``."""
    wanted = list(dict.fromkeys(window.contig for window in windows))
    in_genotypes = _spellings(wanted, genotype_contigs)
    in_reference = _spellings(wanted, list(reference_lengths))
    for what, found, present in (
        ("genotype file", in_genotypes, list(genotype_contigs)),
        ("reference", in_reference, list(reference_lengths)),
    ):
        absent = [contig for contig in wanted if contig not in found]
        renamed = [contig for contig, name in found.items() if contig != name]
        if absent:
            n_lost = sum(window.contig in absent for window in windows)
            problems.error(
                "contig absent",
                f"{n_lost} of {len(windows)} windows lie on contigs that the {what} does not have: {named(absent)}; "
                f"it has {named(present)}",
                windows=n_lost,
                contigs=len(absent),
            )
        if renamed:
            problems.warning(
                "contig naming",
                f"windows say {named(renamed)}, the {what} says {named(found[name] for name in renamed)}; they are "
                "taken as the same contigs",
                contigs=len(renamed),
            )
    usable = [w for w in windows if w.contig in in_genotypes and w.contig in in_reference]
    beyond = [w for w in usable if w.end > reference_lengths[in_reference[w.contig]]]
    if beyond:
        problems.error(
            "window beyond contig",
            f"{len(beyond)} of {len(windows)} windows end beyond their contig of the reference: "
            f"{named(w.name for w in beyond)}. Is it another genome build?",
            windows=len(beyond),
        )
    return [window for window in usable if window not in beyond]


def windows_with_records(
    windows: Sequence[Window], recorded: Sequence[str], genotypes: str, problems: Problems
) -> list[Window]:
    """Windows on contigs that have a record; contigs that a header names and no record is on go to ``problems``."""
    have = {canonical(name) for name in recorded}
    empty = list(dict.fromkeys(w.contig for w in windows if canonical(w.contig) not in have))
    usable = [window for window in windows if window.contig not in empty]
    if empty:
        n_lost = len(windows) - len(usable)
        words = no_record_at_all(empty, n_lost, len(windows), genotypes)
        problems.error("contig without records", words, windows=n_lost, contigs=len(empty))
    return usable


def _spellings(wanted: Sequence[str], present: Sequence[str]) -> dict[str, str]:
    """How each wanted contig is spelled among those present: as it is, else under another usual name."""
    usual = {canonical(name): name for name in present}
    names = {contig: contig if contig in present else usual.get(canonical(contig)) for contig in wanted}
    return {contig: name for contig, name in names.items() if name is not None}
