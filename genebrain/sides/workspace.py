"""A cohort with everything that was computed from it, each thing once.

The verbs ask here for pooled genomes, moments of scans and connectome features; what one arm of an ablation has
computed, the next one finds. Only features fitted on the very rows that are asked for are ever given back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genebrain.common.types import FloatArray, IntArray
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.genetics.haplotypes.told import genotype_funnel
from genebrain.genetics.store.work_parts import Shard
from genebrain.sides.brains.features import BrainFeatures
from genebrain.sides.compact import in_bases, place_bases
from genebrain.sides.genes.features import GeneFeatures
from genebrain.sides.pooling import GenePooling
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.vectors.kinds import GenomeSide


class Workspace(GeneFeatures, BrainFeatures):
    """Features of one cohort; what it is made with: :class:`~genebrain.sides.kept.KeptWork`."""

    def embed(self, gene: GenomeSide, shard: Shard | None = None, training: IntArray | None = None) -> dict[str, Any]:
        """Encode the chunks that are not stored yet; shares of the work run side by side, none waits for another.

        ``training`` people decide which alleles are rare; without them all alleles are read.
        """
        if isinstance(gene, VectorGenes):
            return gene.embed(self.cohort)
        if training is not None and "embeddings" not in gene.families:
            return {"dosages": sum(map(len, self.alleles(gene, training).alleles))}
        chunks = self.read_chunks(gene, training)
        masks = gene.frequencies if training is not None else ()  # of a trained encoder none
        gene = gene.frozen
        if shard is not None and shard.partial:
            return gene.embed(chunks, self.store, progress=self.progress, shard=shard)

        def work() -> dict[str, Any]:
            with self._filling():
                return gene.embed(chunks, self.store, progress=self.progress)

        return self._once(("embed", gene, masks, b"" if training is None else training.tobytes()), work)

    def gene_bases(self, gene: GenomeSide, pooling: GenePooling) -> FloatArray | None:
        """Bases of the coordinates of :meth:`blocks` in the space of the encoder; None where blocks lie in it."""
        if isinstance(gene, VectorGenes) or not (pooling.linear and gene.tuning == "frozen"):
            return None
        return place_bases(self.table(gene, pooling.token), self.chunks(gene).index)

    def blocks_in(
        self, gene: GenomeSide, pooling: GenePooling, bases: FloatArray | None
    ) -> tuple[Sequence[FloatArray], int | None]:
        """As :meth:`blocks`, in the coordinates of another cohort."""
        if isinstance(gene, VectorGenes):
            return self.blocks(gene, pooling)
        chunks, table = self.chunks(gene), self.table(gene, pooling.token)
        table, index = (table, chunks.index) if bases is None else in_bases(table, chunks.index, bases)
        return pooling.blocks(table, index, chunks.n_chunks), table.shape[1] if pooling.keeps_chunks_apart else None

    def genome_facts(self, gene: GenomeSide, training: IntArray) -> tuple[dict[str, int], dict[str, Any]]:
        """What the encoder read, and what of the genotypes was used; of vectors there is nothing to say."""
        if isinstance(gene, VectorGenes):
            return {}, {}
        chunks = self.read_chunks(gene, training)
        return gene.cost(chunks) if "embeddings" in gene.families else {}, genotype_funnel(chunks.report)

    def window_names(self, gene: GenomeSide, n_blocks: int) -> list[str]:
        """Names of the windows behind the blocks; a single block may hold all of them."""
        if isinstance(gene, VectorGenes):
            names = gene.window_names(self.cohort)
        else:
            names = [window.name for window in read_windows(self.cohort.windows)]
        return names if len(names) == n_blocks else [f"w{i}" for i in range(n_blocks)]

    def dosage_blocks(self, gene: GenomeSide) -> list[FloatArray]:
        """True dosages of the variants, ``[people, variants]`` per window."""
        if isinstance(gene, VectorGenes):
            gene.no_encoder()
        return self._once(("dosages", gene), lambda: gene.dosage_blocks(self.cohort))
