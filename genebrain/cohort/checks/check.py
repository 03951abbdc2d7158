"""Check of a whole cohort: everything that is wrong with it, told at once, before any hour is spent.

Reads tables and headers in full, genotypes and scans in part (see ``genotype_checks`` and ``scan_checks``),
and tries the split. Prints counts and at most five ids of a kind. Decides nothing: the caller turns errors
into an exit code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association

from genebrain.cohort.checks.genotypes import GenotypeFindings, check_genotypes
from genebrain.cohort.checks.scans import check_scans
from genebrain.cohort.column_roles import column_roles, roles_in_words, strata_columns
from genebrain.cohort.join import Assembly, assemble
from genebrain.cohort.participants import Cohort, cohort_of
from genebrain.cohort.relatedness.kinship import SECOND_DEGREE
from genebrain.cohort.splits.splits import NO_VALIDATION, PARTS, make_split
from genebrain.cohort.tables.problems import Problems, named
from genebrain.cohort.tables.vectors import told_vectors
from genebrain.common.types import UserError
from genebrain.genetics.haplotypes.told import told_windows

USED = ("family_id", "genome_id", "site", "ancestry", "sex", "age", "mean_fd")
WANTED = ("family_id", "site", "ancestry", "sex", "age", "mean_fd")
OWN = ("participant_id", "genotype_id", "family", "genome", "own_split", "split")

STRONG_ASSOCIATION = 0.2
STEPS = {
    "listed": "listed in the participants table",
    "genotyped": "with genotypes",
    "scanned": "with a scan",
    "both": "with both",
    "after_filters": "after filters",
}


@dataclass(frozen=True)
class CheckResult:
    """What was found: all ``problems``, the ``funnel`` of people (counts), and both as ``text`` to print."""

    problems: Problems
    funnel: dict[str, Any]
    text: str

    @property
    def ok(self) -> bool:
        """True when nothing forbids a run; there may still be warnings."""
        return not self.problems.errors


def check_cohort(
    path: Path | str,
    *,
    most_scans: int | None = 50,
    most_records: int = 20_000,
    unphased: str = "error",
    needs_time_step: bool = False,
    progress: bool = False,
    vectors: Mapping[str, Path] | None = None,
    **split: Any,
) -> CheckResult:
    """Check the cohort of ``path``.

    Parameters
    ----------
    path : Path or str
        ``cohort.yaml`` or its folder.
    most_scans : int or None
        Scans that are read to the end; None: all.
    most_records : int
        Variant records that are compared with the reference, spread over the windows.
    unphased : str
        Policy for unphased heterozygous calls that the run will use; with ``error`` they are an error here.
    needs_time_step : bool
        Whether the brain side of the run needs the time step of every scan.
    vectors : mapping, optional
        Files of vectors (``gene_vectors``, ``brain_vectors``) that are used instead of what ``cohort.yaml`` names.
    split
        Arguments of :func:`~genebrain.cohort.splits.splits.make_split`, to try the split that will be used.

    Raises
    ------
    UserError
        Only when there is no readable ``cohort.yaml``; everything else is in the result.
    """
    parts = assemble(Path(path), vectors)
    problems, files, funnel = parts.problems, parts.description.files, dict(parts.funnel)
    genotypes = None
    if {"genotypes", "reference", "windows"} <= files.keys() and parts.samples is not None:
        genotypes = check_genotypes(
            parts.description.genotypes or files["genotypes"],
            files["reference"],
            files["windows"],
            problems,
            people=None if parts.table is None else list(parts.table["genotype_id"]),
            most=most_records,
            unphased=unphased,
            progress=progress,
        )
        funnel["records_looked_at"] = genotypes.records
        funnel["genotypes"] = genotypes.windows
    scans = parts.person_scans if parts.person_scans is not None else parts.scans
    if scans is not None and "scans" in files:
        funnel["scans_looked_at"] = check_scans(
            scans,
            problems,
            most=most_scans,
            needs_time_step=needs_time_step,
            centres=files.get("parcel_coordinates"),
            progress=progress,
        )
    if parts.table is not None and parts.description.complete:
        cohort = cohort_of(parts)
        _check_confounding(cohort, problems)
        _check_relatives(cohort, problems)
        if genotypes is not None:
            _check_duplicates(cohort, genotypes, problems)
        try:
            audit = make_split(cohort, **split).audit
            funnel["split"] = audit["sizes"]
            if NO_VALIDATION in audit["how"]:
                words = (
                    f"`split:` names no validation people: {audit['sizes']['validation']} of its train people are taken"
                )
                problems.warning("no validation people", f"{words} (they help to fit the closed form all the same)")
        except UserError as error:
            problems.error("no split", str(error), people=len(cohort))
    return CheckResult(problems, funnel, _text(parts, funnel))


def _check_confounding(cohort: Cohort, problems: Problems) -> None:
    """Warn when site and ancestry go together: then either alone lets a model match people."""
    ancestry = next((column for column in ("ancestry", "PC1") if column in cohort.table.columns), None)
    if "site" not in cohort.table.columns or ancestry is None:
        return
    table = pd.crosstab(np.array(cohort.strata(["site"])), np.array(cohort.strata([ancestry]))).to_numpy()
    if min(table.shape) < 2:
        return
    strength = float(association(table, method="cramer"))
    p = float(chi2_contingency(table, correction=False).pvalue)
    if strength >= STRONG_ASSOCIATION and p < 0.01:
        problems.warning(
            "site and ancestry",
            f"site and {ancestry} go together (Cramer's V {strength:.2f}): a model that reads either can match people "
            f"without any biology. Stratify nulls and retrieval by site and {ancestry}",
            cramers_v=strength,
        )


def _check_relatives(cohort: Cohort, problems: Problems) -> None:
    """Say how many relatives there are, and doubt a family that swallows the cohort."""
    sizes = np.bincount(cohort.table["family"])
    related = int(sizes[sizes > 1].sum())
    if related:
        problems.warning(
            "relatives",
            f"{related} of {len(cohort)} people have relatives in the cohort ({int((sizes > 1).sum())} families, "
            f"largest {int(sizes.max())}; kinship of {SECOND_DEGREE} or more); families stay on one side of the split",
            people=related,
            largest=int(sizes.max()),
        )
    if sizes.max() > max(20, 0.1 * len(cohort)):
        problems.warning(
            "giant family",
            f"one family holds {int(sizes.max())} of {len(cohort)} people: look at the source of relatedness "
            f"({', '.join(cohort.relatedness)}); admixture or too few SNPs chain strangers together",
            largest=int(sizes.max()),
        )


def _check_duplicates(cohort: Cohort, genotypes: GenotypeFindings, problems: Problems) -> None:
    """Warn about people with equal calls everywhere who are not known to share a genome."""
    genome, family = cohort.table["genome"].to_numpy(), cohort.table["family"].to_numpy()
    unknown = [list(group) for group in genotypes.identical if len(set(genome[list(group)])) > 1]
    if unknown:
        ids = cohort.table["participant_id"].to_numpy()
        apart = sum(len(set(family[group])) > 1 for group in unknown)
        problems.warning(
            "unknown duplicates",
            f"{len(unknown)} groups of people have the same genotype at every site looked at and are not known as one "
            f"genome: {named('='.join(ids[group]) for group in unknown)}. Identical twins, or one sample twice? "
            f"{apart} of them are not even known as relatives and may be split apart. Give a `genome_id` column or a "
            "source of relatedness",
            groups=len(unknown),
            apart=apart,
        )


def _text(parts: Assembly, funnel: dict[str, Any]) -> str:
    """The page that ``genebrain check`` prints."""
    lines = [f"cohort {parts.description.name}", ""]
    if "listed" in funnel:
        widest = max(len(words) for words in STEPS.values())
        lines += [f"  {words:<{widest}}  {funnel[step]:>8,}" for step, words in STEPS.items()]
        if "split" in funnel:
            lines += [f"    {part:<{widest - 2}}  {funnel['split'][part]:>8,}" for part in PARTS]
        lines += [f"  {'scans of these people':<{widest}}  {funnel['scans']:>8,}", ""]
        lines += [f"  left out: {count:,} {reason}" for reason, count in funnel["dropped"].items() if count]
    if parts.table is not None:
        lines.append(f"  {told_columns(parts.table, [*(parts.own.confounds or ()), *(parts.own.strata or ())])}")
    if "records_looked_at" in funnel:
        lines.append(f"  looked at: {funnel['records_looked_at']:,} variant records")
    if windows := funnel.get("genotypes"):
        lines.append(f"  {told_windows(windows)}")
    lines += [f"  {words}" for words in told_vectors(parts.description.files)]
    if "scans_looked_at" in funnel:
        looked = funnel["scans_looked_at"]
        lines.append(f"  looked at: {looked['headers']:,} scan headers, {looked['values']:,} scans to the end")
    if parts.table is not None:
        strata = strata_columns(parts.table, parts.own.strata)
        lines.append(f"  {roles_in_words(column_roles(parts.table, strata, parts.own.confounds))}")
    for title, problems in (("errors", parts.problems.errors), ("warnings", parts.problems.warnings)):
        if problems:
            lines += [
                "",
                f"{len(problems)} {title if len(problems) > 1 else title[:-1]}:",
                *(f"  - {problem.message}" for problem in problems),
            ]
    verdict = "nothing forbids a run" if not parts.problems.errors else "mend the errors first"
    return "\n".join([*lines, "", verdict])


def told_columns(table: pd.DataFrame, named_too: Sequence[str] = ()) -> str:
    """One line: which columns of the people's table are used (with counts of missing values), absent, and not used.

    ``named_too`` are confounds and strata that ``cohort.yaml`` names.
    """
    own = [name for name in dict.fromkeys(named_too) if name not in USED]
    columns = [str(column) for column in table.columns]
    components = [column for column in columns if re.fullmatch(r"PC\d+", column)]
    used = []
    known = [name for name in (*USED, *own) if name in columns]
    for column in dict.fromkeys((*known, *components)):
        values = table[column]
        unknown = int((values.isna() | values.isin(["missing", ""])).sum())
        used.append(f"{column} ({unknown} unknown)" if unknown else column)
    absent = [name for name in WANTED if name not in columns]
    ignored = [column for column in columns if column not in (*USED, *own, *OWN, *components)]
    parts = [f"known of people: {', '.join(used) or 'nothing'}"]
    parts += [f"not known: {', '.join(absent)}"] if absent else []
    parts += [f"columns that are not used: {named(ignored)}"] if ignored else []
    return "; ".join(parts)
