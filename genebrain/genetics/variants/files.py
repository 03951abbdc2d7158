"""Variants from VCF, BCF or a table, one at a time.

Any of those files as a stream of :class:`Variant`, one per alternative allele, in file order, so that memory does
not grow with their number. Rows that cannot be read are one error that counts them and shows the first; a damaged
file is an error, never fewer variants; genotypes are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pysam

from genebrain.common.table_files import table_parts
from genebrain.common.types import UserError
from genebrain.genetics.genome.gene_windows import SHOWN

VCF_SUFFIXES = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")
TABLE_SUFFIXES = (".tsv", ".tsv.gz", ".txt", ".csv", ".csv.gz", ".parquet")
COLUMNS = {
    "chrom": ("chrom", "#chrom", "chromosome", "contig", "chr"),
    "pos": ("pos", "position"),
    "ref": ("ref", "reference", "reference_allele"),
    "alt": ("alt", "alternative", "alternate", "alternate_allele"),
}
"""Names of each column of a table, any case; the first that is there counts."""

NAMES = ("id", "variant_id", "name", "rsid")
LABELS = {
    **dict.fromkeys(("0", "0.0", "false", "benign", "likely_benign", "benign/likely_benign"), 0),
    **dict.fromkeys(("1", "1.0", "true", "pathogenic", "likely_pathogenic", "pathogenic/likely_pathogenic"), 1),
    **dict.fromkeys(("", ".", "na", "nan", "none", "null"), None),
}
"""Labels as text (lower case, blanks as underscores); empty ones leave a variant without label."""

_ROWS = 20_000


@dataclass(frozen=True)
class Variant:
    """One alternative allele of one record.

    Attributes
    ----------
    contig : str
        As the file spells it.
    position : int
        1-based place of the first letter of ``reference``.
    reference, alternative : str
        As written; ``.`` where the record has no alternative.
    name : str
        Identifier, ``.`` without one.
    label : int or None
        0 or 1.
    """

    contig: str
    position: int
    reference: str
    alternative: str
    name: str = "."
    label: int | None = None


class VariantFile:
    """A file of variants; iterate over it as often as needed.

    Parameters
    ----------
    path : path
        ``.vcf[.gz]`` or ``.bcf`` (no index needed), or a table ``.tsv``, ``.csv``, ``.txt``, ``.parquet``.
    label : str, optional
        Column of a table or INFO key of a VCF that holds 0 or 1 (or benign, pathogenic). Default: the column
        ``label`` of a table if it has one.

    Raises
    ------
    UserError
        No such file, unknown format, columns that are absent, a label that is not there.
    """

    def __init__(self, path: str | Path, label: str | None = None) -> None:
        self.path = Path(path)
        name = self.path.name.lower()
        if not self.path.is_file():
            raise UserError(f"variants file {self.path} does not exist")
        self.is_vcf = name.endswith(VCF_SUFFIXES)
        if not self.is_vcf and not name.endswith(TABLE_SUFFIXES):
            raise UserError(
                f"{self.path}: the format follows from the name, which must end with one of "
                + ", ".join(VCF_SUFFIXES + TABLE_SUFFIXES)
            )
        self.label = label
        if self.is_vcf:
            with open_vcf(self.path) as file:
                if label is not None and label not in file.header.info:
                    known = ", ".join(file.header.info) or "none"
                    raise UserError(f"{self.path} has no INFO key {label!r} to take labels from (keys: {known})")
        else:
            self._find_columns(next(self._frames(), pd.DataFrame()))

    def __iter__(self) -> Iterator[Variant]:
        return self._vcf_variants() if self.is_vcf else self._table_variants()

    def _vcf_variants(self) -> Iterator[Variant]:
        bad = _BadRows(self.path)
        for number, record in enumerate(records(self.path), start=1):
            text = "" if self.label is None else _info_text(record.info.get(self.label))
            label = bad.label(text, f"record {number} ({record.contig}:{record.pos})")
            for alternative in record.alts or (".",):
                yield Variant(record.contig, record.pos, record.ref or ".", alternative, record.id or ".", label)
        bad.raise_if_any()

    def _table_variants(self) -> Iterator[Variant]:
        bad = _BadRows(self.path)
        number = 0
        for frame in self._frames():
            columns = self._find_columns(frame)
            for row in zip(*(frame[c] if c else [None] * len(frame) for c in columns), strict=True):
                number += 1
                contig, position, reference, alternative, name, label = row
                where = f"row {number}"
                place = bad.position(position, where)
                found = bad.label("" if label is None else label, where)
                if not (contig and reference and alternative):
                    bad.add("rows with an empty chrom, ref or alt", where)
                elif place is not None:
                    yield Variant(contig, place, reference, alternative, name or ".", found)
        bad.raise_if_any()
        if not number:
            raise UserError(f"{self.path} has a header and no rows")

    def _find_columns(self, frame: pd.DataFrame) -> list[str | None]:
        by_lower = {str(column).lower().strip(): str(column) for column in reversed(list(frame.columns))}
        found = [next((by_lower[n] for n in names if n in by_lower), None) for names in COLUMNS.values()]
        label = self.label if self.label is not None else by_lower.get("label")
        absent = [name for name, column in zip(COLUMNS, found, strict=True) if column is None]
        absent += [label] if label is not None and label not in frame.columns else []
        if absent:
            raise UserError(
                f"{self.path} has no column {', '.join(map(repr, absent))}; columns present: "
                f"{', '.join(map(str, frame.columns)) or 'none'}. A table of variants needs "
                f"{', '.join(COLUMNS)} (pos 1-based)"
            )
        return [*found, next((by_lower[n] for n in NAMES if n in by_lower), None), label]

    def _frames(self) -> Iterator[pd.DataFrame]:
        """Parts of a table, every cell stripped text."""
        if self.path.suffix.lower() == ".parquet":
            try:
                with pq.ParquetFile(self.path) as file:
                    empty = True
                    for batch in file.iter_batches(_ROWS):
                        empty = False
                        yield _as_text(batch.to_pandas())
                    if empty:
                        yield _as_text(file.schema_arrow.empty_table().to_pandas())
            except (OSError, ValueError) as error:
                raise UserError(f"{self.path} cannot be read as parquet: {error}") from error
            return
        yield from table_parts(self.path, _ROWS)


def open_vcf(path: Path) -> pysam.VariantFile:
    """Open VCF or BCF without its samples; ``UserError`` if it is none."""
    pysam.set_verbosity(0)  # htslib would print its own warnings between ours
    try:
        return pysam.VariantFile(str(path), drop_samples=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as VCF or BCF: {error}") from error


def records(path: Path) -> Iterator[pysam.VariantRecord]:
    """Records in file order; ``UserError`` where a damaged or cut-off file ends them early."""
    number = 0
    with open_vcf(path) as file:
        try:
            for record in file:
                number += 1
                yield record
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is damaged after record {number}: {error}. Copy or download it again, or mend that line."
            ) from error


class _BadRows:
    """Rows that cannot be read, by kind: the count and the first few."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kinds: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}

    def add(self, kind: str, where: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        shown = self.kinds.setdefault(kind, [])
        if len(shown) < SHOWN:
            shown.append(where)

    def position(self, text: str, where: str) -> int | None:
        digits = text.removesuffix(".0")
        if digits.isdecimal() and int(digits) > 0:
            return int(digits)
        self.add("positions that are not whole numbers from 1 on (pos is 1-based)", f"{where}: {text!r}")
        return None

    def label(self, text: str, where: str) -> int | None:
        key = text.strip().lower().replace(" ", "_")
        if key not in LABELS:
            self.add("labels that are not 0 or 1 (nor benign, pathogenic)", f"{where}: {text!r}")
            return None
        return LABELS[key]

    def raise_if_any(self) -> None:
        if self.kinds:
            raise UserError(
                f"{self.path}: "
                + "; ".join(
                    f"{self.counts[kind]} {kind} ({', '.join(shown)}{' ...' if self.counts[kind] > SHOWN else ''})"
                    for kind, shown in self.kinds.items()
                )
            )


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as stripped text, missing ones empty; a whole number stays one whatever its type."""
    return frame.apply(lambda column: column.astype(object).where(column.notna(), "").astype(str).str.strip())


def _info_text(value: Any) -> str:
    if value is None:
        return ""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
