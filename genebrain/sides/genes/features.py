"""Features of the genomes of a workspace: chunks, their vectors pooled, alleles, sides under masks, column sets."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genebrain.alignment.closed_form.column_sets import Blocks, mapped
from genebrain.alignment.made_blocks import MadeBlocks
from genebrain.cohort.notices import tell
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.engines.run import current
from genebrain.engines.share import Waiting
from genebrain.genetics.chunks.build import content_fingerprint, cut_together
from genebrain.genetics.chunks.chunk_set import ChunkSet, together
from genebrain.genetics.chunks.counted_alleles import counted_alleles
from genebrain.genetics.chunks.spread import UNFINISHED, remove_waiting
from genebrain.genetics.chunks.stored_alleles import alleles_file, load_alleles, save_alleles
from genebrain.genetics.chunks.window import CutInputs
from genebrain.genetics.chunks.word_counts import counts_in
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.genetics.haplotypes.common_alleles import Allele, AlleleTable, dosages_of
from genebrain.genetics.haplotypes.told import told_genotypes
from genebrain.sides.compact import compact
from genebrain.sides.genes.masked import MaskedGenes
from genebrain.sides.genes.rare import refuse_all_rare
from genebrain.sides.genes.readings import dosage_sources, filled, gene_blocks, source_of, told_missing
from genebrain.sides.genome import GeneSide
from genebrain.sides.kept import KeptWork
from genebrain.sides.pooling import GenePooling
from genebrain.sides.vectors.cohorts import check_sides
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.vectors.kinds import GenomeSide

log = logging.getLogger(__name__)

CHUNK_INDEX = "chunk_index"
"""Folder of the store with the chunks of genomes."""
ALLELES_VERSION = 2
"""Of what is stored of alleles; the first did not count rare ones together."""


class GeneFeatures(KeptWork):
    """Side of the genomes; everything is counted on training people and computed once."""

    def chunks(self, gene: GenomeSide) -> ChunkSet:
        """Unique chunks and chunk index of the cohort."""
        if isinstance(gene, VectorGenes):
            gene.no_encoder()
        check_sides(self.cohort, genetics=gene)
        gene = gene.frozen

        def work() -> ChunkSet:
            with self._filling():
                chunks = gene.chunk_set(self.cohort, self.store, progress=self.progress)
            tell(told_genotypes(chunks.report, gene.rare_under))
            return chunks

        return self._once(("chunks", gene), work)

    def table(self, gene: GenomeSide, token: str) -> FloatArray:
        """Embeddings of the unique chunks, ``[unique, hidden]``."""
        if isinstance(gene, VectorGenes):
            gene.no_encoder()
        gene = gene.frozen
        try:
            return self._once(("table", gene, token), lambda: gene.table(self.chunks(gene), self.store, token))
        except FileNotFoundError as error:
            raise UserError(
                f"the store {self.store} does not hold the embeddings of cohort {self.cohort.name} (any more); fill it "
                f"with: genebrain embed cohort.path={self.cohort.folder / 'cohort.yaml'} store={self.store}, and the "
                "genetics=, brain=, split= and seed= of the run"
            ) from error

    def blocks(self, gene: GenomeSide, pooling: GenePooling) -> tuple[Sequence[FloatArray], int | None]:
        """Pooled genomes, ``[people, features]`` per window, and the width of a chunk where chunks are kept apart."""
        if isinstance(gene, VectorGenes):
            return self._once(("blocks", gene, pooling), lambda: gene.blocks(self.cohort, pooling))
        chunks = self.chunks(gene)

        def work() -> tuple[Any, int | None]:
            table = self.table(gene, pooling.token)
            # An encoder in training leaves the span of what it gave before: its columns need all coordinates.
            narrow = pooling.linear and gene.tuning == "frozen"
            table, index = compact(table, chunks.index) if narrow else (table, chunks.index)
            width = table.shape[1] if pooling.keeps_chunks_apart else None
            return pooling.blocks(table, index, chunks.n_chunks), width

        return self._once(("blocks", gene, pooling), work)

    def alleles(self, gene: GeneSide, training: IntArray) -> AlleleTable:
        """Alleles that are common among training people, and everybody's dosages of them."""
        low = min(gene.frequencies, default=0.0)

        def work() -> AlleleTable:
            if stored := self._stored_alleles(gene, training):
                remove_waiting(self._counting(gene, training))  # whoever stored them may have been killed before this
                return load_alleles(stored[0])
            place, inputs = self._counting(gene, training), CutInputs.of(**gene.chunk_inputs(self.cohort))
            try:
                with self._filling():
                    found = counted_alleles(inputs, np.asarray(training, np.int64), low, place, progress=self.progress)
                    if not current().is_array:  # other jobs may still be reading the parts
                        shutil.rmtree(place, ignore_errors=True)
            except (UserError, OSError):
                if place.is_dir() or not (stored := self._stored_alleles(gene, training)):
                    raise
                return load_alleles(stored[0])  # another job of the array has stored it, and tidied up
            refuse_all_rare(found, low, len(training))
            return found

        return self._once(_key(gene, training), work)

    def _stored_alleles(self, gene: GeneSide, training: IntArray) -> list[Path]:
        name = alleles_file(Path(), self._counted(gene, training))
        return [path for path in (self.store / CHUNK_INDEX).glob(f"*/{name}") if "." not in path.parent.name]

    def _counting(self, gene: GeneSide, training: IntArray) -> Path:
        """Where windows wait until all are counted."""
        return self.store / CHUNK_INDEX / f"{self._counted(gene, training)}{UNFINISHED}"

    def _counted(self, gene: GeneSide, training: IntArray) -> str:
        """Name of the alleles that these training people have in these windows."""

        def work() -> str:  # reads up to 64 MiB of each file
            inputs = gene.chunk_inputs(self.cohort)
            told = {name: inputs[name] for name in ("genotypes", "reference", "windows", "samples")}
            low = min(gene.frequencies, default=0.0)
            return content_fingerprint(**told, counting_rows=training, frequency=low, version=ALLELES_VERSION)

        return self._once(("counted", *_key(gene, training)[1:]), work)

    def _keep_alleles(self, gene: GeneSide, masked: GeneSide, training: IntArray) -> None:
        """Store what was counted with the chunks that were cut by it, but no alleles that were taken from elsewhere."""
        table = self.alleles(gene, training)
        folder = self.store / CHUNK_INDEX / content_fingerprint(**masked.chunk_inputs(self.cohort))
        path = alleles_file(folder, self._counted(gene, training))
        if table.n_seen and folder.is_dir():
            if not path.exists():
                save_alleles(path, table)
            remove_waiting(self._counting(gene, training))

    def take_alleles(self, gene: GeneSide, training: IntArray, alleles: list[list[Allele]]) -> None:
        """Take these alleles as the common ones, in the place of what would be counted on training people.

        Raises
        ------
        UserError
            They are of another number of windows.
        """
        cohort, windows = self.cohort, read_windows(self.cohort.windows)
        if len(windows) != len(alleles):
            raise UserError(
                f"{cohort.windows} holds {len(windows)} windows, and the run was fitted on {len(alleles)}: restore the "
                "file, or fit again in another folder (run=)"
            )
        samples = cohort.table["genotype_id"].tolist()
        table, _, _ = dosages_of(cohort.genotypes, windows, samples, alleles)
        self._kept[_key(gene, training)] = table

    def masked(self, gene: GenomeSide, training: IntArray) -> list[GenomeSide]:
        """The side under each of its masks, counted on training people; itself where all alleles are read."""
        if isinstance(gene, VectorGenes) or not gene.frequencies or isinstance(gene, MaskedGenes):
            return [gene]
        table = self.alleles(gene, training)
        return [MaskedGenes.of(gene, table.mask(one)) for one in gene.frequencies]

    def gene_blocks(self, gene: GenomeSide, pooling: GenePooling, training: IntArray) -> tuple[Blocks, int | None]:
        """What the closed form reads of everybody: embeddings under each mask and dosages, with their column sets.

        Windows that a person lacks become the mean of the training people.
        """

        def whole(block: FloatArray) -> FloatArray:
            return filled(block, training)[0]

        if isinstance(gene, VectorGenes):
            blocks, width = gene.blocks(self.cohort, pooling)
            if missing := told_missing(list(blocks)):
                log.warning(missing)
            return mapped(blocks, whole), width
        embeddings: dict[str, Sequence[FloatArray]] = {}
        widths: dict[str, int | None] = {}
        missing = ""
        if "embeddings" in gene.families:
            for one, frequency in zip(self.masked(gene, training), gene.frequencies or (0.0,), strict=True):
                source = source_of("embeddings", frequency)
                blocks, widths[source] = self.blocks(one, pooling)
                told = told_missing(blocks)
                missing = missing or told
                # What lacks nothing is not looked at as a whole, so that people can be made some at a time.
                embeddings[source] = mapped(blocks, whole) if told else blocks  # type: ignore[assignment]
                if isinstance(blocks, MadeBlocks):  # of a large cohort the chunks of every mask are too much to keep
                    self._forget("chunks")
        if missing:
            log.warning(missing)
        dosages: dict[str, Sequence[FloatArray]] = {}
        if "dosages" in gene.families:
            table = self.alleles(gene, training)
            dosages = dosage_sources(table, gene.frequencies)

        blocks = gene_blocks(
            gene, embeddings, dosages, widths, lambda: counts_in(self.chunks(gene), read_windows(self.cohort.windows))
        )
        return blocks, next(iter(widths.values()), None)

    def read_chunks(self, gene: GenomeSide, training: IntArray | None = None) -> ChunkSet:
        """Chunks that the encoder reads, under all masks together; the index is that of the first mask."""
        sides = [gene] if training is None else self.masked(gene, training)
        if len(sides) > 1:
            with self._filling():
                several = [side.chunk_inputs(self.cohort) for side in sides if isinstance(side, GeneSide)]
                cut_together(self.store / CHUNK_INDEX, several, progress=self.progress)
        found, waiting = [], None
        for side in sides:
            try:
                found.append(self.chunks(side))
            except Waiting as others:  # a job of an array does its share under every mask
                waiting = waiting or others
        if waiting is not None:
            raise waiting
        if isinstance(gene, GeneSide) and training is not None and isinstance(sides[0], MaskedGenes):
            self._keep_alleles(gene, sides[0], training)
        return together(found)


def _key(gene: GeneSide, training: IntArray) -> tuple[str, float, bytes]:
    return "alleles", min(gene.frequencies, default=0.0), training.tobytes()
