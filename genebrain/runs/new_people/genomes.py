"""Score vectors of new people's genomes, from genotypes alone; nothing is fitted.

Windows, letters of the reference, rules of the chunks, encoder and standardisers are those of the run. Chunks that its
store holds already are looked up there; nothing of the new people is written into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from genebrain.alignment.model import AlignmentModel
from genebrain.alignment.towers.towers import tower_vectors
from genebrain.cohort.notices import tell
from genebrain.cohort.participants import Cohort
from genebrain.common.run_folder import read_json
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.genetics.chunks.build import build_chunks
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.chunks.reference import pair_with_reference
from genebrain.genetics.chunks.word_counts import counts_in
from genebrain.genetics.encoders.options import table_name
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genome.kept_letters import KeptLetters
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.haplotypes.report import MOST_MISMATCHES
from genebrain.genetics.haplotypes.resolve import open_genotypes
from genebrain.genetics.haplotypes.told import told_genotypes
from genebrain.genetics.store.store import ChunkStore
from genebrain.genetics.store.table_files import ShardIndex, as_names
from genebrain.runs.fit import Experiment
from genebrain.runs.transfer import (
    COORDINATES,
    LETTERS,
    gene_coordinates,
    refuse_others,
    refuse_own_only,
)
from genebrain.sides.compact import in_bases
from genebrain.sides.genes.elsewhere import OtherGenotypes, genes_in_coordinates
from genebrain.sides.genes.masked import MaskedGenes
from genebrain.sides.genes.readings import told_missing
from genebrain.sides.genome import GeneSide
from genebrain.sides.vectors.kinds import GenomeSide

UNPHASED = "note: unphased genotypes are ordered at random (genetics.unphased=random), in another cohort differently"
GENOTYPES = re.compile(r".*\.(vcf|vcf\.gz|vcf\.bgz|bcf|pgen)")


@dataclass(frozen=True)
class NewGenomes:
    """Genotypes of some people, and what they are called.

    Attributes
    ----------
    genotypes : path or GenotypeSource
    samples : list of str
        Their names in the file.
    ids : list of str
        What they are called in the answer.
    cohort : Cohort or None
        Where they come from, for a cohort: its windows and build are compared with those of the run.
    """

    genotypes: Path | GenotypeSource
    samples: list[str]
    ids: list[str]
    cohort: Cohort | None = None

    @property
    def name(self) -> str:
        """For messages."""
        if self.cohort is not None:
            return f"cohort {self.cohort.name}"
        return self.genotypes.name

    @classmethod
    def of_file(cls, genotypes: Path | GenotypeSource) -> NewGenomes:
        """Everybody of a genotype file."""
        samples = list(open_genotypes(genotypes).samples)
        return cls(genotypes, samples, samples)

    @classmethod
    def of_cohort(cls, cohort: Cohort) -> NewGenomes:
        """The people of a cohort."""
        ids, samples = (cohort.table[name].astype(str).tolist() for name in ("participant_id", "genotype_id"))
        return cls(cohort.genotypes, samples, ids, cohort)


def is_genotypes(given: object) -> bool:
    """Whether this names a genotype file."""
    return isinstance(given, GenotypeSource) or (
        isinstance(given, str | Path) and GENOTYPES.fullmatch(Path(given).name.lower()) is not None
    )


def genome_vectors(
    run: Path,
    experiment: Experiment,
    model: AlignmentModel,
    people: NewGenomes,
    *,
    reference: Path | None = None,
    store: Path | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Score vectors of the genomes of these people, ids as index; each comes out the same whoever is beside.

    Parameters
    ----------
    reference : path, optional
        FASTA, for runs that kept no letters of theirs.
    store : path, optional
        Store of the run, whose chunk vectors are used where it holds them.

    Raises
    ------
    UserError
        The run reads vectors, has a part that knows its own people only, or is of an older version; another build or
        other windows; genotypes that its policies refuse.
    """
    side = experiment.genetics
    if not isinstance(side, GeneSide):
        raise UserError(f"{run} was fitted on vectors of genomes: give vectors of the new people, not genotypes")
    refuse_own_only(run, experiment)
    folder = run / "checkpoints"
    wanted = read_json(folder / COORDINATES)
    if people.cohort is not None:
        refuse_others(_of_genomes(wanted), gene_coordinates(side, people.cohort), run, people.cohort.name)
        reference = reference or people.cohort.reference
    windows = [Window(contig, start, end, name, strand) for name, contig, start, end, strand in wanted["windows"]]
    letters, pooling = _letters(run, windows, reference), experiment.pooling

    def read(masked: GeneSide, bases: FloatArray | None) -> tuple[Sequence[FloatArray], int | None]:
        chunks = _read(masked, people, windows, letters, progress=progress)
        vectors = chunk_vectors(masked, chunks, store, pooling.token, progress=progress)
        index: IntArray = chunks.index
        if bases is not None:
            vectors, index = in_bases(vectors, index, bases)
        blocks = pooling.blocks(vectors, index, chunks.n_chunks)
        tell(filter(None, [told_missing(blocks)]))
        return blocks, vectors.shape[1] if pooling.keeps_chunks_apart else None

    def words() -> NDArray[np.unsignedinteger]:
        return counts_in(_read(side, people, windows, letters, progress=progress), windows)

    others = OtherGenotypes(people.genotypes, windows, people.samples, people.name)
    blocks, _ = genes_in_coordinates(side, folder, others, read, words)
    closed = model.closed_form
    return scored(model, closed.gene_columns(blocks), closed.gene_vectors, "gene_tower", people.ids)


