"""Gene readings of a run for people of another cohort: its alleles, masks and coordinates, applied as they are.

An allele that training people lack, or carried too rarely, is written as the major allele; an allele that the other
file does not have counts as not carried.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genebrain.alignment.closed_form.column_sets import Blocks
from genebrain.common.reading import contents_of, read_record
from genebrain.common.run_folder import write_json
from genebrain.common.tensor_files import read_arrays, write_tensors
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.genetics.chunks.word_counts import counts_in
from genebrain.genetics.genome.gene_windows import Window, read_windows
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.haplotypes.common_alleles import Allele, AlleleTable, dosages_of
from genebrain.sides.genes.masked import MaskedGenes
from genebrain.sides.genes.readings import dosage_sources, gene_blocks, source_of, uses_sets
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.sides.workspace import Workspace

log = logging.getLogger(__name__)

BASES, ALLELES = "gene_bases.safetensors", "alleles.json"
PLAIN = "bases"
"""Name of the bases of a side without a mask."""
Reader = Callable[[GeneSide, FloatArray | None], tuple[Sequence[FloatArray], int | None]]
"""From a side (with its mask) and bases to pooled genomes and the width of a chunk."""


@dataclass(frozen=True)
class OtherGenotypes:
    """Genotypes of people of whom nothing was fitted.

    Attributes
    ----------
    genotypes : path or GenotypeSource
    windows : sequence of Window
        Those of the run.
    samples : sequence of str
    name : str
        For messages.
    """

    genotypes: Path | GenotypeSource
    windows: Sequence[Window]
    samples: Sequence[str]
    name: str


def save_gene_coordinates(
    gene: GenomeSide, pooling: GenePooling, workspace: Workspace, training: IntArray, folder: Path
) -> None:
    """Keep beside the checkpoints what reads other people's genomes: bases under each mask, and the common alleles."""
    if isinstance(gene, VectorGenes):
        return
    if "embeddings" in gene.families:
        bases = {
            name: found
            for name, side in zip(_names(gene.frequencies), workspace.masked(gene, training), strict=True)
            if (found := workspace.gene_bases(side, pooling)) is not None
        }
        if bases:
            write_tensors(folder / BASES, bases)
    if uses_sets(gene):
        table = workspace.alleles(gene, training)
        write_json(folder / ALLELES, {"windows": [[list(a) for a in w] for w in table.alleles]}, private=True)


def genes_elsewhere(
    gene: GenomeSide, pooling: GenePooling, workspace: Workspace, folder: Path
) -> tuple[Blocks, int | None]:
    """Blocks of everybody of another cohort in the coordinates of a run; its chunks are embedded where that is missing.

    Parameters
    ----------
    workspace : Workspace
        Of the other cohort.
    folder : Path
        Checkpoints of the run.

    Raises
    ------
    UserError
        None of the alleles that the run reads is in the genotypes.
    """

    def read(side: GenomeSide, bases: FloatArray | None) -> tuple[Sequence[FloatArray], int | None]:
        workspace.embed(side)
        return workspace.blocks_in(side, pooling, bases)

    if isinstance(gene, VectorGenes):
        return read(gene, None)

    cohort = workspace.cohort
    samples = cohort.table["genotype_id"].tolist()
    people = OtherGenotypes(cohort.genotypes, read_windows(cohort.windows), samples, f"cohort {cohort.name}")
    return genes_in_coordinates(
        gene, folder, people, read, lambda: counts_in(workspace.chunks(gene), read_windows(workspace.cohort.windows))
    )


def genes_in_coordinates(
    gene: GeneSide, folder: Path, people: OtherGenotypes, read: Reader, words: Callable[[], Any]
) -> tuple[Blocks, int | None]:
    """Blocks of people in the coordinates of a run, whoever reads their chunks; see :func:`genes_elsewhere`."""
    bases = saved_bases(folder)
    if not uses_sets(gene):
        return read(gene, bases.get(PLAIN))
    table = AlleleTable(saved_alleles(folder), [], 0)
    embeddings: dict[str, Sequence[FloatArray]] = {}
    widths: dict[str, int | None] = {}
    sides: list[GeneSide] = [MaskedGenes.of(gene, table.mask(f)) for f in gene.frequencies] or [gene]
    if "embeddings" in gene.families:
        for name, frequency, side in zip(_names(gene.frequencies), gene.frequencies or (0.0,), sides, strict=True):
            source = source_of("embeddings", frequency)
            embeddings[source], widths[source] = read(side, bases.get(name))
    dosages = _dosages(gene, people, table) if "dosages" in gene.families else {}
    return gene_blocks(gene, embeddings, dosages, widths, words), next(iter(widths.values()), None)


def embeddings_of_then(
    gene: GeneSide, pooling: GenePooling, workspace: Workspace, training: IntArray, folder: Path
) -> dict[str, Sequence[FloatArray]]:
    """Embeddings of a run's own people in the bases of its fit, by source, for when they are fewer than then."""
    bases, found = saved_bases(folder), {}
    if "embeddings" in gene.families:
        sides = workspace.masked(gene, training)
        for name, frequency, side in zip(_names(gene.frequencies), gene.frequencies or (0.0,), sides, strict=True):
            found[source_of("embeddings", frequency)], _ = workspace.blocks_in(side, pooling, bases.get(name))
    return found


def saved_bases(folder: Path) -> dict[str, FloatArray]:
    """Bases that a run has kept, by mask; empty where its blocks lie in the space of the encoder."""
    return read_arrays(folder / BASES) if (folder / BASES).is_file() else {}


def saved_alleles(folder: Path) -> list[list[Allele]]:
    """Common alleles of each window that a run has kept."""
    path = folder / ALLELES
    record = read_record(path)
    with contents_of(path):
        return [[Allele(*one) for one in window] for window in record["windows"]]


def _dosages(gene: GeneSide, people: OtherGenotypes, table: AlleleTable) -> dict[str, Sequence[FloatArray]]:
    whole, absent, unknown = dosages_of(people.genotypes, people.windows, people.samples, table.alleles)
    wanted = sum(map(len, table.alleles))
    if absent == wanted:
        raise UserError(
            f"none of the {wanted:,} alleles that the model reads is in the genotypes of {people.name}: other "
            "variants were called, or the letters are written in another way (left-align and split both files alike)"
        )
    notes = []
    if absent:
        notes.append(
            f"{absent:,} of {wanted:,} alleles that the model reads are not in the genotypes of {people.name} and "
            "count as not carried"
        )
    if unknown:
        notes.append(
            f"{unknown:,} alleles that people of {people.name} carry are unknown to the model or were rare among its "
            "training people, and are read as the major allele"
        )
    if notes:
        log.warning(f"note: {'; '.join(notes)}")
    return dosage_sources(whole, gene.frequencies)


def _names(frequencies: tuple[float, ...]) -> list[str]:
    return [source_of("embeddings", one) for one in frequencies] or [PLAIN]
