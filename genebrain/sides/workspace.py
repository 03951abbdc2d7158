"""A cohort with everything that was computed from it, each thing once.

The verbs ask here for pooled genomes, moments of scans and connectome features; what one arm of an ablation has
computed, the next one finds. Only features fitted on the very rows that are asked for are ever given back.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from genebrain.brain.encoders.preflight import refuse_other_parcels
from genebrain.brain.store.report import worth_telling
from genebrain.cohort.notices import tell
from genebrain.cohort.participants import Cohort, load_cohort
from genebrain.cohort.restrict import restrict
from genebrain.common.alone import refuse_links, waiting_for
from genebrain.common.leftovers import sweep
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.common.words import told
from genebrain.engines.run import current
from genebrain.genetics.chunks.build import ChunkSet
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.genetics.haplotypes.told import genotype_funnel, told_genotypes
from genebrain.genetics.store.work_parts import Shard
from genebrain.sides.brains.features import BrainFeatures
from genebrain.sides.compact import compact, in_bases, place_bases
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genes.features import MaskedGenomes
from genebrain.sides.pooling import GenePooling
from genebrain.sides.scans import BrainSide
from genebrain.sides.vectors.cohorts import check_sides
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.vectors.kinds import GenomeSide

log = logging.getLogger(__name__)


class Workspace(MaskedGenomes, BrainFeatures):
    """Features of one cohort.

    Parameters
    ----------
    cohort : Cohort or path of ``cohort.yaml``
    store : Path, optional
        Folder of embeddings, chunk indexes and scans; ``store`` beside ``cohort.yaml`` by default.
    progress : bool
        Show progress bars.
    """

    def __init__(self, cohort: Cohort | Path | str, store: Path | str | None = None, *, progress: bool = True):
        self.cohort = cohort if isinstance(cohort, Cohort) else load_cohort(cohort)
        self.store = Path(store) if store is not None else self.cohort.folder / "store"
        self.progress = progress
        tell((problem.message for problem in self.cohort.warnings), "warning: ")
        self._kept: dict[Hashable, Any] = {}
        self._swept = False
        try:
            self.store.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            words = f"cannot make the store {self.store}: {error.strerror}; name another folder with store="
            raise UserError(words) from error
        refuse_links(self.store)
        if not os.access(self.store, os.W_OK):
            raise UserError(f"the store {self.store} is read-only; name another folder with store=")

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

    def ingest(self, brain: BrainSide) -> dict[str, Any]:
        """Bring the scans into the store and leave out people without a usable one; returns the counts.

        Comes before everything else: row numbers mean the people that are left.
        """
        check_sides(self.cohort, brain=brain)

        def work() -> dict[str, Any]:
            if isinstance(brain, ConnectomeSide):  # encoders compare them with their weights too
                refuse_other_parcels(self.cohort.scans, self.cohort.parcel_coordinates, self.cohort.atlas)
            with self._filling():
                report, usable = brain.ingest(self.cohort, self.store, progress=self.progress)
            for words in worth_telling(report):
                log.warning(words)
            if lost := len(self.cohort) - len(usable):
                self.keep_people(np.array(sorted(usable), dtype=np.int64), "no usable scan")
                windows = report.get("windows", {}).get("why_without", {})
                why = told(report["quarantine"]["reasons"] | report["short"]["reasons"] | windows)
                log.warning(f"left out: {lost} people without a usable scan ({why})")
            return {**report, "people_without_usable_scan": lost}

        return self._once(("ingest", brain.source), work)

    def keep_people(self, rows: IntArray, reason: str, cohort: Cohort | None = None) -> None:
        """Go on with these rows of the cohort, the others counted under a reason; what was computed is forgotten."""
        self.cohort = restrict(cohort or self.cohort, rows, reason)
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] == "ingest"}  # type: ignore[index]

    @contextmanager
    def _filling(self) -> Iterator[None]:
        """One process fills the store at a time; others wait, and then find it filled. Jobs of an array all do."""
        if current().is_array:
            yield
            return
        words = f"another process is filling the store {self.store}; waiting for it"
        with waiting_for(self.store / ".filling.lock", words):
            if not self._swept:
                sweep(self.store)
                self._swept = True
            yield

    def _forget(self, kind: str) -> None:
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] != kind}  # type: ignore[index]

    def _once(self, key: Hashable, make: Any) -> Any:
        if key not in self._kept:
            if key[0] == "blocks":  # type: ignore[index]
                self._forget("blocks")  # the largest thing here, and arms come one after another
            # Thousands of small products: threads in each would wait for one another, on a busy machine for minutes.
            with threadpool_limits(1, user_api="blas"):
                self._kept[key] = make()
        return self._kept[key]
