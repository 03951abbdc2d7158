"""The people of a cohort: from ``cohort.yaml`` to one table with one row per person who has a genome and a
scan.

Row numbers of this table are the only name of a person that later stages see; ids stay here. Raises one
:class:`~genebrain.common.types.UserError` with every problem at once. Reads no genotypes and no scans.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.cohort.join import Assembly, assemble
from genebrain.cohort.relatedness.kinship import Pairs
from genebrain.cohort.tables.files import VECTOR_FILES
from genebrain.cohort.tables.own_columns import LABELS, OwnColumns
from genebrain.cohort.tables.problems import Problem, did_you_mean, named
from genebrain.common.hashing import sha256
from genebrain.common.table_files import as_numbers
from genebrain.common.types import FloatArray, UserError
from genebrain.genetics.genotypes.source import GenotypeSource

EDGE_BYTES = 1 << 20
BANDS = ("low", "middle", "high")


@dataclass(frozen=True)
class Cohort:
    """People, their scans and the files of a cohort.

    Attributes
    ----------
    table : DataFrame
        One row per person with genome and at least one scan, in the order of their ``participant_id``:
        ``participant_id``, ``genotype_id`` (the sample name in the genotype file), ``family`` and ``genome``
        (int codes; identical twins and duplicates share a genome), then the user's columns (``site``, ``sex``
        and ``ancestry`` as text with ``missing``; ``age``, ``mean_fd`` and ``PC1``... as float with NaN), and
        ``own_split`` when ``cohort.yaml`` has a key ``split``.
    scans : DataFrame
        Scans of these people: ``person`` (row of ``table``), ``session``, ``path`` (absolute), ``tr``
        (seconds, NaN when the table does not say), ``mask`` and ``confounds`` if given; sorted by person.
    genotypes, reference, windows, atlas, known_answer, parcel_coordinates : Path or None
        The files of the cohort; genotypes are a :class:`~genebrain.genetics.genotypes.source.GenotypeSource` when
        they are several files or filtered.
    funnel : dict
        People ``listed``, ``genotyped``, ``scanned``, ``both``, ``after_filters``; ``scans``; ``dropped`` by
        reason.
    pairs : Pairs
        Known relatives by row.
    relatedness : list of str
        Where they are known from; empty when nothing is known.
    warnings : list of Problem
        What the user should read before believing a result.
    fingerprint : str
        Changes with people, families or files; reveals no id. A copied cohort keeps it, and so does one whose tables
        have their rows in another order.
    gene_vectors, brain_vectors : Path or None
        Files of vectors in the place of genotypes (``genotypes``, ``reference`` and ``windows`` are this file then) or
        of scans (``scans`` has one row per vector then, with its ``row`` in the file).
    own : OwnColumns
        Confounds and strata that ``cohort.yaml`` names.
    unpaired_scans : DataFrame
        Scans of people of the participants table who have no genome, in the form of ``scans``; ``person`` counts these
        people by themselves. Nobody who is withdrawn or moved too much.
    """

    folder: Path
    name: str
    table: pd.DataFrame
    scans: pd.DataFrame
    genotypes: Path | GenotypeSource
    reference: Path
    windows: Path
    atlas: Path | None
    known_answer: Path | None
    funnel: dict[str, Any]
    pairs: Pairs
    relatedness: list[str]
    fingerprint: str
    warnings: list[Problem] = field(default_factory=list)
    parcel_coordinates: Path | None = None
    gene_vectors: Path | None = None
    brain_vectors: Path | None = None
    own: OwnColumns = field(default_factory=OwnColumns)
    unpaired_scans: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __len__(self) -> int:
        return len(self.table)

    def strata(self, columns: Sequence[str] = ("site", "ancestry")) -> list[str]:
        """One label per person, such as ``A x EUR x low``, for stratified nulls and ranks within a stratum.

        A column of numbers with more than six values is cut into thirds (``low``, ``middle``, ``high``) of this
        cohort, whatever its name; site, sex and ancestry are labels also where they are written as numbers.

        Raises
        ------
        UserError
            A column does not exist, or holds numbers but for one or two words.
        """
        if absent := [column for column in columns if column not in self.table.columns]:
            words = ", ".join(f"`{column}`{did_you_mean(column, self.table.columns)}" for column in absent)
            raise UserError(f"no column {words} in the participants table; columns: {', '.join(self.table.columns)}")
        labels = [_labels(self.table[column], column in LABELS) for column in columns]
        return [" x ".join(parts) for parts in zip(*labels, strict=True)] if labels else ["all"] * len(self)


def load_cohort(path: Path | str, vectors: Mapping[str, Path] | None = None) -> Cohort:
    """Read a cohort.

    Parameters
    ----------
    path : Path or str
        ``cohort.yaml``, or the folder that holds it.
    vectors : mapping, optional
        Files of vectors (``gene_vectors``, ``brain_vectors``) that are used instead of what ``cohort.yaml`` names.

    Raises
    ------
    UserError
        With all problems of files, keys, columns and ids together.
    """
    parts = assemble(Path(path), vectors)
    parts.problems.raise_errors(f"cohort {parts.description.name}")
    return cohort_of(parts)


def cohort_of(parts: Assembly) -> Cohort:
    """The cohort of an assembly whose table, scans and required files exist (ValueError otherwise)."""
    files, table, scans, relatives = parts.description.files, parts.table, parts.person_scans, parts.relatives
    if table is None or scans is None or relatives is None:
        raise ValueError("the cohort is not complete; read its problems first")
    genes = files.get("gene_vectors")
    return Cohort(
        folder=parts.description.folder,
        name=parts.description.name,
        table=table,
        scans=scans,
        genotypes=genes or parts.description.genotypes or files["genotypes"],
        reference=genes or files["reference"],
        windows=genes or files["windows"],
        atlas=files.get("atlas"),
        known_answer=files.get("known_answer"),
        funnel=parts.funnel,
        pairs=relatives.pairs,
        relatedness=relatives.sources,
        fingerprint=_fingerprint(parts, table, scans),
        warnings=parts.problems.warnings,
        parcel_coordinates=files.get("parcel_coordinates"),
        gene_vectors=genes,
        brain_vectors=files.get("brain_vectors"),
        own=parts.own,
        unpaired_scans=parts.unpaired_scans,
    )


def _labels(column: pd.Series[Any], is_label: bool) -> list[str]:
    values = None if is_label else _numbers(column)
    if values is None or len(np.unique(values[~np.isnan(values)])) <= 2 * len(BANDS):
        return [str(value) for value in column]
    known = ~np.isnan(values)
    cuts = np.quantile(values[known], [1 / 3, 2 / 3])
    bands = np.searchsorted(cuts, values, side="left")
    return [BANDS[band] if ok else "missing" for band, ok in zip(bands, known, strict=True)]


def _numbers(column: pd.Series[Any]) -> FloatArray | None:
    """Values of a column of numbers, also of one that was read as text; None where any cell is a word."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64)
    values, words = as_numbers(column.astype(str))
    numbers = np.unique(values[~np.isnan(values)])
    if words and len(set(words)) <= 2 and len(numbers) > 2 * len(BANDS):
        raise UserError(
            f"column `{column.name}` holds {len(numbers)} numbers and the words {named(sorted(set(words)))}: numbers "
            "are cut into thirds, words are labels. Leave cells empty where nothing is known"
        )
    return None if words else values


