"""The three sources of a cohort: the participants table, the genotype file's samples, the scan table.

Reads headers and tables only. Problems are collected, not raised.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd

from genebrain.brain.store.scan_table import examine_scan_table
from genebrain.cohort.tables.files import numbers, read_table
from genebrain.cohort.tables.own_columns import LABELS, NUMERIC, OwnColumns
from genebrain.cohort.tables.problems import Problems, named
from genebrain.cohort.tables.visits import fill_scan_motion
from genebrain.common.table_files import is_missing
from genebrain.common.types import UserError
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.haplotypes.resolve import open_genotypes

CODES = (-9, -99, -999, -9999, 999, 9999, 99999)
"""Numbers that are written where nothing is known."""


def read_participants(path: Path, problems: Problems, own: OwnColumns | None = None) -> pd.DataFrame | None:
    """Participants table with ``genotype_id`` filled in, numbers as float and ``missing`` for unknown labels.

    Rows that repeat a participant or a genotype are an error; the first one stays. ``own`` gives columns the names
    that are read.
    """
    own = own or OwnColumns()
    needed = own.columns.get("participant_id", "participant_id")
    table = read_table(path, [needed], problems)
    if table is None:
        return None
    table = own.renamed(table, path.name, problems)
    if "genotype_id" not in table.columns:
        table["genotype_id"] = table["participant_id"]
    table["genotype_id"] = table["genotype_id"].mask(is_missing(table["genotype_id"]), table["participant_id"])
    if n_empty := int((table["participant_id"] == "").sum()):
        problems.error("empty id", f"{path.name}: {n_empty} rows without a participant_id", rows=n_empty)
    for column in ("participant_id", "genotype_id"):
        repeated = table[column].duplicated() & (table[column] != "")
        if repeated.any():
            problems.error(
                f"duplicate {column}",
                f"{path.name}: {int(repeated.sum())} rows repeat the {column} of an earlier row: "
                f"{named(table.loc[repeated, column].unique())}; one row per person, visits belong in the table",
                rows=int(repeated.sum()),
            )
            table = table[~repeated]
    if reserved := [column for column in ("family", "genome", "own_split") if column in table.columns]:
        words = f"{path.name}: rename {named(reserved)} (family_id and genome_id are the columns that are read)"
        problems.error("reserved column", words)
    table = table[table["participant_id"] != ""].reset_index(drop=True)
    for column in table.columns:
        if NUMERIC.fullmatch(column):
            table[column] = numbers(table[column], f"{path.name}, column `{column}`", problems)
            _tell_codes(table[column], path.name, problems)
        elif column in LABELS:
            table[column] = table[column].mask(is_missing(table[column]), "missing")
            _tell_alike(table[column], path.name, problems)
    return own.typed(table)


def _tell_alike(column: pd.Series[Any], where: str, problems: Problems) -> None:
    """Labels that are two for the program and one for most people who write them: A and a, 1 and 1.0."""
    groups: dict[str, list[str]] = {}
    for label in sorted(set(column)):
        plain = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
        groups.setdefault(re.sub(r"^0+(?=\d)|(?<=\d)\.0+$", "", plain), []).append(label)
    if alike := [" and ".join(labels) for labels in groups.values() if len(labels) > 1]:
        words = f"{where}, column `{column.name}`: labels that differ hardly are taken as different: {named(alike)}"
        problems.warning("labels alike", f"{words}; write them alike if they are one", labels=len(alike))


def _tell_codes(column: pd.Series[Any], where: str, problems: Problems) -> None:
    """Numbers that stand for "not known" in many tables, and motion below zero, which nobody has."""
    where = f"{where}, column `{column.name}`"
    below = (column < 0) & (column.name == "mean_fd")
    if below.any():
        words = f"{where}: {int(below.sum())} cells are below 0: {named(sorted({f'{v:g}' for v in column[below]}))}"
        problems.error("impossible number", f"{words}; leave them empty if they stand for not known")
    elif (codes := column.isin(CODES)).any():
        words = f"{where}: {int(codes.sum())} cells are {named(sorted({f'{v:g}' for v in column[codes]}))}"
        advice = "if they stand for not known, leave them empty: as numbers they would decide"
        problems.warning("codes", f"{words}; {advice}", cells=int(codes.sum()))


def genotype_samples(path: Path | GenotypeSource, problems: Problems) -> list[str] | None:
    """Sample names in the order of the genotype file; None (and an error) when it cannot be opened."""
    try:
        return open_genotypes(path).samples
    except UserError as error:
        problems.error("unreadable genotypes", str(error))
        return None


def read_scans(path: Path, problems: Problems, choose: Any = None) -> pd.DataFrame | None:
    """Scan table, or the scans of a derivatives folder; see :func:`genebrain.brain.store.scan_table.read_scan_table`.

    Rows that repeat a path are an error; the first one stays. ``choose`` says which files of a folder to take, where it
    has several versions of a recording. ``mean_fd`` is filled from the confounds tables where it is not given.
    """
    try:
        table, found = examine_scan_table(path, choose=choose)
    except UserError as error:
        problems.error("scan folder", str(error))
        return None
    for problem in found:
        problems.error(problem.kind, f"{path.name}: {problem.message}", **problem.counts)
    if table is None:
        return None
    _tell_outside(table, path, problems)
    return fill_scan_motion(_present(table, problems) if path.is_dir() else table, problems)


def _tell_outside(table: pd.DataFrame, path: Path, problems: Problems) -> None:
    """A warning about paths that climb out of the folder of the table: it may be somebody else's."""
    home = Path(os.path.abspath(path)).parent
    climbing = [p for p in table["path"] if ".." in p.parts and home not in Path(os.path.abspath(p)).parents]
    if climbing:
        words = f"{path.name}: {len(climbing)} of {len(table)} scans lie outside its folder, by paths with `..`"
        problems.warning("outside", f"{words} ({named([p.name for p in climbing])}): are they meant?")


def _present(table: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """The table as it is; a warning about scans of a folder that are no files, such as links that point nowhere."""
    if absent := [path.name for path in table["path"] if not path.is_file()]:
        problems.warning(
            "missing path",
            f"{len(absent)} of {len(table)} scans of the folder are links that point nowhere, or no files: "
            f"{named(absent)}; a run leaves out people without a usable scan, and counts them",
            missing=len(absent),
            given=len(table),
        )
    return table
