"""Families and shared genomes of a cohort, from every source the user gives.

Sources: a ``family_id`` (and ``genome_id``) column, a kinship table (``kinship:``; PLINK 2 or KING ``.kin0``,
UK Biobank ``rel.dat``), genome-wide genotypes (``genomewide:``). All that are given are joined: two people
are of one family when any source says so, because a missed relative leaks from training into test and a false
one costs little. Gene windows are never used for this: they hold far too few independent SNPs.

Kinship from genotypes grows with the square of the people (1,500 people and 10,000 SNPs: 4 s on one core, at every
load): for tens of thousands make the table once with PLINK 2 and give it as ``kinship:``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from genebrain.cohort.relatedness import genomewide
from genebrain.cohort.relatedness.kinship import SAME_GENOME, SECOND_DEGREE, Pairs, families, related_pairs
from genebrain.cohort.tables.files import numbers
from genebrain.cohort.tables.names import match_names
from genebrain.cohort.tables.problems import Problems, did_you_mean, named
from genebrain.common.table_files import BLANKS, is_missing, read_table, separator_of
from genebrain.common.types import IntArray, UserError

MINIMUM_SNPS = 1000
COLUMNS = {"first": ("IID1", "ID1"), "second": ("IID2", "ID2"), "kinship": ("KINSHIP", "PHI")}

NOT_KNOWN = ("0", "-9", "-99", "-999", "999", "unknown", "none")
"""Labels that many tables write where no family is known; PLINK writes 0."""


@dataclass(frozen=True)
class Relatives:
    """Family and genome code of each person, int ``[people]``, the kin pairs, and the sources in words."""

    family: IntArray
    genome: IntArray
    pairs: Pairs
    sources: list[str] = field(default_factory=list)


def families_from(table: pd.DataFrame, kinship: Path | None, genome_wide: Path | None, problems: Problems) -> Relatives:
    """Join all sources of relatedness for the people of ``table``.

    Parameters
    ----------
    table : DataFrame
        One row per person with ``participant_id`` and ``genotype_id``; ``family_id`` and ``genome_id`` if the
        user has them (text; an empty cell is a person without relatives).
    kinship, genome_wide : Path or None
        A table of pairs, and a VCF/BCF/PGEN with SNPs from the whole genome.
    problems : Problems
        Receives unreadable sources, identical genomes, and the warning when there is no source at all.
    """
    links: list[Pairs] = []
    sources = []
    for column, value in (("family_id", SECOND_DEGREE), ("genome_id", SAME_GENOME)):
        if column in table.columns:
            links.append(_pairs_of_column(table[column], value))
            counts = table[column].value_counts()
            if codes := [f"{one} ({counts[one]:,} people)" for one in NOT_KNOWN if counts.get(one, 0) > 1]:
                words = f"column `{column}`: everybody with {' or '.join(codes)} is taken as one"
                problems.warning("codes", f"{words}: if it stands for not known, leave these cells empty")
            sources.append(f"column `{column}`")
    if kinship is not None and (pairs := read_kinship(kinship, table, problems)) is not None:
        links.append(pairs)
        sources.append(f"kinship table {kinship.name}")
    if genome_wide is not None and (pairs := pairs_of_genotypes(genome_wide, table, problems)) is not None:
        links.append(pairs)
        sources.append(f"KING-robust on {genome_wide.name}")
    if not sources:
        problems.warning(
            "no relatedness",
            "nothing says who is related: every person is taken as an own family, so relatives may stand on both "
            "sides of the split. Give a `family_id` column, a `kinship:` table (plink2 --make-king-table) or a "
            "`genomewide:` VCF/PGEN; genotypes of gene windows alone cannot tell relatives from strangers",
        )
    related = _joined(links).at_least(SECOND_DEGREE)
    same = related.at_least(SAME_GENOME)
    genome = families(len(table), same.first, same.second)
    if len(same):
        people = table["participant_id"].iloc[same.first] + "=" + table["participant_id"].iloc[same.second].to_numpy()
        problems.warning(
            "identical genomes",
            f"{len(same)} pairs share one genome (identical twins or one person twice): {named(people)}. They count "
            "as one genome in the loss and stay on one side of the split",
            pairs=len(same),
        )
    return Relatives(families(len(table), related.first, related.second), genome, related, sources)


def _joined(links: list[Pairs]) -> Pairs:
    """All pairs of all sources, each once with its largest kinship."""
    if not links:
        return Pairs.empty()
    frame = pd.DataFrame(
        {
            "first": np.concatenate([pairs.first for pairs in links]),
            "second": np.concatenate([pairs.second for pairs in links]),
            "kinship": np.concatenate([pairs.kinship for pairs in links]),
        }
    )
    frame = frame.groupby(["first", "second"], as_index=False, sort=True).agg({"kinship": "max"})
    return Pairs(frame["first"].to_numpy(np.int64), frame["second"].to_numpy(np.int64), frame["kinship"].to_numpy())


def _pairs_of_column(column: pd.Series[str], kinship: float) -> Pairs:
    """A chain of pairs through the people with one label; ``kinship`` stands for what the label claims."""
    labels = column.mask(is_missing(column)).reset_index(drop=True)
    firsts: list[IntArray] = []
    seconds: list[IntArray] = []
    for rows in labels.groupby(labels).indices.values():
        firsts.append(np.sort(rows)[:-1])
        seconds.append(np.sort(rows)[1:])
    if not firsts:
        return Pairs.empty()
    first, second = np.concatenate(firsts).astype(np.int64), np.concatenate(seconds).astype(np.int64)
    return Pairs(first, second, np.full(len(first), kinship))


def read_kinship(path: Path, table: pd.DataFrame, problems: Problems) -> Pairs | None:
    """Pairs of a ``.kin0``-like table whose two people are in ``table``; None (and an error) if it is none.

    Ids may be genotype or participant ids. Pairs with somebody outside the cohort are expected and left out.
    """
    try:
        pairs = read_table(path, separator=separator_of(path) if ".csv" in path.name.lower() else BLANKS)
    except UserError as error:
        problems.error("unreadable kinship", f"the kinship table cannot be read: {error}")
        return None
    by_upper = {str(column).lstrip("#").upper(): column for column in pairs.columns}
    chosen = {role: next((by_upper[n] for n in names if n in by_upper), None) for role, names in COLUMNS.items()}
    absent = [
        f"`{COLUMNS[role][0]}`{did_you_mean(COLUMNS[role][0], by_upper)}" for role, c in chosen.items() if c is None
    ]
    if absent:
        problems.error(
            "kinship columns",
            f"kinship table {path.name} has no column {', '.join(absent)}; columns present: {', '.join(pairs.columns)}",
        )
        return None
    kinship = numbers(pairs[chosen["kinship"]], f"{path.name}, column `{chosen['kinship']}`", problems)
    first_names, second_names = pairs[chosen["first"]], pairs[chosen["second"]]
    everybody = list(pd.unique(pd.concat([first_names, second_names])))
    match = max(
        (match_names(list(table[column]), everybody) for column in ("genotype_id", "participant_id")),
        key=lambda found: found.n_matched,
    )
    if everybody and match.n_matched == 0:
        problems.error(
            "kinship ids",
            f"none of the {len(everybody)} ids of kinship table {path.name} is in the cohort ({named(everybody)})",
            ids=len(everybody),
        )
        return None
    person = {everybody[row]: i for i, row in enumerate(match.rows) if row >= 0}
    a = first_names.map(person).to_numpy(dtype=np.float64)
    b = second_names.map(person).to_numpy(dtype=np.float64)
    keep = ~np.isnan(a) & ~np.isnan(b) & (a != b) & ~np.isnan(kinship)
    a, b = a[keep].astype(np.int64), b[keep].astype(np.int64)
    return Pairs(np.minimum(a, b), np.maximum(a, b), kinship[keep])


def pairs_of_genotypes(path: Path, table: pd.DataFrame, problems: Problems) -> Pairs | None:
    """KING-robust on a genome-wide file for the people of ``table`` in it; None if it cannot serve."""
    try:
        samples, dosage = genomewide.read_dosages(path)
    except UserError as error:
        problems.error("unreadable genomewide", str(error))
        return None
    match = match_names(list(table["genotype_id"]), samples)
    people = np.flatnonzero(match.rows >= 0)
    if len(people) < len(table):
        problems.warning(
            "genomewide people",
            f"{path.name} holds {len(people)} of {len(table)} people; relatives of the others stay unknown",
            present=len(people),
            people=len(table),
        )
    if dosage.shape[1] < MINIMUM_SNPS:
        problems.error(
            "genomewide SNPs",
            f"{path.name} has {dosage.shape[1]} usable SNPs (biallelic, autosomal, common); kinship needs at least "
            f"{MINIMUM_SNPS}, spread over the genome",
            snps=dosage.shape[1],
        )
        return None
    pairs = related_pairs(dosage[match.rows[people]])
    return Pairs(people[pairs.first], people[pairs.second], pairs.kinship)
