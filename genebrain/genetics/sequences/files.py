"""Sequences from plain files: FASTA, TSV, CSV or parquet, read as a stream, cleaned and counted.

The one reader of sequences without a cohort. Rows come in file order with their number, id, clean letters and all
other columns (``label``, ``type``, ...); a file is never in memory as a whole; everything wrong in it is told in one
error that names file, rows and kinds, after the last row (:meth:`SequenceFile.read` raises it before it returns
anything).

Source: column names as tried by GenerTeam/GENERator, sequence understanding task.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from genebrain.common.table_files import table_parts
from genebrain.common.types import BoolArray, UserError
from genebrain.genetics.sequences.hygiene import (
    SHOWN,
    HygieneReport,
    SequenceCleaner,
    Unreadable,
    Uracil,
    check_choices,
)

SEQUENCE_COLUMNS = ("sequence", "seq", "dna_sequence", "dna_seq", "text")
FASTA = (".fa", ".fasta", ".fna", ".ffn", ".fas")
DELIMITED = (".tsv", ".txt", ".csv")
PARQUET = (".parquet", ".pq")
_BLOCK_LETTERS, _BLOCK_ROWS = 1 << 24, 1024
_ParsedRows = Iterator[tuple[list[str | None], list[str] | None, pd.DataFrame]]


@dataclass(frozen=True)
class SequenceBatch:
    """Consecutive usable sequences of a file.

    Attributes
    ----------
    rows : list of int
        Place in the file, counted from 1 (records of a FASTA, rows of a table below its header).
    ids : list of str
        First word of the FASTA header, the id column, or the row number.
    sequences : list of str
        Letters A, C, G, T, N.
    table : DataFrame
        All other columns, one row per sequence, index 0, 1, ...; of a FASTA ``description``.
    """

    rows: list[int]
    ids: list[str]
    sequences: list[str]
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, keep: BoolArray) -> SequenceBatch:
        """The sequences where ``keep``, bool ``[sequences]``, is true."""
        places = np.flatnonzero(keep)
        return SequenceBatch(
            rows=[self.rows[i] for i in places],
            ids=[self.ids[i] for i in places],
            sequences=[self.sequences[i] for i in places],
            table=self.table.iloc[places].reset_index(drop=True),
        )


@dataclass(frozen=True)
class SequenceFile:
    """A file of sequences, and how its letters are to be read.

    Parameters
    ----------
    path : path
        FASTA (``.fa``, ``.fasta``, ``.fna``, ``.ffn``, ``.fas``), ``.tsv``, ``.txt`` (tabs), ``.csv``, each plain or
        ``.gz``/``.bgz``, or ``.parquet``.
    column : str, optional
        Column of the letters; by default the first of sequence, seq, dna_sequence, dna_seq, text that is there,
        whatever its case.
    id_column : str, optional
        Column of the ids; by default ``id`` if there is one, else rows are numbered from 1.
    uracil, unreadable
        See :class:`~genebrain.genetics.sequences.hygiene.SequenceCleaner`.
    """

    path: str | Path
    column: str | None = None
    id_column: str | None = None
    uracil: Uracil = "error"
    unreadable: Unreadable = "error"

    def __post_init__(self) -> None:
        check_choices(self.uracil, self.unreadable)

    def batches(self, report: HygieneReport | None = None) -> Iterator[SequenceBatch]:
        """Stream the file, some thousand rows or million letters at a time.

        Parameters
        ----------
        report : HygieneReport, optional
            Filled while reading.

        Raises
        ------
        UserError
            At once for a file that cannot be read or lacks its columns; behind the last row for every
            problem of single sequences together.
        """
        path = Path(self.path)
        cleaner = SequenceCleaner(str(path), self.uracil, self.unreadable, report or HygieneReport())
        first = 1
        for letters, ids, table in self._parsed(path):
            rows = range(first, first + len(letters))
            names = ids or [str(row) for row in rows]
            clean = [cleaner.clean(*given) for given in zip(letters, rows, names, strict=True)]
            kept = [i for i, text in enumerate(clean) if text is not None]
            first += len(letters)
            if kept:
                yield SequenceBatch(
                    rows=[rows[i] for i in kept],
                    ids=[names[i] for i in kept],
                    sequences=[text for text in clean if text is not None],
                    table=table.iloc[kept].reset_index(drop=True),
                )
        if first == 1:
            raise UserError(f"{path} holds no sequences")
        cleaner.finish()

    def read(self) -> tuple[SequenceBatch, HygieneReport]:
        """The whole file at once, and what was found in it; for data sets that fit in memory."""
        report = HygieneReport()
        parts = list(self.batches(report))
        whole = SequenceBatch(
            rows=[row for part in parts for row in part.rows],
            ids=[name for part in parts for name in part.ids],
            sequences=[text for part in parts for text in part.sequences],
            table=with_whole_numbers(pd.concat([part.table for part in parts], ignore_index=True)),
        )
        return whole, report

    def _parsed(self, path: Path) -> _ParsedRows:
        if not path.is_file():
            raise UserError(f"{path} does not exist or is no file")
        kind = Path(path.stem).suffix.lower() if path.suffix.lower() in (".gz", ".bgz") else path.suffix.lower()
        try:
            if kind in FASTA:
                yield from _fasta(path)
            elif kind in DELIMITED:
                yield from self._text_columns(path)
            elif kind in PARQUET:
                yield from self._columns(path, pa_parquet.ParquetFile(path).iter_batches(_BLOCK_ROWS))
            else:
                known = ", ".join([*FASTA, *DELIMITED, *PARQUET])
                raise UserError(f"{path}: a file name must end in one of {known} (text also with .gz)")
        except (OSError, EOFError, zlib.error, pa.ArrowException, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error

    def _columns(self, path: Path, batches: Iterator[Any]) -> _ParsedRows:
        for batch in batches:
            names = batch.schema.names
            column, id_column = self._chosen(path, names)
            letters = batch.column(names.index(column))
            if pa.types.is_dictionary(letters.type):
                letters = letters.dictionary_decode()
            if not (pa.types.is_string(letters.type) or pa.types.is_large_string(letters.type)):
                raise UserError(f"{path}: column {column} holds {letters.type}, not letters; name another column=...")
            table = batch.drop_columns([column]).to_pandas()
            ids = table[id_column].astype(str).tolist() if id_column else None
            yield letters.to_pylist(), ids, table

    def _text_columns(self, path: Path) -> _ParsedRows:
        """Delimited text: every cell stays text. A sequence NA or 'NAN' is two bases or three, an id 007 stays 007."""
        for frame in table_parts(path, _BLOCK_ROWS, n_letters=_BLOCK_LETTERS):
            column, id_column = self._chosen(path, list(frame.columns))
            ids = frame[id_column].tolist() if id_column else None
            yield frame[column].tolist(), ids, frame.drop(columns=column)

    def _chosen(self, path: Path, names: list[str]) -> tuple[str, str | None]:
        """Columns of the letters and of the ids (None: there is none)."""
        column = _find(names, [self.column] if self.column else SEQUENCE_COLUMNS)
        id_column = _find(names, [self.id_column or "id"])
        wanted = self.column or " or ".join(SEQUENCE_COLUMNS)
        missing = [f"sequences ({wanted})"] if column is None else []
        missing += [f"ids ({self.id_column})"] if self.id_column and id_column is None else []
        if missing:
            raise UserError(
                f"{path} has no column of {' and none of '.join(missing)}; it has {', '.join(names)}. "
                "Name yours: the option is column (in finetune table.sequence)"
                + (" and id_column" if self.id_column else "")
            )
        assert column is not None
        return column, id_column


def with_whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of text that are whole numbers throughout as numbers, where nothing is lost: not ``007``, not ``1e5``.

    Ids stay text. Looks at whole columns: a part of a table must not decide for the others.
    """
    plain = {
        name: pd.to_numeric(table[name]).astype(np.int64)
        for name in table.columns
        if name != "id"
        and pd.api.types.is_string_dtype(table[name])
        and table[name].str.fullmatch(r"-?[1-9]\d{0,17}|0").all()
    }
    return table.assign(**plain)


