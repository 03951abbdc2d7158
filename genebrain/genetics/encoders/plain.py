"""Any DNA encoder as the chunk store runs it, and the check that it keeps the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genebrain.common.types import UserError
from genebrain.genetics.encoders.generator import GeneratorEncoder, GeneratorReader
from genebrain.genetics.encoders.options import EmbedOptions
from genebrain.genetics.encoders.protocol import DNA_ENCODERS, ChunkReader, DNAEncoder, DNAWeights, TokenCounts
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.model.encode import POOLINGS

AnyEncoder = DNAEncoder | GeneratorBackbone
BATCH_LETTERS = 65_536
SAME = 1e-3
"""Share of the largest value by which the vector of a string may differ between two lists."""
PROBES = ["ACGTTGCAAC" * 9, "GATTACA" * 5, "C" * 40 + "N" * 7 + "TGA", "ACG", "TTTAGGC" * 12]


def make_encoder(weights: DNAWeights) -> DNAEncoder:
    """The encoder of a name: one of the registry, or a GENERator in a folder of any name.

    Raises
    ------
    UserError
        It cannot be made, or lacks ``hidden_size`` or ``fingerprint``.
    """
    make = DNA_ENCODERS.get(weights.name)
    if make is None or make is GeneratorEncoder:
        return GeneratorEncoder(weights)
    try:
        encoder = make(weights)
    except TypeError as error:
        raise UserError(
            f"DNA encoder {weights.name} cannot be made ({error}); it is called with one DNAWeights (name, path, seed)"
        ) from error
    width, fingerprint = getattr(encoder, "hidden_size", None), getattr(encoder, "fingerprint", None)
    problems = []
    if not isinstance(width, int) or width < 1:
        problems.append(f"hidden_size is {width!r}, wanted is the length of a vector, an int of at least 1")
    if not isinstance(fingerprint, str) or not fingerprint:
        problems.append(f"fingerprint is {fingerprint!r}, wanted is a text that changes whenever the numbers change")
    if not callable(getattr(encoder, "encode", None)):
        problems.append("it has no method encode(list of DNA strings)")
    if unknown := [name for name in poolings_of(encoder) if name not in POOLINGS]:
        problems.append(f"poolings has {', '.join(map(str, unknown))}, wanted are some of {', '.join(POOLINGS)}")
    if problems:
        raise UserError(f"DNA encoder {weights.name}: " + "; ".join(problems))
    return encoder


def reader_for(encoder: AnyEncoder, options: EmbedOptions, name: str | None = None) -> ChunkReader:
    """How the store reads chunks with an encoder: its own way where it has one, else string by string."""
    if isinstance(encoder, GeneratorBackbone):
        return GeneratorReader(encoder, options)
    if isinstance(encoder, GeneratorEncoder):
        return encoder.chunk_reader(options)
    return PlainReader(encoder, options, name or str(getattr(encoder, "name", type(encoder).__name__)))


def poolings_of(encoder: Any) -> tuple[str, ...]:
    """Poolings that an encoder says it gives."""
    return tuple(getattr(encoder, "poolings", ("mean",)))


class PlainReader(ChunkReader):
    """An encoder that takes strings, see :class:`~genebrain.genetics.encoders.protocol.ChunkReader`.

    Batches run one after the other, in the thread of the caller; a token is a letter. Strands and phases are read as
    for any encoder; marks, frames and layers are GENERator's alone.
    """

    threads = False
    device, compute = "cpu", "its own number format"

    def __init__(self, encoder: DNAEncoder, options: EmbedOptions, name: str) -> None:
        self.encoder, self.options, self.name = encoder, options, name
        self.n_views = options.views.n_views
        self.poolings = poolings_of(encoder)
        self.budget = options.tokens_per_batch or int(getattr(encoder, "batch_letters", BATCH_LETTERS))

    @property
    def width(self) -> int:
        """Length of a stored vector."""
        return self.options.views.width(self.encoder.hidden_size)

    def identity(self) -> dict[str, Any]:
        """Everything that decides the numbers."""
        return self.options.plain_identity(self.name, self.encoder.fingerprint)

    def sizes(self, n_letters: NDArray[np.int64]) -> NDArray[np.int64]:
        """Letters."""
        return n_letters

    def prepare(self) -> None:
        """Check that the encoder keeps the protocol."""
        check_dna_encoder(self.encoder, self.name)

    def read(self, sequences: Sequence[bytes]) -> tuple[TokenCounts, dict[str, Tensor]]:
        """Counts, and tensors float32 ``[chunks, width]`` by pooling."""
        views = self.options.views.read(sequences)
        read = [encoded(self.encoder, self.name, [text.decode("ascii") for text in view]) for view in views]
        counts = TokenCounts(len(sequences), sum(len(text) for view in views for text in view))
        return counts, {name: self.options.views.combine([view[name] for view in read]) for name in self.poolings}


def encoded(encoder: DNAEncoder, name: str, sequences: list[str]) -> dict[str, Tensor]:
    """Vectors of strings, float32 ``[sequences, hidden_size]`` by pooling, their shape checked.

    Raises
    ------
    UserError
        The encoder fails, or gives other poolings, shapes or types than it should.
    """
    what, wanted = f"DNA encoder {name}", [len(sequences), encoder.hidden_size]
    try:
        found = encoder.encode(list(sequences))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} failed at {len(sequences)} strings: {type(error).__name__}: {error}") from error
    names = poolings_of(encoder)
    if not isinstance(found, Mapping) or set(found) != set(names):
        got = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise UserError(f"{what} gave {got}; wanted is a dict with {', '.join(names)}, an array {wanted} each")
    vectors = {}
    for pooling in names:
        values = torch.as_tensor(found[pooling]).detach()
        if list(values.shape) != wanted or not values.is_floating_point():
            raise UserError(
                f"{what} gave {list(values.shape)} of {values.dtype} as {pooling} of {len(sequences)} strings; wanted "
                f"are floats {wanted}: one row per string, hidden_size columns"
            )
        vectors[pooling] = values.float()
    return vectors


def check_dna_encoder(encoder: DNAEncoder, name: str) -> None:
    """Refuse an encoder that breaks the protocol, by reading a few short strings.

    Raises
    ------
    UserError
        Wrong shapes or counts, values that are not finite, another vector for the same string when it is asked again,
        alone, or in another order.
    """
    what = f"DNA encoder {name}"
    first, again = encoded(encoder, name, PROBES), encoded(encoder, name, PROBES)
    turned = encoded(encoder, name, PROBES[::-1])
    alone = [encoded(encoder, name, [probe]) for probe in PROBES]
    for pooling, values in first.items():
        if not torch.isfinite(values).all():
            broken = int((~torch.isfinite(values)).any(dim=1).sum())
            raise UserError(
                f"{what} gave {pooling} vectors that are not finite for {broken} of {len(PROBES)} strings of A, C, G, "
                "T and N; wanted are finite numbers for each"
            )
        allowed = SAME * float(values.abs().max())
        if _apart(values, again[pooling]) > allowed:
            raise UserError(f"{what} gave two vectors for one string; wanted is the same vector whenever it is asked")
        if _apart(values, turned[pooling].flip(0)) > allowed:
            raise UserError(
                f"{what} gave another vector when the strings stood in another order; wanted is row i for string i"
            )
        if _apart(values, torch.cat([one[pooling] for one in alone])) > allowed:
            raise UserError(
                f"{what} gave another vector for a string alone than among others; wanted is a vector that depends on "
                "its own string only (mask what pads it)"
            )


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
