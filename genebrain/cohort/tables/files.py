"""Read ``cohort.yaml`` and the tables it names, collecting every problem instead of stopping at the first.

All cells are read as text: an id such as ``007`` or ``1e5`` must never become a number. Knows the shape of
the files; does not know which person of one file is which person of another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from genebrain.cohort.tables.genotype_keys import GENOTYPE_KEYS, take_genotypes
from genebrain.cohort.tables.problems import Problems, did_you_mean, named
from genebrain.common.reading import read_text, refuse_deep
from genebrain.common.types import FloatArray, UserError
from genebrain.genetics.genotypes.source import GenotypeSource

MOST_BYTES = 2**20
"""Of the largest cohort file that is read."""
REQUIRED_FILES = ("participants", "genotypes", "reference", "windows", "scans")
OPTIONAL_FILES = ("atlas", "parcel_coordinates", "kinship", "genomewide", "known_answer", "exclude")
SETTINGS = ("name", "split", "max_mean_fd", "choose")
KNOWN_COLUMNS = (
    *("participant_id", "genotype_id", "family_id", "genome_id", "site", "sex", "age", "ancestry", "mean_fd"),
    *("session", "path", "tr", "mask", "confounds", "split"),
)
MISSING = ("", "NA", "N/A", "n/a", "na", "NaN", "nan", ".", "None", "null")


@dataclass(frozen=True)
class Description:
    """``cohort.yaml`` with all paths made absolute; ``files`` holds only keys that name existing files.

    ``genotypes`` is there when they are several files or filtered; ``files`` holds the first one then.
    """

    path: Path
    name: str
    files: dict[str, Path]
    settings: dict[str, Any]
    genotypes: GenotypeSource | None = None

    @property
    def folder(self) -> Path:
        """Folder that relative paths start from."""
        return self.path.parent


def read_description(path: Path, problems: Problems) -> Description:
    """Read ``cohort.yaml``; relative paths are relative to it.

    Raises
    ------
    UserError
        When the file is not there or is not a YAML mapping: nothing else can be said then.
    """
    path = Path(path).resolve()
    if path.is_dir():
        path = path / "cohort.yaml"
    if not path.is_file():
        raise UserError(f"no cohort file at {path}; it is a YAML file with the keys {', '.join(REQUIRED_FILES)}")
    try:
        text = read_text(path, "write it anew", most=MOST_BYTES)
        refuse_deep(text)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise yaml.YAMLError("it uses YAML aliases, which could grow a small file beyond memory")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold `key: value` lines with the keys {', '.join(REQUIRED_FILES)}")
    genotypes = take_genotypes(content, path.parent, problems)
    known = (*REQUIRED_FILES, *OPTIONAL_FILES, *SETTINGS, *GENOTYPE_KEYS)
    for key in content:
        if key not in known:
            hint = did_you_mean(str(key), known)
            add = problems.error if hint else problems.warning
            add("unknown key", f"unknown key `{key}` in {path.name}{hint}; it is not used")
    files: dict[str, Path] = {}
    for key in (*REQUIRED_FILES, *OPTIONAL_FILES):
        value = content.get(key)
        if value is None:
            if key in REQUIRED_FILES:
                problems.error("missing key", f"key `{key}` is missing in {path.name}")
            continue
        target = path.parent / Path(str(value)).expanduser()
        if target.exists():
            files[key] = target
        else:
            problems.error("missing file", f"`{key}: {value}` in {path.name}: no such file ({target})")
    settings = {key: content[key] for key in SETTINGS if content.get(key) is not None}
    return Description(path, str(settings.get("name", path.parent.name)), files, settings, genotypes)


def read_table(path: Path, required: Sequence[str], problems: Problems) -> pd.DataFrame | None:
    """Read a tab-separated (``.csv``: comma-separated) table as stripped text.

    Returns
    -------
    DataFrame or None
        None when a required column is missing or the file is no table; the problem is in ``problems`` then.
    """
    try:
        table = pd.read_csv(path, sep="," if path.suffix.lower() == ".csv" else "\t", dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        problems.error("unreadable table", f"{path.name} is not a readable table: {error}")
        return None
    table.columns = [_usual_case(str(column).strip(), list(table.columns)) for column in table.columns]
    table = table.apply(lambda column: column.str.strip())
    missing = [column for column in required if column not in table.columns]
    if missing:
        separator = " Is it really tab-separated?" if len(table.columns) == 1 else ""
        words = "; ".join(f"`{column}`{did_you_mean(column, table.columns)}" for column in missing)
        present = ", ".join(table.columns[:12])
        problems.error(
            "missing column",
            f"{path.name} has no column {words}; columns present: {present}.{separator}",
            missing=len(missing),
        )
        return None
    if table.empty:
        problems.error("empty table", f"{path.name} has a header and no rows")
        return None
    return table


def _usual_case(column: str, columns: Sequence[str]) -> str:
    """``Site`` as ``site`` and ``pc1`` as ``PC1``: capitals must not decide whether a column is used."""
    usual = column.upper() if re.fullmatch(r"(?i)pc\d+", column) else column.lower()
    is_known = usual in KNOWN_COLUMNS or usual.startswith("PC")
    return usual if is_known and usual not in columns else column


def is_missing(column: pd.Series[str]) -> pd.Series[bool]:
    """True where a cell is empty or one of the usual words for "not available"."""
    return column.isin(MISSING)


def numbers(column: pd.Series[str], where: str, problems: Problems) -> FloatArray:
    """Text cells as float64, missing words as NaN; any other text is an error."""
    values = pd.to_numeric(column.mask(is_missing(column)), errors="coerce").to_numpy(dtype=np.float64)
    bad = np.isnan(values) & ~is_missing(column).to_numpy()
    if bad.any():
        examples = named(repr(text) for text in column[bad].unique())
        problems.error(
            "not a number",
            f"{where}: {int(bad.sum())} cells are not numbers: {examples}",
            cells=int(bad.sum()),
        )
    return values


def read_ids(path: Path) -> list[str]:
    """Ids of a plain list: the first field of each line; empty lines and ``#`` lines are skipped."""
    lines = path.read_text(encoding="utf-8").splitlines()
    fields = [line.replace(",", " ").split() for line in lines if not line.lstrip().startswith("#")]
    return [field[0] for field in fields if field and field[0] != "participant_id"]