def repeated_ids(ids: Sequence[str], rows: Sequence[int]) -> dict[str, Any]:
    """How many ids name several sequences, how many sequences these are, and the rows of the first of them."""
    twice = pd.Series(ids).duplicated(keep=False).to_numpy()
    places = np.flatnonzero(twice)
    return {
        "ids": len({ids[int(i)] for i in places}),
        "sequences": len(places),
        "rows": [int(rows[i]) for i in places[:SHOWN]],
    }


def repeated_ids_line(found: dict[str, Any] | None) -> str:
    """What :func:`repeated_ids` found, in words; empty when every id is there once."""
    if not found or not found["ids"]:
        return ""
    more = ", ..." if found["sequences"] > len(found["rows"]) else ""
    return (
        f"warning: {found['ids']:,} ids name several sequences ({found['sequences']:,} sequences: rows "
        f"{', '.join(map(str, found['rows']))}{more}); all are kept, and only the column row tells them apart"
    )


def _find(names: list[str], wanted: Any) -> str | None:
    """The first wanted column, as the file spells it; its own spelling goes before another case."""
    folded = {name.lower(): name for name in reversed(names)}
    found = (name if name in names else folded.get(name.lower()) for name in wanted)
    return next((name for name in found if name is not None), None)


def _fasta(path: Path) -> _ParsedRows:
    opener = gzip.open if path.suffix.lower() in (".gz", ".bgz") else open
    letters: list[str | None] = []
    ids: list[str] = []
    notes: list[str] = []
    waiting = 0
    with opener(path, "rt", encoding="ascii", errors="strict") as lines:
        for header, sequence in _records(path, lines):
            name, _, note = header.partition(" ")
            letters.append(sequence)
            ids.append(name)
            notes.append(note.strip())
            waiting += len(sequence)
            if waiting >= _BLOCK_LETTERS or len(letters) >= _BLOCK_ROWS:
                yield letters, ids, pd.DataFrame({"description": notes})
                letters, ids, notes, waiting = [], [], [], 0
    if letters:
        yield letters, ids, pd.DataFrame({"description": notes})


def _records(path: Path, lines: Any) -> Iterator[tuple[str, str]]:
    header: str | None = None
    pieces: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.startswith(">"):
            if header is not None:
                yield header, "".join(pieces)
            header, pieces = line[1:].strip().replace("\t", " "), []
            if not header:
                raise UserError(f"{path}, line {number}: a FASTA header without a name")
        elif header is not None:
            pieces.append(line.rstrip("\r\n"))
        elif line.strip():
            raise UserError(f"{path}, line {number}: a FASTA begins with a line '>name', this one with {line[:20]!r}")
    if header is not None:
        yield header, "".join(pieces)
