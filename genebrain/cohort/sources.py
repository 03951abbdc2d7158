"""The two sides of a cohort as lists of names: samples of the genotype file, rows of the scan table.

Reads headers and tables only. Problems are collected, not raised.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from genebrain.cohort.problems import Problems, named
from genebrain.cohort.tables import is_missing, numbers, read_table
from genebrain.types import UserError


def genotype_samples(path: Path, problems: Problems) -> list[str] | None:
    """Sample names in the order of the genotype file; None (and an error) when it cannot be opened."""
    from cyvcf2 import VCF

    try:
        return list(VCF(str(path)).samples)
    except (UserError, OSError, ValueError) as error:
        problems.error("unreadable genotypes", f"genotypes {path.name} cannot be opened: {error}")
        return None


def read_scans(path: Path, problems: Problems) -> pd.DataFrame | None:
    """Scan table with absolute ``path``, float ``tr`` in seconds (NaN: not given) and text ``session``.

    Rows that repeat a path are an error; the first one stays.
    """
    table = read_table(path, ["participant_id", "path"], problems)
    if table is None:
        return None
    if n_empty := int(((table["path"] == "") | (table["participant_id"] == "")).sum()):
        problems.error(
            "empty scan row", f"{path.name}: {n_empty} rows without participant_id or path", rows=n_empty
        )
        table = table[(table["path"] != "") & (table["participant_id"] != "")]
    for column in ("path", "mask", "confounds"):
        if column in table.columns:
            given = ~is_missing(table[column])
            table[column] = [
                str(path.parent / text) if ok else "" for text, ok in zip(table[column], given, strict=True)
            ]
    for column in ("tr", "mean_fd"):
        if column in table.columns:
            table[column] = numbers(table[column], f"{path.name}, column `{column}`", problems)
    if "tr" not in table.columns:
        table["tr"] = np.nan
    if "session" not in table.columns:
        table["session"] = ""
    repeated = table["path"].duplicated()
    if repeated.any():
        people = table.loc[repeated, "participant_id"].unique()
        problems.error(
            "duplicate scan",
            f"{path.name}: {int(repeated.sum())} rows repeat the file of an earlier row (participants "
            f"{named(people)}); "
            "one scan cannot count twice",
            rows=int(repeated.sum()),
        )
        table = table[~repeated]
    absent = [row for row, file in enumerate(table["path"]) if not Path(file).exists()]
    if absent:
        files = named(Path(table["path"].iloc[row]).name for row in absent)
        problems.error(
            "missing scans",
            f"{path.name}: {len(absent)} of {len(table)} scan files do not exist: {files}; restore them or "
            f"take the rows out",
            missing=len(absent),
            scans=len(table),
        )
    return table.reset_index(drop=True)
