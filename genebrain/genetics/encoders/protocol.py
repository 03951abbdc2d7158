"""Protocol and registry of DNA encoders: DNA strings in, one vector per string and pooling out.

An encoder is added from the package or from a user's file: ``@DNA_ENCODERS.register("my_encoder")`` on a class that is
made from a :class:`DNAWeights`. ``genetics.name=my_encoder`` then reads a cohort with it. GENERator is one of them
(:mod:`genebrain.genetics.encoders.generator`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genebrain.common.registry import Registry
from genebrain.genetics.model.options import ModelOptions

if TYPE_CHECKING:
    from torch import Tensor


GENERATORS = (
    "generator_tiny", "generator_v1_1.2b", "generator_v1_3b", "generator_v2_1.2b", "generator_v2_3b",
    "generator_v2_prokaryote_1.2b", "generator_v2_prokaryote_3b",
)  # fmt: skip
"""The published GENERators, and the tiny one with random weights."""
CARBONS = ("carbon_500m", "carbon_3b", "carbon_8b")


@dataclass(frozen=True)
class DNAWeights:
    """Which weights an encoder is made with, as the user's options say.

    Attributes
    ----------
    name
        Name of the encoder.
    path
        Local file or folder; None: the encoder's own weights, or random ones.
    revision
        Of a hub; None: the pinned one.
    seed
        Of random weights.
    allow_download
        Whether the network may be asked.
    options
        Kernels and long context of GENERator.
    """

    name: str = GENERATORS[0]
    path: str | None = None
    revision: str | None = None
    seed: int = 0
    allow_download: bool = False
    options: ModelOptions = field(default_factory=ModelOptions)


class DNAEncoder(Protocol):
    """What the chunk store needs of an encoder.

    Two attributes may be added: ``poolings``, the names that ``encode`` gives (``("mean",)`` without it; settings know
    ``last``, ``mean`` and ``max``), and ``batch_letters``, how many letters are read at a time.

    ``hidden_size`` and ``fingerprint`` may be plain attributes.
    """

    @property
    def hidden_size(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Identity of everything that decides the numbers: code version, weights, seed; *known without weights*.

        Equal fingerprints share stored vectors, so it changes whenever the numbers change.
        """

    def encode(self, sequences: list[str]) -> Mapping[str, Any]:
        """Vectors of DNA strings (letters A, C, G, T, N; any length from 1 on).

        Returns
        -------
        mapping
            Pooling -> finite floats ``[sequences, hidden_size]`` (numpy or torch), row i for string i, whatever else
            is in the list.
        """


DNA_ENCODERS: Registry[Callable[[DNAWeights], DNAEncoder]] = Registry(
    "DNA encoder",
    dict.fromkeys(GENERATORS, "genebrain.genetics.encoders.generator")
    | {"kmer_counts": "genebrain.genetics.encoders.kmers"}
    | dict.fromkeys(CARBONS, "genebrain.genetics.encoders.carbon")
    | {"transformers": "genebrain.genetics.encoders.pretrained"},
)
"""Makers of DNA encoders by the names that ``genetics.name`` takes."""


@dataclass
class TokenCounts:
    """Running totals of an embedding run."""

    chunks: int = 0
    real: int = 0
    padding: int = 0
    oov: int = 0

    def add(self, other: TokenCounts) -> None:
        """Add the counts of one batch."""
        self.chunks += other.chunks
        self.real += other.real
        self.padding += other.padding
        self.oov += other.oov


class ChunkReader(ABC):
    """An encoder under one set of options, as the chunk store runs it.

    Attributes
    ----------
    name : str
    poolings : tuple of str
    n_views : int
        Strings that are read per chunk.
    budget : int
        Limit of tokens in one batch.
    device : str
    compute : str
        Number format, in words.
    threads : bool
        Whether several batches may be read at once.
    """

    name: str
    poolings: tuple[str, ...]
    n_views: int
    budget: int
    device: str
    compute: str
    threads: bool

    @property
    @abstractmethod
    def width(self) -> int:
        """Length of a stored vector."""

    @property
    def max_tokens(self) -> int | None:
        """Longest chunk; None: any."""
        return None

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Everything that decides the numbers, JSON-ready; known without weights."""

    @abstractmethod
    def sizes(self, n_letters: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens int64 ``[chunks]`` of one reading of chunks of these lengths."""

    @abstractmethod
    def prepare(self) -> None:
        """Load what is needed, before the first batch."""

    @abstractmethod
    def read(self, sequences: Sequence[bytes]) -> tuple[TokenCounts, dict[str, Tensor]]:
        """Counts, and tensors ``[chunks, width]`` by pooling."""
