"""The genomes of a cohort as rows of the table of unique chunks.

Joins the DNA room (haplotypes, chunks, encoder, store) with the people of a cohort. Nothing here is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from genebrain.common.types import FloatArray, UserError
from genebrain.genetics.encoders.protocol import DNA_ENCODERS, GENERATORS
from genebrain.genetics.haplotypes.policies import GenotypeRules, Policies
from genebrain.genetics.model.options import CHUNK_BP, ReadingRules
from genebrain.sides.genes.encoder import ReadsDNA
from genebrain.sides.genes.rare import RARE_BELOW, checked_rare
from genebrain.sides.options import refuse_options_of_generator
from genebrain.training.settings import TUNINGS, LoraSettings, Tuning

if TYPE_CHECKING:
    from genebrain.cohort.participants import Cohort
    from genebrain.genetics.chunks.build import ChunkSet
    from genebrain.genetics.encoders.options import EmbedOptions
    from genebrain.genetics.store.work_parts import Shard


Columns = Literal["auto", "both", "embeddings", "dosages", "both+motifs", "dosages+motifs"]


@dataclass(frozen=True)
class GeneSide(ReadingRules, GenotypeRules, ReadsDNA):
    """Which DNA encoder reads which pieces of the genome, under which policies.

    Options of the encoder, of how it reads a chunk, and of odd genotypes: :class:`genebrain.ReadsDNA`,
    :class:`genebrain.ReadingRules`, :class:`genebrain.GenotypeRules`.

    Parameters
    ----------
    chunk_bp : int
        Bases per chunk, a multiple of 6; longer chunks cost more tokens: 1.5 kb needs 8 times fewer than 12 kb.
    cut_origin : {"genome", "window"}
        Cuts at multiples of ``chunk_bp`` of the genome (so that cohorts share chunks), or of the window.
    delta : bool
        Cohorts: subtract the vector of the reference chunk of the same place, so 0 where a person carries the
        reference. The vectors themselves are stored once, whether or not they are subtracted.
    tuning : {"frozen", "lora", "full"}
        Whether ``fit`` trains the encoder: not, by low-rank adapters, or all its weights (use delta then).
    lora : LoraSettings
        Form of the adapters, for ``tuning=lora``.
    columns : {"auto", "both", "embeddings", "dosages", "both+motifs", "dosages+motifs"}
        Gene columns of the closed form: vectors of the encoder, allele counts, or a stack of both (auto; where the
        encoder is trained: embeddings). ``+motifs`` searches degenerate words whose counts tell more than the alleles
        do; they are used only where predictions of people left out gain, and the search takes minutes.
    rare_below : float or sequence of float
        Alleles rarer than this among training people are written as the major allele before chunking, so that the
        encoder reads fewer chunks and a new rare allele moves nothing; of several numbers each gives a set of columns.
        0: all alleles are read.
    """

    chunk_bp: int = CHUNK_BP
    cut_origin: Literal["genome", "window"] = "genome"
    delta: bool = False
    tuning: Tuning = "frozen"
    lora: LoraSettings = field(default_factory=LoraSettings)
    columns: Columns = "auto"
    rare_below: float | tuple[float, ...] = RARE_BELOW

    def __post_init__(self) -> None:
        if self.path is None and self.name not in DNA_ENCODERS:
            raise UserError(f"genetics.name={self.name}: {DNA_ENCODERS.unknown(self.name)}")
        if self.own and self.chunk_bp < 1:
            raise UserError(f"chunk_bp={self.chunk_bp} must be at least 1")
        if not self.own and (self.chunk_bp < 6 or self.chunk_bp % 6):
            raise UserError(
                f"chunk_bp={self.chunk_bp}: GENERator reads 6 bases a token, so chunks must be a multiple of 6 "
                f"(nearest: {max(6, round(self.chunk_bp / 6) * 6)})"
            )
        if self.cut_origin not in ("genome", "window"):
            raise UserError(f"cut_origin='{self.cut_origin}': use genome or window")
        if self.tuning not in TUNINGS:
            raise UserError(f"genetics.tuning={self.tuning}: use one of {', '.join(TUNINGS)}")
        object.__setattr__(self, "rare_below", checked_rare(self.rare_below))
        if self.columns not in get_args(Columns):
            raise UserError(f"genetics.columns={self.columns}: use one of {', '.join(get_args(Columns))}")
        if self.tuning != "frozen" and "dosages" in self.families:
            raise UserError(
                f"genetics.tuning={self.tuning} trains an encoder whose vectors are the gene columns: leave "
                f"genetics.columns={self.columns} away"
            )
        self._policies()
        super().__post_init__()
        if self.own:
            refuse_options_of_generator(self)
            self.options()
        else:
            self._check_length(self.options())

    @property
    def families(self) -> tuple[str, ...]:
        """Kinds of gene columns that are used."""
        if self.columns == "auto":
            return ("embeddings", "dosages") if self.tuning == "frozen" else ("embeddings",)
        first, *more = self.columns.split("+")
        return (*(("embeddings", "dosages") if first == "both" else (first,)), *more)

    @property
    def frequencies(self) -> tuple[float, ...]:
        """Frequencies below which alleles are masked, in ascending order; empty where all alleles are read."""
        rare = self.rare_below
        return () if self.tuning != "frozen" or not isinstance(rare, tuple) else rare

    @property
    def own(self) -> bool:
        """Whether the encoder is one of a plugin, which reads letters in its own way."""
        return self.name in DNA_ENCODERS and self.name not in GENERATORS

    def _check_length(self, options: EmbedOptions) -> None:
        """Chunks that no published model can take are refused before genotypes are read; a local folder says later."""
        from genebrain.genetics.model.checkpoints import TRAINED_TOKENS

        limit = {"chunks": TRAINED_TOKENS, "yarn": self.model.context_tokens}.get(self.model.context)
        tokens = int(options.n_tokens(np.array([self.chunk_bp]))[0])
        if self.path is None and limit is not None and tokens > limit:
            raise UserError(
                f"chunk_bp={self.chunk_bp} makes chunks of {tokens} tokens, but model.context={self.model.context} "
                f"takes {limit}; make chunks shorter, or use model.context=yarn (with context_tokens) or sliding_window"
            )

    def options(self) -> EmbedOptions:
        """How a chunk becomes a vector."""
        from genebrain.genetics.encoders.options import EmbedOptions

        return EmbedOptions(**{one.name: getattr(self, one.name) for one in fields(ReadingRules)})

    def _policies(self) -> Policies:
        return Policies(**{field.name: getattr(self, field.name) for field in fields(GenotypeRules)})

    def chunk_inputs(self, cohort: Cohort) -> dict[str, Any]:
        """Arguments of :func:`~genebrain.genetics.chunks.build.build_chunks` for the people of a cohort."""
        from genebrain.genetics.genome.gene_windows import read_windows

        return {
            "genotypes": cohort.genotypes,
            "reference": cohort.reference,
            "windows": read_windows(cohort.windows),
            "samples": cohort.table["genotype_id"].tolist(),
            "chunk_bp": self.chunk_bp,
            "cut_origin": self.cut_origin,
            "policies": self._policies(),
        }

    def chunk_set(self, cohort: Cohort, store: Path, *, progress: bool = True) -> ChunkSet:
        """Unique chunks and the chunk index of a cohort's people, in the order of its table; built once."""
        from genebrain.genetics.chunks.build import stored_chunks

        inputs = self.chunk_inputs(cohort)
        chunks = stored_chunks(store / "chunk_index", progress=progress, **inputs)
        return self._paired(chunks, inputs) if self.delta else chunks

    def _paired(self, chunks: ChunkSet, inputs: dict[str, Any]) -> ChunkSet:
        from genebrain.genetics.chunks.reference import pair_with_reference

        places = {name: inputs[name] for name in ("reference", "windows", "chunk_bp", "cut_origin")}
        return pair_with_reference(chunks, **places)

    def plan(self, cohort: Cohort) -> dict[str, Any]:
        """Predict the encoder's work: naive and unique chunks, tokens; what is rare is counted on everybody."""
        from genebrain.genetics.chunks.work import BASES_PER_TOKEN, predict
        from genebrain.sides.genes.planned import planned_chunks

        options = self.options()
        marks = 0 if self.own else options.opening_mark + options.closing_mark
        inputs = self.chunk_inputs(cohort)
        built = planned_chunks(self.frequencies, inputs)
        paired = self._paired(built, inputs) if self.delta else None
        return predict(
            built, self.chunk_bp, paired=paired, marks=marks, readings=options.views.n_views,
            bases_per_token=1 if self.own else BASES_PER_TOKEN,
        )  # fmt: skip

    @property
    def rare_under(self) -> float | None:
        """Frequency below which alleles are masked; None: all are read."""
        return None

    @property
    def frozen(self) -> GeneSide:
        """The same side with the encoder as it is: what the stores know."""
        return replace(self, tuning="frozen", lora=LoraSettings())

    def embed(
        self, chunks: ChunkSet, store: Path, *, progress: bool = True, shard: Shard | None = None
    ) -> dict[str, Any]:
        """Encode the chunks (or one share of them) that the store does not hold yet; returns what was done."""
        from genebrain.genetics.store.store import ChunkStore

        read = chunks.keys, chunks.sequences, self.encoder(), self.options()
        report = ChunkStore(store / "chunks").embed(*read, progress=progress, shard=shard, name=self.name)
        return {"chunks_naive": chunks.n_naive, "chunks_unique": chunks.n_unique, **report.as_dict()}

    def table(self, chunks: ChunkSet, store: Path, pooling: str) -> FloatArray:
        """Stored embeddings, ``[rows, width]`` in the order that the index of the chunk set speaks of."""
        from genebrain.genetics.encoders.options import table_name
        from genebrain.genetics.store.store import ChunkStore

        reader = self.reader()
        if pooling not in reader.poolings:
            raise UserError(f"pooling.token={pooling}: {self.name} gives {', '.join(reader.poolings)}")
        vectors = ChunkStore(store / "chunks").table(chunks.keys, pooling, table_name(reader.identity()))
        return vectors if chunks.pairs is None else vectors[chunks.pairs[:, 0]] - vectors[chunks.pairs[:, 1]]

    def cost(self, chunks: ChunkSet) -> dict[str, int]:
        """Chunks with and without sharing, and the tokens that the encoder reads, marks and all readings included."""
        reader = self.reader()
        n_tokens = reader.sizes(np.array([len(sequence) for sequence in chunks.sequences], np.int64))
        tokens = int(n_tokens.sum()) * reader.n_views
        return {"chunks_naive": chunks.n_naive, "chunks_unique": chunks.n_unique, "encoder_tokens": tokens}

    def dosage_blocks(self, cohort: Cohort) -> list[FloatArray]:
        """True dosages of all variants, one block ``[subjects, variants]`` per window."""
        from genebrain.genetics.chunks.build import dosages
        from genebrain.genetics.genome.gene_windows import read_windows

        return dosages(cohort.genotypes, read_windows(cohort.windows), cohort.table["genotype_id"].tolist())
