"""The genomes of a cohort as rows of the table of unique chunks.

Joins the DNA room (haplotypes, chunks, encoder, store) with the people of a cohort. Nothing here is fitted.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from genebrain.cohort.participants import Cohort
from genebrain.common.types import FloatArray, UserError
from genebrain.genetics.chunks.build import ChunkSet, build_chunks, content_fingerprint, dosages
from genebrain.genetics.chunks.reference import pair_with_reference
from genebrain.genetics.chunks.work import BASES_PER_TOKEN, predict
from genebrain.genetics.encoders.generator import GeneratorEncoder
from genebrain.genetics.encoders.options import EmbedOptions, table_name
from genebrain.genetics.encoders.plain import make_encoder, reader_for
from genebrain.genetics.encoders.protocol import DNA_ENCODERS, ChunkReader, DNAEncoder, DNAWeights
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.genetics.haplotypes.resolve import Policies
from genebrain.genetics.model.backbone import GeneratorBackbone, load_generator
from genebrain.genetics.model.checkpoints import TRAINED_TOKENS
from genebrain.genetics.model.language_model import GeneratorLanguageModel, load_language_model
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.store.store import ChunkStore
from genebrain.genetics.store.work_parts import Shard
from genebrain.training.adapters import LoraSettings
from genebrain.training.tuned_encoder import TUNINGS

ONLY_GENERATOR = ("model", "layer", "last_layers", "opening_mark", "closing_mark", "length_rule", "tuning", "lora")
"""Options that an encoder of a plugin does not have."""


@dataclass(frozen=True)
class GeneSide:
    """Which DNA encoder reads which pieces of the genome, under which policies.

    Parameters
    ----------
    name : str
        ``generator_tiny`` (random weights, offline), a published checkpoint, or an encoder of a plugin
        (:data:`~genebrain.genetics.encoders.protocol.DNA_ENCODERS`).
    path : str, optional
        Local folder with ``config.json`` and safetensors weights.
    revision : str, optional
        Hub revision; the pinned one by default.
    weights_seed : int
        Seed of the random weights of ``generator_tiny``.
    chunk_bp : int
        Bases of reference per chunk, a multiple of 6. Work grows with it: 1.5 kb needs 8 times fewer tokens
        than 12 kb.
    cut_origin : str
        ``genome`` (cuts at multiples of ``chunk_bp``, so cohorts share chunks) or ``window``.
    unphased, symbolic, reference_mismatch : str
        Policies, see :class:`genebrain.genetics.haplotypes.resolve.Policies`.
    missing_threshold : float
        A window of a subject with a larger share of missing genotypes is masked.
    allow_download : bool
        Whether weights may be fetched from the hub.
    model : ModelOptions
        Kernels and long context of the encoder.
    strand, phases, layer, last_layers, opening_mark, closing_mark, length_rule
        How a chunk becomes a vector, see :class:`~genebrain.genetics.store.plan.EmbedOptions` (``length_rule`` is
        its ``frame``). Each choice has its own table in the store.
    delta : bool
        Subtract the vector of the reference chunk of the same place: 0 where a person carries the reference. The
        vectors themselves are stored once, whether or not they are subtracted.
    tuning : {"frozen", "lora", "full"}
        Whether the encoder is trained inside ``fit``: not, by low-rank adapters, or all its weights.
    lora : LoraSettings
        Form of the adapters, for ``tuning=lora``.
    """

    name: str = "generator_tiny"
    path: str | None = None
    revision: str | None = None
    weights_seed: int = 0
    chunk_bp: int = 1500
    cut_origin: str = "genome"
    unphased: str = "error"
    symbolic: str = "drop"
    reference_mismatch: str = "error"
    missing_threshold: float = 0.1
    allow_download: bool = False
    model: ModelOptions = field(default_factory=ModelOptions)
    strand: str = "forward"
    phases: tuple[int, ...] = (0,)
    layer: int = -1
    last_layers: int = 1
    opening_mark: bool = True
    closing_mark: bool = True
    length_rule: str = "pad_right"
    delta: bool = False
    tuning: str = "frozen"
    lora: LoraSettings = field(default_factory=LoraSettings)

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
        self._policies()
        object.__setattr__(self, "phases", tuple(self.phases))  # YAML gives a list
        if self.own:
            self._refuse_options_of_generator()
            self.options()
        else:
            self._check_length(self.options())

    @property
    def own(self) -> bool:
        """Whether the encoder is one of a plugin, which reads letters in its own way."""
        make = DNA_ENCODERS.get(self.name)
        return make is not None and make is not GeneratorEncoder

    def _refuse_options_of_generator(self) -> None:
        known = {one.name: one for one in fields(self)}
        changed = [name for name in ONLY_GENERATOR if getattr(self, name) != _default(known[name])]
        if changed:
            raise UserError(
                f"genetics.name={self.name} reads chunks in its own way: leave out "
                f"{', '.join(f'genetics.{name}' for name in changed)}, which GENERator alone has"
            )

    def _check_length(self, options: EmbedOptions) -> None:
        """Chunks that no published model can take are refused before genotypes are read; a local folder says later."""
        limit = {"chunks": TRAINED_TOKENS, "yarn": self.model.context_tokens}.get(self.model.context)
        tokens = int(options.n_tokens(np.array([self.chunk_bp]))[0])
        if self.path is None and limit is not None and tokens > limit:
            raise UserError(
                f"chunk_bp={self.chunk_bp} makes chunks of {tokens} tokens, but model.context={self.model.context} "
                f"takes {limit}; make chunks shorter, or use model.context=yarn (with context_tokens) or sliding_window"
            )

    def options(self) -> EmbedOptions:
        """How a chunk becomes a vector."""
        return EmbedOptions(
            opening_mark=self.opening_mark,
            closing_mark=self.closing_mark,
            frame=self.length_rule,  # type: ignore[arg-type]
            strand=self.strand,  # type: ignore[arg-type]
            phases=self.phases,
            layer=self.layer,
            last_layers=self.last_layers,
        )

    def _policies(self) -> Policies:
        return Policies(
            unphased=self.unphased,  # type: ignore[arg-type]
            symbolic=self.symbolic,  # type: ignore[arg-type]
            reference_mismatch=self.reference_mismatch,  # type: ignore[arg-type]
            missing_threshold=self.missing_threshold,
        )

    def _inputs(self, cohort: Cohort) -> dict[str, Any]:
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
        inputs = self._inputs(cohort)
        folder = store / "chunk_index" / content_fingerprint(**inputs)
        if (folder / "report.json").exists():
            chunks = ChunkSet.load(folder)
        else:
            chunks = build_chunks(**inputs, progress=progress)
            chunks.save(folder)
        return self._paired(chunks, inputs) if self.delta else chunks

    def _paired(self, chunks: ChunkSet, inputs: dict[str, Any]) -> ChunkSet:
        places = {name: inputs[name] for name in ("reference", "windows", "chunk_bp", "cut_origin")}
        return pair_with_reference(chunks, **places)

    def plan(self, cohort: Cohort) -> dict[str, Any]:
        """Predict the encoder's work: naive and unique chunks, tokens."""
        options = self.options()
        marks = 0 if self.own else options.opening_mark + options.closing_mark
        inputs = self._inputs(cohort)
        built = build_chunks(**inputs, progress=False)
        paired = self._paired(built, inputs) if self.delta else None
        return predict(
            built, self.chunk_bp, paired=paired, marks=marks, readings=options.views.n_views,
            bases_per_token=1 if self.own else BASES_PER_TOKEN,
        )  # fmt: skip

    @property
    def frozen(self) -> GeneSide:
        """The same side with the encoder as it is: what the stores know."""
        return replace(self, tuning="frozen", lora=LoraSettings())

    def encoder(self) -> DNAEncoder:
        """The encoder, known by its fingerprint; weights are loaded when it first reads."""
        return make_encoder(self.weights)

    def reader(self) -> ChunkReader:
        """How the encoder reads chunks under these options."""
        return reader_for(self.encoder(), self.options(), self.name)

    @property
    def weights(self) -> DNAWeights:
        """Which weights the encoder is made with."""
        return DNAWeights(
            self.name, self.path, self.revision, self.weights_seed, self.allow_download, self.model
        )  # fmt: skip

    def backbone(self, **more: Any) -> GeneratorBackbone:
        """Load the encoder; ``more`` goes to :func:`genebrain.genetics.model.backbone.load_generator`."""
        return load_generator(**self.checkpoint, **more)

    def language_model(self, **more: Any) -> GeneratorLanguageModel:
        """The same encoder with its output head, as it was published: whatever ``tuning`` says, nothing is trained."""
        return load_language_model(**self.checkpoint, **more)

    @property
    def checkpoint(self) -> dict[str, Any]:
        """Weights and how they are run: arguments of :func:`~genebrain.genetics.model.backbone.load_generator`.

        Raises
        ------
        UserError
            The encoder is none of GENERator's, and this needs the decoder itself.
        """
        if self.own:
            raise UserError(
                f"genetics.name={self.name} is an encoder of a plugin: it gives vectors for fit, embed and "
                "embed-sequences; this needs a GENERator (generator_tiny, or a published one)"
            )
        return {
            "name": self.name,
            "path": self.path,
            "revision": self.revision,
            "seed": self.weights_seed,
            "allow_download": self.allow_download,
            "options": self.model,
        }

    def embed(
        self, chunks: ChunkSet, store: Path, *, progress: bool = True, shard: Shard | None = None
    ) -> dict[str, Any]:
        """Encode the chunks (or one share of them) that the store does not hold yet; returns what was done."""
        report = ChunkStore(store / "chunks").embed(
            chunks.keys, chunks.sequences, self.encoder(), self.options(), progress=progress, shard=shard,
            name=self.name,
        )  # fmt: skip
        return {"chunks_naive": chunks.n_naive, "chunks_unique": chunks.n_unique, **report.as_dict()}

    def table(self, chunks: ChunkSet, store: Path, pooling: str) -> FloatArray:
        """Stored embeddings, ``[rows, width]`` in the order that the index of the chunk set speaks of."""
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
        return dosages(cohort.genotypes, read_windows(cohort.windows), cohort.table["genotype_id"].tolist())


def _default(one: Field[Any]) -> Any:
    """Default value of a setting."""
    return one.default_factory() if one.default_factory is not MISSING else one.default
