"""Files of vectors as sources of a cohort: whose genome and scan each row is, and whether the numbers can be used.

They stand in the place of a genotype file (one row per person) and of a scan table (one or several rows per person).
Problems are collected, not raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from genebrain.cohort.tables.problems import Problems, named
from genebrain.common.types import UserError
from genebrain.common.vectors import VectorTable, read_vectors, windows_of

WORDS = {"gene_vectors": "vectors of genomes", "brain_vectors": "vectors of scans"}


def gene_vector_ids(path: Path, problems: Problems) -> list[str] | None:
    """Ids of a file with one row per person; None (and an error) when it cannot be used."""
    table = _read(path, problems)
    if table is None:
        return None
    check_gene_vectors(table, problems)
    return list(dict.fromkeys(table.ids))


def check_gene_vectors(table: VectorTable, problems: Problems) -> None:
    """What is wrong with vectors of genomes.

    A window of which a person has no number at all is missing, as windows with too few genotypes are; any other NaN is
    an error, and so is a second row of a person.
    """
    try:
        windows = windows_of(table.columns, table.path.name)
    except UserError as error:
        problems.error("window names", str(error))
        return
    missing = np.isnan(table.values)
    for columns in windows.columns:
        whole = missing[:, columns].all(axis=1)
        missing[np.ix_(whole, columns)] = False
    _report_numbers(table, missing, problems)
    repeated = pd.Series(table.ids)[pd.Series(table.ids).duplicated()]
    if len(repeated):
        problems.error(
            "duplicate gene vector",
            f"{table.path.name}: {len(repeated)} of {len(table)} rows repeat the id of an earlier row: "
            f"{named(repeated.unique())}; one row per person is wanted",
            rows=len(repeated),
        )


def vector_scans(path: Path, problems: Problems) -> pd.DataFrame | None:
    """Scan table of a file with one or several rows per person; None (and an error) when it cannot be used.

    Returns
    -------
    DataFrame or None
        As that of a scan table, with the ``row`` of each scan in the file.
    """
    table = _read(path, problems)
    if table is None:
        return None
    check_scan_vectors(table, problems)
    scans = pd.DataFrame({"participant_id": table.ids, "row": np.arange(len(table))})
    scans["session"] = (scans.groupby("participant_id").cumcount() + 1).astype(str)
    return scans.assign(path=pd.Series([path] * len(scans), dtype=object), tr=np.nan, mask=None, confounds=None)


def check_scan_vectors(table: VectorTable, problems: Problems) -> None:
    """What is wrong with vectors of scans: numbers that are missing, the same row of a person twice."""
    _report_numbers(table, np.isnan(table.values), problems)
    keys = [row.tobytes() for row in table.values]
    twice = pd.DataFrame({"id": table.ids, "key": keys}).duplicated()
    if twice.any():
        problems.error(
            "duplicate brain vector",
            f"{table.path.name}: {int(twice.sum())} of {len(table)} rows repeat id and numbers of an earlier row: "
            f"{named(pd.Series(table.ids)[twice].unique())}; one scan cannot count twice",
            rows=int(twice.sum()),
        )


def people_of_ids(ids: list[str], problems: Problems) -> pd.DataFrame:
    """A participants table of people of whom nothing is known but their id."""
    problems.warning(
        "no participants table",
        "there is no participants table: families, site, ancestry, age, sex and motion are not known, so nothing says "
        "whether they explain what is found. Give one with participants= (or `participants:` in cohort.yaml)",
    )
    return pd.DataFrame({"participant_id": ids, "genotype_id": ids}, dtype=object)


def told_vectors(files: Mapping[str, Path]) -> list[str]:
    """What the files of vectors hold, a line each; nothing of files that cannot be read."""
    lines = []
    for key, words in WORDS.items():
        if key not in files:
            continue
        try:
            table = read_vectors(files[key])
            windows = windows_of(table.columns, files[key].name) if key == "gene_vectors" else None
        except UserError:
            continue
        people, line = len(set(table.ids)), f"{words}: {len(table):,} rows x {len(table.columns):,} columns"
        line += f" of {people:,} people, averaged per person" if people < len(table) else ""
        line += f", in {len(windows.names):,} windows" if windows is not None and len(windows.names) > 1 else ""
        still = _still(table)
        line += f"; {len(still)} columns are constant and say nothing: {named(still)}" if still else ""
        lines.append(line)
    return lines


def _read(path: Path, problems: Problems) -> VectorTable | None:
    try:
        return read_vectors(path)
    except UserError as error:
        problems.error("unreadable vectors", str(error))
        return None


def _still(table: VectorTable) -> list[str]:
    """Columns that are the same in all rows."""
    values = table.values
    same = np.isnan(values) | (values == values[:1])
    first_known = ~np.isnan(values[0])
    return [table.columns[i] for i in np.flatnonzero(same.all(axis=0) & first_known)]


def _report_numbers(table: VectorTable, missing: np.ndarray, problems: Problems) -> None:
    if missing.any():
        columns = [table.columns[i] for i in np.flatnonzero(missing.any(axis=0))]
        rows = int(missing.any(axis=1).sum())
        problems.error(
            "missing numbers",
            f"{table.path.name}: {int(missing.sum()):,} numbers are missing (NaN) in {len(columns)} of "
            f"{len(table.columns)} columns ({named(columns)}), {rows} of {len(table)} rows: fill them, or leave these "
            "rows or columns out",
            cells=int(missing.sum()),
            columns=len(columns),
        )
    still = _still(table)
    if len(still) == len(table.columns) and len(table) > 1:
        problems.error(
            "constant vectors",
            f"{table.path.name}: all {len(still)} columns are the same in all {len(table)} rows",
            columns=len(still),
        )
    elif still:
        problems.warning(
            "constant columns",
            f"{table.path.name}: {len(still)} of {len(table.columns)} columns are constant and say nothing: "
            f"{named(still)}",
            columns=len(still),
        )
