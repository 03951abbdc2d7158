"""Roles of the columns of the participants table: confounds, strata, and those that nothing uses.

Which columns are confounds goes by name; a column of the same content under another name is used for nothing, and
the user must be able to see that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from genebrain.common.table_files import MISSING

STRATA = ("site", "ancestry")
"""Columns within which scans are exchanged unless others are named."""

CONFOUNDS = ("site", "ancestry", "sex", "age", "mean_fd")
STRUCTURE = ("participant_id", "genotype_id", "family_id", "genome_id", "family", "genome", "own_split", "session")
SHOWN = 12
SYNONYMS = {
    "gender": "sex", "scanner": "site", "scanner_id": "site", "center": "site", "centre": "site", "age_at_scan": "age",
    "age_years": "age", "population": "ancestry", "superpopulation": "ancestry", "fd_mean": "mean_fd",
    "framewise_displacement": "mean_fd",
}  # fmt: skip
"""Common names of columns that are read under another one."""


def confound_columns(table: pd.DataFrame, named: Sequence[str] | None = None) -> list[str]:
    """Columns that comparisons take as confounds: those that ``confounds:`` of ``cohort.yaml`` names, else those of
    :data:`CONFOUNDS`, and components ``PC1``, ``PC2``, ...
    """
    components = [str(column) for column in table.columns if re.fullmatch(r"PC\d+", str(column))]
    wanted = (*CONFOUNDS, *components) if named is None else named
    return [column for column in wanted if column in table.columns]


def strata_columns(table: pd.DataFrame, named: Sequence[str] | None = None) -> list[str]:
    """Columns that could tell people apart without genes: those of ``strata:`` in ``cohort.yaml``, else :data:`STRATA`;
    of them those that vary.
    """
    wanted = STRATA if named is None else named
    return [column for column in wanted if column in table.columns and table[column].nunique() > 1]


def column_roles(table: pd.DataFrame, strata: Sequence[str], named: Sequence[str] | None = None) -> dict[str, Any]:
    """Names of columns under ``confounds``, ``strata`` and ``unused``; what identifies people is in none.

    ``missing`` has the number of people without a value, of the columns that are used and where there are any;
    ``one_value`` the used columns in which everybody has the same: they tell nobody apart.
    """
    confounds = confound_columns(table, named)
    used = {*confounds, *strata, *STRUCTURE}
    if "own_split" in table.columns:  # under the user's name for it
        used |= {column for column in table.columns if table[column].equals(table["own_split"])}
    unused = [str(column) for column in table.columns if column not in used]
    missing = {
        column: n
        for column in dict.fromkeys((*confounds, *strata))
        if (n := int((table[column].isna() | table[column].isin(["missing", *MISSING])).sum()))
    }
    one_value = [column for column in dict.fromkeys((*confounds, *strata)) if table[column].nunique(dropna=False) == 1]
    return {
        "confounds": confounds, "strata": list(strata), "unused": unused, "missing": missing, "one_value": one_value
    }  # fmt: skip


def roles_in_words(roles: dict[str, Any]) -> str:
    """One line: which columns are used for what, and how many values of each are missing."""

    def names(role: str) -> str:
        shown = [f"{name}{_about(name, roles)}" for name in roles[role][:SHOWN]]
        more = f" and {len(roles[role]) - SHOWN} more" if len(roles[role]) > SHOWN else ""
        return (", ".join(shown) or "none") + more

    text = (
        f"columns taken as confounds: {names('confounds')}; as strata: {names('strata')}; not used: {names('unused')}"
    )
    taken = {*roles["confounds"], *roles["strata"]}
    meant = {
        column: usual for column in roles["unused"] if (usual := SYNONYMS.get(column.lower())) not in (None, *taken)
    }
    hints = ", ".join(f"{usual}: {column}" for column, usual in meant.items())
    return f"{text}. `columns: {{{hints}}}` in cohort.yaml would use them" if hints else text


def _about(name: str, roles: dict[str, Any]) -> str:
    if n := roles.get("missing", {}).get(name):
        return f" ({n:,} unknown)"
    return " (everybody has the same)" if name in roles.get("one_value", ()) else ""
