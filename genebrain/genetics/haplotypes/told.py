"""Notes on the genotypes behind a result, in a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genebrain.genetics.genome.gene_windows import SHOWN
from genebrain.genetics.genotypes.record_filter import FILTERED, LOW_R2

RARE = "rare_alleles_masked"
INCOMPLETE = ("missing_genotypes_full", "missing_genotypes_partial", "masked_subjects", "mixed_ploidy_subjects")
"""Genotypes that are not known, windows of people that are not read for them, and changes between one copy and two."""


def genotype_funnel(report: Mapping[str, Any]) -> dict[str, Any]:
    """Windows and records that were read, and what of them was not used, under the key ``genotypes``.

    Parameters
    ----------
    report : mapping
        Of a :class:`~genebrain.genetics.chunks.chunk_set.ChunkSet`.
    """
    counts, windows = report["counts"], report["per_window"]
    still = [window["name"] for window in windows if not window.get("varying_records", window["carried_records"])]
    left_out = ("repeated_records", RARE, "symbolic_carried_records", "symbolic_carriers", FILTERED, LOW_R2)
    names = ("records", "used_records", *left_out, *INCOMPLETE)
    funnel = {
        "people": report["n_subjects"],
        "windows": len(windows),
        "windows_that_vary": len(windows) - len(still),
        "windows_without_variation": still,
        "people_in_several_phase_sets": report.get("subjects_in_several_phase_sets", 0),
        "reference_mismatches": len(report["reference_mismatches"]),
        **{name: counts[name] for name in names if name in counts},
    }
    return {"genotypes": funnel}


def told_windows(funnel: Mapping[str, Any]) -> str:
    """``k of n windows vary among these people``, and the names of those that do not."""
    still = funnel["windows_without_variation"]
    more = f" and {len(still) - SHOWN} more" if len(still) > SHOWN else ""
    names = f"; everybody has the same sequence in {', '.join(still[:SHOWN])}{more}" if still else ""
    return (
        f"genotypes: {funnel['windows_that_vary']} of {funnel['windows']} windows vary among these "
        f"{funnel['people']:,} people{names}"
    )


def told_genotypes(report: Mapping[str, Any], below: float | None = None) -> list[str]:
    """Windows that vary, and every kind of record that is not used as written.

    ``below`` is the frequency under which alleles were masked as rare, where they were.
    """
    funnel = genotype_funnel(report)["genotypes"]
    lines = [told_windows(funnel)]
    if rare := funnel.get(RARE):
        under = "" if below is None else f" (below {below:g})"
        lines.append(
            f"genotypes: {rare:,} kinds of rare alleles{under} are written as the major one (genetics.rare_below): "
            "they are not counted as variation"
        )
    if funnel.get("symbolic_carriers"):
        lines.append(told_symbolic(funnel["symbolic_carried_records"], funnel["symbolic_carriers"]))
    if people := funnel["people_in_several_phase_sets"]:
        names = [w["name"] for w in report["per_window"] if w.get("subjects_in_several_phase_sets")]
        lines.append(told_phase_sets(people, funnel["people"], len(names), funnel["windows"]))
    if wrong := funnel["reference_mismatches"]:
        lines.append(f"genotypes: REF differs from the reference at {wrong:,} of {funnel['used_records']:,} records")
    if again := funnel.get("repeated_records"):
        lines.append(told_repeated(again))
    return [*lines, *told_incomplete(funnel), *told_left_out(funnel)]


def told_incomplete(funnel: Mapping[str, int]) -> list[str]:
    """Genotypes that are not known, or known of one copy only."""
    full, partial, masked, mixed = (funnel.get(name, 0) for name in INCOMPLETE)
    windows, lines = f"{funnel['people'] * funnel['windows']:,} windows of people", list[str]()
    if full or partial:
        lines.append(
            f"genotypes: {full:,} are missing and {partial:,} half missing: what is not known is read as the reference"
        )
    if masked:
        lines.append(
            f"genotypes: of {masked:,} of {windows} nothing is read: more of their genotypes are missing than "
            "genetics.missing_threshold allows"
        )
    if mixed:
        lines.append(
            f"genotypes: in {mixed:,} of {windows} some genotypes have one allele and others two: the second copy has "
            "the reference where there is one"
        )
    return lines


def told_symbolic(records: int, carriers: int) -> str:
    """Records whose change has no letters."""
    return (
        f"genotypes: {records:,} records with {carriers:,} carriers dropped: their alleles (<DEL>, breakends) have no "
        "letters, so these haplotypes have the reference there"
    )


def told_phase_sets(people: int, n_people: int, windows: int, n_windows: int) -> str:
    """Genotypes that were phased piece by piece."""
    return (
        f"genotypes: FORMAT/PS has more than one phase set within a window for {people:,} of {n_people:,} people "
        f"({windows:,} of {n_windows:,} windows): across sets the order of the haplotypes is unknown. Sums over both "
        "haplotypes hardly change; for the rest phase the file statistically (SHAPEIT, Beagle, Eagle)"
    )


def told_repeated(records: int) -> str:
    """Records that write an allele again."""
    return (
        f"genotypes: {records:,} records repeat an allele of another record (same place, REF and ALT): a haplotype "
        "that carries it in any of them has it. Join them (bcftools norm -m +any, or -d exact) if they are copies"
    )


def told_left_out(counts: Mapping[str, int]) -> list[str]:
    """Records that the filters of ``cohort.yaml`` left out."""
    words = {FILTERED: "by genotype_filter", LOW_R2: "below min_r2"}
    parts = [f"{counts[name]:,} {how}" for name, how in words.items() if counts.get(name)]
    return [f"genotypes: records of the windows left out: {', '.join(parts)}"] if parts else []