def _fingerprint(parts: Assembly, table: pd.DataFrame, scans: pd.DataFrame) -> str:
    """Hash of who is in which row, and of the files: size for scans, size and both ends for the shared files.

    Modification times are left out on purpose: copying a cohort to another machine changes them and nothing
    else.
    """
    folder = parts.description.folder
    digest = hashlib.sha256()
    people = table[["participant_id", "genotype_id", "family", "genome"]].values.tolist()
    visits = [
        [int(person), str(session), Path(path).stat().st_size if Path(path).is_file() else -1]
        for person, session, path in zip(scans["person"], scans["session"], scans["path"], strict=True)
    ]
    digest.update(json.dumps([people, visits]).encode())
    files = [(key, parts.description.files.get(key, folder)) for key in ("genotypes", "reference", "windows", "atlas")]
    if (source := parts.description.genotypes) is not None:
        files += [("genotypes", file) for file in source.files[1:]]
        digest.update(json.dumps(asdict(source.filters)).encode())
    for key, file in files:
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(f"{key} {file.stat().st_size}".encode())
                digest.update(stream.read(EDGE_BYTES))
                stream.seek(max(0, file.stat().st_size - EDGE_BYTES))
                digest.update(stream.read())
    for key in VECTOR_FILES:
        if key in parts.description.files:
            digest.update(f"{key} {sha256(parts.description.files[key])}".encode())
    return digest.hexdigest()[:32]
