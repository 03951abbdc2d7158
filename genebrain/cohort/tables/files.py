"""Reader of ``cohort.yaml`` and the tables it names; problems are collected, not raised one by one.

All cells are read as text: an id such as ``007``, ``1e5`` or ``NA`` must never become a number or go missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from genebrain.cohort.tables.genotype_keys import GENOTYPE_KEYS, take_genotypes
from genebrain.cohort.tables.problems import Problems, did_you_mean, named
from genebrain.common import table_files
from genebrain.common.reading import refuse_deep
from genebrain.common.table_files import as_numbers, decimal_comma, usual_names
from genebrain.common.text_lines import text_lines
from genebrain.common.types import FloatArray, UserError
from genebrain.genetics.genotypes.source import GenotypeSource

MOST_BYTES = 2**20
"""Of the largest cohort file that is read."""
REQUIRED_FILES = ("participants", "genotypes", "reference", "windows", "scans")
OPTIONAL_FILES = ("atlas", "parcel_coordinates", "kinship", "genomewide", "known_answer", "exclude")
VECTOR_FILES = {"gene_vectors": ("genotypes", "reference", "windows"), "brain_vectors": ("scans",)}
"""Files of vectors, and the files that they stand in the place of."""
SETTINGS = (
    "name", "split", "max_mean_fd", "choose", "exclude_unknown", "split_unknown", "columns", "confounds", "strata",
)  # fmt: skip
KNOWN_COLUMNS = (
    *("participant_id", "genotype_id", "family_id", "genome_id", "site", "sex", "age", "ancestry", "mean_fd"),
    *("session", "path", "tr", "mask", "confounds", "split"),
)


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

    @property
    def complete(self) -> bool:
        """Whether everything that a run needs is named."""
        return set(required_files(self.files)) <= self.files.keys()


def required_files(given: Collection[str]) -> list[str]:
    """Keys of ``cohort.yaml`` that must be there, where these are; vectors stand in the place of other files."""
    replaced = {key for name, keys in VECTOR_FILES.items() if name in given for key in keys}
    replaced |= {"participants"} if "gene_vectors" in given else set()
    return [key for key in REQUIRED_FILES if key not in replaced]


def read_description(path: Path, problems: Problems, vectors: Mapping[str, Path] | None = None) -> Description:
    """Read ``cohort.yaml``; relative paths are relative to it.

    Parameters
    ----------
    vectors
        Files of vectors by key (``gene_vectors``, ``brain_vectors``) that are used instead of what the file names.

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
    content = _read_mapping(path)
    content |= {key: str(Path(file).absolute()) for key, file in (vectors or {}).items()}
    for name in [name for name in VECTOR_FILES if content.get(name) is not None]:
        for key in VECTOR_FILES[name]:
            content.pop(key, None)
    required = required_files([key for key, value in content.items() if value is not None])
    genotypes = take_genotypes(content, path.parent, problems)
    known = (*REQUIRED_FILES, *OPTIONAL_FILES, *VECTOR_FILES, *SETTINGS, *GENOTYPE_KEYS)
    for key in content:
        if key not in known:
            hint = did_you_mean(str(key), known)
            add = problems.error if hint else problems.warning
            add("unknown key", f"unknown key `{key}` in {path.name}{hint}; it is not used")
    files = _named_files(content, path, required, problems)
    settings = {key: content[key] for key in SETTINGS if content.get(key) is not None}
    return Description(path, str(settings.get("name", path.parent.name)), files, settings, genotypes)


def _read_mapping(path: Path) -> dict[Any, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes; a cohort.yaml has at most {MOST_BYTES:,}")
        text = "\n".join(text_lines(path))
        refuse_deep(text)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise yaml.YAMLError("it uses YAML aliases, which could grow a small file beyond memory")
        if twice := repeated_keys(yaml.compose(text, yaml.SafeLoader)):
            raise yaml.YAMLError(f"{named(twice)} stands there more than once, and only the last would be read")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold `key: value` lines with the keys {', '.join(REQUIRED_FILES)}")
    return content


def _named_files(
    content: Mapping[Any, Any], path: Path, required: Collection[str], problems: Problems
) -> dict[str, Path]:
    """Files that ``cohort.yaml`` names and that exist; what is missing is a problem."""
    files: dict[str, Path] = {}
    for key in (*REQUIRED_FILES, *OPTIONAL_FILES, *VECTOR_FILES):
        value = content.get(key)
        if value is None:
            if key in required:
                problems.error("missing key", f"key `{key}` is missing in {path.name}")
            continue
        target = path.parent / Path(str(value)).expanduser()
        if target.exists():
            files[key] = target
        else:
            problems.error("missing file", f"`{key}: {value}` in {path.name}: no such file ({target})")
    return files


def repeated_keys(node: yaml.Node | None) -> list[str]:
    """Keys that a mapping, or one inside it, has more than once: YAML readers take the last without a word."""
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [str(key.value) for key, _ in node.value]
    inner = [key for _, value in node.value for key in repeated_keys(value)]
    return list(dict.fromkeys([*(key for key in keys if keys.count(key) > 1), *inner]))


def read_table(path: Path, required: Sequence[str], problems: Problems) -> pd.DataFrame | None:
    """Read a tab-separated (``.csv``: comma-separated) table as stripped text.

    Returns
    -------
    DataFrame or None
        None when a required column is missing or the file is no table; the problem is in ``problems`` then.
    """
    try:
        table = table_files.read_table(path)
    except UserError as error:
        problems.error("unreadable table", f"no readable table: {error}")
        return None
    table.columns = usual_names(list(table.columns), [*KNOWN_COLUMNS, *map(_usual_component, table.columns)])
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


def _usual_component(column: str) -> str:
    """``pc1`` as ``PC1``."""
    return column.upper() if re.fullmatch(r"(?i)pc\d+", column) else column


def numbers(column: pd.Series[str], where: str, problems: Problems) -> FloatArray:
    """Text cells as float64, missing words as NaN; any other text is an error."""
    values, bad = as_numbers(column)
    if bad:
        problems.error(
            "not a number",
            f"{where}: {len(bad)} cells are not numbers: {named(map(repr, dict.fromkeys(bad)))}{decimal_comma(bad)}",
            cells=len(bad),
        )
    return values