def scored(
    model: AlignmentModel, features: FloatArray, closed: Callable[[FloatArray], FloatArray], tower: str, ids: list[str]
) -> pd.DataFrame:
    """Score vectors of features by the kept model: its closed form, or its trained tower; ids as index."""
    if model.kept == "closed_form":
        values = closed(features)
    else:
        assert model.towers is not None
        values = tower_vectors(getattr(model.towers, tower), torch.from_numpy(features.astype(np.float32)))
    return pd.DataFrame(values, index=ids, columns=[f"v{i}" for i in range(values.shape[1])])


def chunk_vectors(
    side: GenomeSide, chunks: ChunkSet, store: Path | None, token: str, *, progress: bool = False
) -> FloatArray:
    """Vectors of the chunks, in the order that their index speaks of: from a store what it holds, the rest anew.

    What is encoded here goes into a private folder that is deleted.
    """
    assert isinstance(side, GeneSide)
    frozen, names = side.frozen, as_names(chunks.keys)
    name = table_name(frozen.reader().identity())
    known = np.zeros(len(names), bool)
    if store is not None and (store / "chunks" / name / "provenance.json").is_file():
        known = ShardIndex.read(store / "chunks" / name).find(names) >= 0
    vectors = np.empty((len(names), frozen.reader().width), np.float32)
    if known.any() and store is not None:
        vectors[known] = ChunkStore(store / "chunks").table(chunks.keys[known], token, name)
    new = np.flatnonzero(~known)
    if len(new):
        with TemporaryDirectory(prefix="genebrain-new-people-") as folder:
            scratch = ChunkStore(folder)
            letters = [chunks.sequences[row] for row in new]
            scratch.embed(
                chunks.keys[new], letters, frozen.encoder(), frozen.options(), progress=progress, name=side.name
            )
            vectors[new] = scratch.table(chunks.keys[new], token, name)
    return vectors if chunks.pairs is None else vectors[chunks.pairs[:, 0]] - vectors[chunks.pairs[:, 1]]


def _read(
    side: GeneSide, people: NewGenomes, windows: list[Window], letters: Path | KeptLetters, *, progress: bool
) -> ChunkSet:
    places = {"windows": windows, "chunk_bp": side.chunk_bp, "cut_origin": side.cut_origin}
    chunks = build_chunks(
        people.genotypes, letters, samples=people.samples, policies=side._policies(), progress=progress,
        mask=side.mask if isinstance(side, MaskedGenes) else None, **places,  # type: ignore[arg-type]
    )  # fmt: skip
    used, wrong = chunks.report["counts"]["used_records"], len(chunks.report["reference_mismatches"])
    if not chunks.report["counts"]["records"]:
        raise UserError(
            f"{chunks.report['genotypes']} has no record in any of the {len(windows)} windows of the run: everybody "
            "would have the reference sequence. Is it another genome build, or the file of other chromosomes?"
        )
    if wrong > MOST_MISMATCHES * used:
        raise UserError(
            f"{chunks.report['genotypes']}: REF differs from the letters that the run was fitted with at {wrong:,} of "
            f"{used:,} records: this is another genome build"
        )
    if side.unphased == "random" and chunks.report["counts"]["used_unphased_het_genotypes"]:
        tell([UNPHASED])
    tell(told_genotypes(chunks.report, side.rare_under)[1:])  # how many windows vary says nothing of a few people
    return pair_with_reference(chunks, letters, **places) if side.delta else chunks  # type: ignore[arg-type]


def _letters(run: Path, windows: list[Window], reference: Path | None) -> Path | KeptLetters:
    kept = run / "checkpoints" / LETTERS
    if kept.is_file():
        return KeptLetters(kept, windows)
    if reference is None:
        raise UserError(
            f"{run} was fitted by a version that kept no letters of the reference: name the FASTA (reference=), or "
            "give a cohort"
        )
    return reference


def _of_genomes(wanted: dict[str, object]) -> dict[str, object]:
    return {key: wanted[key] for key in ("windows", "letters", "columns") if key in wanted}
