"""Keys of ``cohort.yaml`` about genotypes: one file or several, and which records are read.

``genotypes:`` takes a path, a pattern (``chr*.vcf.gz``) or a list of these; ``genotype_filter:`` and ``min_r2:``
leave records out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from genebrain.cohort.tables.problems import Problems, named
from genebrain.common.types import UserError
from genebrain.genetics.genotypes.record_filter import RecordFilter
from genebrain.genetics.genotypes.source import GenotypeSource

GENOTYPE_KEYS = ("genotype_filter", "min_r2")
ENDINGS = (".vcf.gz", ".vcf.bgz", ".bcf", ".pgen")
"""A pattern also fits indexes and tables that lie beside genotypes: only these are taken."""


def take_genotypes(content: dict[str, Any], folder: Path, problems: Problems) -> GenotypeSource | None:
    """Files and filters of the genotypes; None where ``genotypes:`` is one plain path and nothing is filtered.

    Takes its own keys out of ``content`` and leaves the first file there.
    """
    filters = _filters(content, problems)
    value = content.get("genotypes")
    if value is None:
        return None
    entries = value if isinstance(value, list) else [value]
    files: list[Path] = []
    absent: list[str] = []
    for entry in entries:
        found = _fitting(str(entry), folder)
        files += found
        absent += [] if found else [str(entry)]
    if absent and files:
        problems.error(
            "missing file", f"genotypes: {len(absent)} of {len(entries)} entries are no file: {named(absent)}"
        )
    if twice := sorted({file.name for file in files if files.count(file) > 1}):
        problems.error("repeated file", f"genotypes: {named(twice)} are named more than once")
    content["genotypes"] = str(files[0]) if files else ", ".join(absent)
    if not files or (len(files) == 1 and filters == RecordFilter()):
        return None
    return GenotypeSource(tuple(dict.fromkeys(files)), filters)


def _fitting(entry: str, folder: Path) -> list[Path]:
    """The file of an entry, or those that its pattern fits, chr2 before chr10."""
    path = folder / Path(entry).expanduser()
    if path.exists() or not set("*?[") & set(entry):
        return [path] if path.exists() else []
    start = Path(path.anchor)
    found = [
        file for file in start.glob(str(path.relative_to(start))) if file.name.endswith(ENDINGS) and file.is_file()
    ]
    return sorted(found, key=lambda file: [part.zfill(9) for part in re.split(r"(\d+)", str(file))])


def _filters(content: dict[str, Any], problems: Problems) -> RecordFilter:
    """The filters, without what is wrong in them (told in ``problems``)."""
    kept, least = (content.pop(key, None) for key in GENOTYPE_KEYS)
    if kept is not None:
        values = kept if isinstance(kept, list) else [kept]
        if not all(isinstance(value, str) for value in values):
            problems.error("genotype_filter", f"`genotype_filter: {kept}`: words as in the FILTER column are wanted")
        kept = tuple(map(str, values))
    try:
        if least is not None and (isinstance(least, bool) or not isinstance(least, int | float)):
            raise UserError(f"min_r2: {least}: a number from 0 to 1 is wanted")
        return RecordFilter(kept, None if least is None else float(least))
    except UserError as error:
        problems.error("min_r2", str(error))
        return RecordFilter(kept)
