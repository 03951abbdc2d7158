"""The genomes of a cohort as a file of vectors: blocks of numbers per window, without letters or an encoder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from genebrain.common import vectors as vector_files
from genebrain.common.types import FloatArray, UserError

if TYPE_CHECKING:  # settings are made before anything heavy is imported
    from genebrain.alignment.closed_form.column_sets import Blocks
    from genebrain.cohort.participants import Cohort
    from genebrain.common.types import IntArray
    from genebrain.common.vectors import VectorTable
    from genebrain.sides.pooling import GenePooling


@dataclass(frozen=True)
class VectorGenes:
    """One row of numbers per person, made elsewhere.

    Columns called ``window:number`` (or ``window/number``) are grouped by window, and ``window:piece:number`` by the
    pieces of a window, so that the sparse gene side can choose among them; without such names there is one window.
    The numbers are taken as they are: principal components per window (or piece), fitted on training people.
    ``embeddings 0.05|window:piece:number`` is a number of one reading of several, as ``export`` writes them: embeddings
    or dosages, with the frequency below which alleles were masked, or ``rare alleles``. Readings are stacked as those
    of genotypes are.

    Parameters
    ----------
    path : str, optional
        File of vectors, see :func:`genebrain.common.vectors.read.read_vectors`. None: ``gene_vectors`` of
        ``cohort.yaml``.
    """

    path: str | None = None
    tuning: ClassVar[str] = "frozen"
    delta: ClassVar[bool] = False
    unphased: ClassVar[str] = "error"
    name: ClassVar[str] = "vectors"

    @property
    def frozen(self) -> VectorGenes:
        """The same side: nothing of it can be trained."""
        return self

    def read(self, cohort: Cohort) -> tuple[VectorTable, FloatArray]:
        """The file, and its values in the order of the cohort's people, ``[people, columns]``."""
        if cohort.gene_vectors is None:
            raise UserError(
                f"genetics=vectors: cohort {cohort.name} names no file of vectors; give genetics.path=FILE, or "
                "`gene_vectors: FILE` in cohort.yaml"
            )
        table = vector_files.read_vectors(cohort.gene_vectors)
        row = {name: number for number, name in enumerate(table.ids)}
        return table, table.values[[row[name] for name in cohort.table["genotype_id"]]]

    def window_names(self, cohort: Cohort) -> list[str]:
        """Names of the windows in the order of the blocks."""
        table, _ = self.read(cohort)
        plain = [name.rpartition(vector_files.READING)[2] for name in table.columns]
        return vector_files.windows_of(plain, table.path.name).names

    def blocks(self, cohort: Cohort, pooling: GenePooling) -> tuple[Blocks, int | None]:
        """Blocks ``[people, numbers]`` per window, NaN where a person lacks one, and the width of a piece.

        Of the pooling only ``window`` has a meaning: ``components`` and ``concat`` keep windows apart, ``mean`` and
        ``max`` join windows of equal width. Pieces are decomposed one by one where ``chunk`` is ``flatten``.

        Raises
        ------
        UserError
            Windows of unequal width are to be averaged, or the pooling has weights to train.
        """
        return blocks_of(*self.read(cohort), pooling)

    def embed(self, cohort: Cohort) -> dict[str, Any]:
        """Nothing is embedded: rows and columns that are there."""
        table, _ = self.read(cohort)
        return {"vectors": len(table), "columns": len(table.columns)}

    def no_encoder(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse work that needs an encoder of DNA."""
        raise UserError("genetics=vectors has no encoder of DNA to run: choose another genetics=")

    plan = backbone = language_model = no_encoder


def refuse_trained(pooling: GenePooling) -> None:
    """Refuse poolings with weights: they read chunks, and vectors are pooled already."""
    if pooling.trainable:
        raise UserError(
            f"pooling.chunk={pooling.chunk}, pooling.window={pooling.window}: poolings that are trained read chunks of "
            "DNA, and genetics=vectors gives none; use pooling=components or pooling.window=mean or max"
        )


def blocks_of(table: VectorTable, values: FloatArray, pooling: GenePooling) -> tuple[Blocks, int | None]:
    """Blocks of rows of a table; see :meth:`VectorGenes.blocks`."""
    refuse_trained(pooling)
    if readings := vector_files.readings_of(table.columns, table.path.name):
        return _several(table, values, pooling, readings)
    windows = vector_files.windows_of(table.columns, table.path.name)
    blocks = [np.ascontiguousarray(values[:, columns]) for columns in windows.columns]
    if pooling.window in ("components", "concat"):
        return blocks, windows.item_width if pooling.keeps_chunks_apart else None
    widths = sorted({block.shape[1] for block in blocks})
    if len(widths) > 1:
        raise UserError(
            f"pooling.window={pooling.window} joins windows number by number, and {table.path.name} has windows of "
            f"{widths[0]} to {widths[-1]} columns: use pooling.window=components"
        )
    stacked = np.stack(blocks, axis=1)
    missing = np.isnan(stacked)
    if pooling.window == "mean":
        sums = np.where(missing, 0, stacked).sum(axis=1, dtype=np.float64)
        joined = sums / np.maximum((~missing).sum(axis=1), 1)
    else:
        joined = np.where(missing, -np.inf, stacked).max(axis=1)
    return [np.where(missing.all(axis=1), np.nan, joined).astype(np.float32)], None


def _several(
    table: VectorTable, values: FloatArray, pooling: GenePooling, readings: dict[str, IntArray]
) -> tuple[Blocks, int | None]:
    """Blocks of several readings with the sets of columns that are made of them."""
    from genebrain.alignment.closed_form.column_sets import GeneBlocks
    from genebrain.sides.genes.readings import BURDEN, column_sets, source_of

    where, plain = table.path.name, [name.partition(vector_files.READING)[2] for name in table.columns]
    names = vector_files.windows_of(plain, where).names
    sources: dict[str, list[FloatArray]] = {}
    widths: dict[str, int | None] = {}
    families, frequencies = set[str](), set[float]()
    for name, columns in readings.items():
        family, _, told = name.partition(" ")
        frequency = float(told) if re.fullmatch(r"[\d.e-]+", told) else 0.0
        known = family in ("embeddings", "dosages") and source_of(family, frequency) == name
        if not known and name != BURDEN:
            raise UserError(
                f"{where}: the reading '{name}' of genomes is unknown; they are called as export writes them, such as "
                f"'embeddings 0.05', 'dosages' or '{BURDEN}'"
            )
        windows = vector_files.windows_of([plain[column] for column in columns], where)
        own = dict(zip(windows.names, windows.columns, strict=True))
        none = np.empty(0, np.int64)  # a window without a variant has no dosages
        sources[name] = [np.ascontiguousarray(values[:, columns[own.get(window, none)]]) for window in names]
        if not known:
            continue
        families.add(family)
        frequencies.add(frequency)
        if family == "embeddings":
            widths[name] = windows.item_width if pooling.keeps_chunks_apart else None
    wanted = {source_of(family, one) for family in families for one in frequencies}
    if "dosages" in families:  # without a column where nobody has a rare allele
        sources.setdefault(BURDEN, [np.empty((len(values), 0), np.float32) for _ in names])
        wanted.add(BURDEN)
    if pooling.window not in ("components", "concat") or wanted != set(sources):
        absent = ", ".join(sorted(wanted - set(sources))) or f"pooling.window={pooling.window}"
        raise UserError(
            f"{where}: readings of genomes ({', '.join(readings)}) go together with all frequencies of each family and "
            f"with pooling.window=components (amiss: {absent})"
        )
    sets = column_sets(tuple(families), tuple(sorted(frequencies)), widths)
    found = tuple(one for one in sets if one.source in sources)
    return GeneBlocks(sources, found), next(iter(widths.values()), None)
