"""Columns that the user names in ``cohort.yaml``: other names of known ones, confounds and strata.

``columns: {sex: gender, site: scanner_id}``, ``confounds: [age, handedness]``, ``strata: [site]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from genebrain.cohort.tables.problems import Problems, did_you_mean, named
from genebrain.common.table_files import as_numbers, is_missing

NAMES = (
    "participant_id", "genotype_id", "family_id", "genome_id", "site", "ancestry", "sex", "age", "mean_fd",
)  # fmt: skip
"""What a column of another name may stand for, besides components ``PC1``, ``PC2``..."""
LABELS = ("site", "sex", "ancestry")
NUMERIC = re.compile(r"age|mean_fd|PC\d+")


@dataclass(frozen=True)
class OwnColumns:
    """What ``cohort.yaml`` says of the columns of the participants table.

    Attributes
    ----------
    columns : dict
        Name that is read -> name in the table.
    confounds, strata : tuple of str or None
        None: by their usual names.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    confounds: tuple[str, ...] | None = None
    strata: tuple[str, ...] | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any], problems: Problems) -> OwnColumns:
        """Take the keys from the settings of ``cohort.yaml``; what is wrong with them goes to ``problems``."""
        columns = settings.get("columns") or {}
        if not isinstance(columns, dict) or not all(isinstance(one, str) for pair in columns.items() for one in pair):
            words = f"`columns: {columns}`: write names that are read and names of the table, such as {{sex: gender}}"
            problems.error("columns", words)
            columns = {}
        for name in [name for name in columns if name not in NAMES and not re.fullmatch(r"PC\d+", name)]:
            words = (
                f"`columns:` knows no `{name}`{did_you_mean(name, NAMES)}; it knows {', '.join(NAMES)}, PC1, PC2 ..."
            )
            problems.error("columns", words)
        lists = {key: _names(key, settings.get(key), problems) for key in ("confounds", "strata")}
        return cls(columns, **lists)

    def renamed(self, table: pd.DataFrame, where: str, problems: Problems) -> pd.DataFrame:
        """The table with its columns under the names that are read."""
        present = list(map(str, table.columns))
        turned = {}
        for name, column in self.columns.items():
            if column not in present:
                words = (
                    f"`columns: {{{name}: {column}}}`: {where} has no column `{column}`{did_you_mean(column, present)}"
                )
                problems.error("columns", words)
            elif name in present and name != column:
                words = f"`columns: {{{name}: {column}}}`: {where} has a column `{name}` too; rename or remove one"
                problems.error("columns", words)
            else:
                turned[column] = name
        return table.rename(columns=turned)

    def typed(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with confounds as numbers where all their cells are, else as words with ``missing``."""
        for name in self.confounds or ():
            if name in table.columns and not pd.api.types.is_numeric_dtype(table[name]):
                values, words = as_numbers(table[name].astype(str))
                number = not words and name not in LABELS
                table[name] = values if number else table[name].mask(is_missing(table[name]), "missing")
        return table

    def check(self, table: pd.DataFrame, problems: Problems) -> None:
        """Tell confounds and strata that the people's table does not have, and confounds that say nothing."""
        present = [str(column) for column in table.columns]
        for key, names in (("confounds", self.confounds), ("strata", self.strata)):
            if absent := [name for name in names or () if name not in present]:
                hints = "; ".join(f"`{name}`{did_you_mean(name, present)}" for name in absent)
                problems.error(key, f"`{key}:` names columns that the participants table does not have: {hints}")
        for name in [name for name in self.confounds or () if name in present]:
            if table[name].nunique(dropna=False) < 2:
                problems.warning(
                    "confounds", f"`confounds:` names `{name}`, which is the same in all {len(table)} people"
                )


def _names(key: str, value: Any, problems: Problems) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        problems.error(
            key, f"`{key}: {value}`: a list of columns of the participants table is wanted, such as [age, sex]"
        )
        return None
    if twice := sorted({one for one in names if names.count(one) > 1}):
        problems.error(key, f"`{key}:` names {named(twice)} twice")
    return tuple(dict.fromkeys(names))
