"""Roles of the columns of the participants table: confounds, strata, and those that nothing uses.

Which columns are confounds goes by name; a column of the same content under another name is used for nothing, and
the user must be able to see that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

STRATA = ("site", "ancestry")
"""Columns within which scans are exchanged unless others are named."""

CONFOUNDS = ("site", "ancestry", "sex", "age", "mean_fd")
STRUCTURE = ("participant_id", "genotype_id", "family_id", "genome_id", "family", "genome", "own_split", "session")
SHOWN = 12


def confound_columns(table: pd.DataFrame) -> list[str]:
    """Columns that comparisons take as confounds: those of :data:`CONFOUNDS`, and components ``PC1``, ``PC2``, ..."""
    components = [str(column) for column in table.columns if re.fullmatch(r"PC\d+", str(column))]
    return [column for column in (*CONFOUNDS, *components) if column in table.columns]


def column_roles(table: pd.DataFrame, strata: Sequence[str]) -> dict[str, list[str]]:
    """Names of columns under ``confounds``, ``strata`` and ``unused``; what identifies people is in none."""
    confounds = confound_columns(table)
    used = {*confounds, *strata, *STRUCTURE}
    unused = [str(column) for column in table.columns if column not in used]
    return {"confounds": confounds, "strata": list(strata), "unused": unused}


def roles_in_words(roles: dict[str, list[str]]) -> str:
    """One line: which columns are used for what."""

    def names(role: str) -> str:
        more = f" and {len(roles[role]) - SHOWN} more" if len(roles[role]) > SHOWN else ""
        return (", ".join(roles[role][:SHOWN]) or "none") + more

    return (
        f"columns taken as confounds: {names('confounds')}; as strata: {names('strata')}; not used: {names('unused')}"
    )
