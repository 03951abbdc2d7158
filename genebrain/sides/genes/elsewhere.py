"""Gene readings of a run for people of another cohort: its alleles, masks and coordinates, applied as they are.

An allele that training people lack, or carried too rarely, is written as the major allele; an allele that the other
file does not have counts as not carried.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genebrain.alignment.closed_form.column_sets import Blocks
from genebrain.common.reading import contents_of, read_record
from genebrain.common.run_folder import write_json
from genebrain.common.tensor_files import read_arrays, write_tensors
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.genetics.haplotypes.common_alleles import Allele, AlleleTable, dosages_of
from genebrain.sides.genes.masked import MaskedGenes
from genebrain.sides.genes.readings import gene_blocks, source_of, uses_sets
from genebrain.sides.pooling import GenePooling
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.sides.workspace import Workspace

BASES, ALLELES = "gene_bases.safetensors", "alleles.json"
PLAIN = "bases"
"""Name of the bases of a side without a mask."""


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
    bases = read_arrays(folder / BASES) if (folder / BASES).is_file() else {}
    if isinstance(gene, VectorGenes) or not uses_sets(gene):
        workspace.embed(gene)
        return workspace.blocks_in(gene, pooling, bases.get(PLAIN))
    table = AlleleTable(saved_alleles(folder), [], 0)
    embeddings: dict[str, list[FloatArray]] = {}
    widths: dict[str, int | None] = {}
    sides: list[GenomeSide] = [MaskedGenes.of(gene, table.mask(f)) for f in gene.frequencies] or [gene]
    if "embeddings" in gene.families:
        for name, frequency, side in zip(_names(gene.frequencies), gene.frequencies or (0.0,), sides, strict=True):
            workspace.embed(side)
            source = source_of("embeddings", frequency)
            embeddings[source], widths[source] = workspace.blocks_in(side, pooling, bases.get(name))
    dosages = _dosages(gene, workspace, table) if "dosages" in gene.families else {}
    return gene_blocks(gene, embeddings, dosages, widths), next(iter(widths.values()), None)


def saved_alleles(folder: Path) -> list[list[Allele]]:
    """Common alleles of each window that a run has kept."""
    path = folder / ALLELES
    record = read_record(path)
    with contents_of(path):
        return [[Allele(*one) for one in window] for window in record["windows"]]


def _dosages(gene: Any, workspace: Workspace, table: AlleleTable) -> dict[str, list[FloatArray]]:
    cohort = workspace.cohort
    samples = cohort.table["genotype_id"].tolist()
    blocks, absent, unknown = dosages_of(cohort.genotypes, read_windows(cohort.windows), samples, table.alleles)
    wanted = sum(map(len, table.alleles))
    if absent == wanted:
        raise UserError(
            f"none of the {wanted:,} alleles that the model reads is in the genotypes of cohort {cohort.name}: other "
            "variants were called, or the letters are written in another way (left-align and split both files alike)"
        )
    if absent or unknown:
        print(
            f"note: {absent:,} of {wanted:,} alleles that the model reads are not in the genotypes of cohort "
            f"{cohort.name} and count as not carried; {unknown:,} that people carry are unknown to it or were rare "
            "among its training people, and are read as the major allele"
        )
    whole = AlleleTable(table.alleles, blocks, 0)
    return {source_of("dosages", one): whole.blocks(one) for one in gene.frequencies or (0.0,)}


def _names(frequencies: tuple[float, ...]) -> list[str]:
    return [source_of("embeddings", one) for one in frequencies] or [PLAIN]
