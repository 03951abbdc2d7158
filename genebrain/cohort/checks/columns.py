"""What the participants table says about people, and what it does not: columns that are used, missing and ignored."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from genebrain.cohort.tables.problems import named

USED = ("family_id", "genome_id", "site", "ancestry", "sex", "age", "mean_fd")
WANTED = ("family_id", "site", "ancestry", "sex", "age", "mean_fd")
OWN = ("participant_id", "genotype_id", "family", "genome", "own_split", "split")


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
