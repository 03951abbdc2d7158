"""One window of a cohort cut into chunks: who has which, and the letters of the distinct ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.chunks.cutting import CutOrigin, cut_places, distinct_pieces
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genome.kept_letters import KeptLetters, open_reference
from genebrain.genetics.genome.reference import Reference, reverse_complement
from genebrain.genetics.genotypes.records import GenotypeFile, Sites, recorded_contigs, sample_rows
from genebrain.genetics.genotypes.source import GenotypeSource
from genebrain.genetics.haplotypes.common_alleles import AlleleMask
from genebrain.genetics.haplotypes.policies import Policies
from genebrain.genetics.haplotypes.resolve import WindowAlleles, open_genotypes, resolve
from genebrain.genetics.model.options import CHUNK_BP
from genebrain.genetics.store.table_files import read_array, write_tensors

KEY_BYTES = 16
_ARRAYS = ("slots", "keys", "haploid", "several_sets")


class UniqueChunks:
    """Strings in order of first appearance, with their keys."""

    def __init__(self) -> None:
        self.row_of: dict[bytes, int] = {}
        self.sequences: list[bytes] = []

    def add(self, sequence: bytes) -> int:
        """Row of a string, which is new or known."""
        return self.add_known(hashlib.blake2b(sequence, digest_size=KEY_BYTES).digest(), sequence)

    def add_known(self, key: bytes, sequence: bytes) -> int:
        """Row of a string whose key is known."""
        row = self.row_of.setdefault(key, len(self.sequences))
        if row == len(self.sequences):
            self.sequences.append(sequence)
        return row

    def keys(self) -> NDArray[np.uint8]:
        """Keys uint8 ``[unique, 16]``, in the order of rows."""
        return np.frombuffer(b"".join(self.row_of), np.uint8).reshape(-1, KEY_BYTES).copy()


@dataclass(frozen=True)
class CutInputs:
    """What a window is cut from, and how; see :func:`genebrain.genetics.chunks.build.build_chunks`."""

    source: GenotypeSource
    reference: Path | KeptLetters
    windows: Sequence[Window]
    samples: Sequence[str]
    chunk_bp: int = CHUNK_BP
    cut_origin: CutOrigin = "genome"
    policies: Policies = field(default_factory=Policies)
    mask: AlleleMask | None = None

    @classmethod
    def of(
        cls,
        genotypes: str | Path | GenotypeSource,
        reference: str | Path | KeptLetters,
        windows: Sequence[Window],
        samples: Sequence[str],
        **settings: Any,
    ) -> Self:
        """The same from the arguments of ``build_chunks``."""
        source = genotypes if isinstance(genotypes, GenotypeSource) else GenotypeSource((Path(genotypes),))
        kept = reference if isinstance(reference, KeptLetters) else Path(reference)
        return cls(source, kept, windows, samples, **settings)

    @property
    def letters(self) -> int:
        """Bases of all windows of all people."""
        return len(self.samples) * sum(window.end - window.start for window in self.windows)

    @contextmanager
    def opened(self) -> Iterator[tuple[GenotypeFile, Reference | KeptLetters, Sequence[int]]]:
        """The open files, and the rows of the samples in the first.

        Raises
        ------
        UserError
            Unknown samples, absent contigs, windows over the end of a contig.
        """
        with open_genotypes(self.source) as file, open_reference(self.reference) as fasta:
            rows = sample_rows(file, self.samples, self.source)
            recorded_contigs(self.windows, file, str(self.source))
            fasta.check(self.windows)
            yield file, fasta, rows


@dataclass(frozen=True)
class CutWindow:
    """The chunks of one window.

    Attributes
    ----------
    slots : int32 ``[subjects, 2, chunks]``
        Row of ``sequences``, in the direction of transcription; -1 where there is nothing.
    keys : uint8 ``[unique, 16]``
    sequences : list of bytes
        Distinct strings in order of first appearance.
    counts : dict
        Of every event.
    mismatches, several_sets, haploid
        As in :class:`~genebrain.genetics.haplotypes.resolve.WindowAlleles`.
    """

    slots: NDArray[np.int32]
    keys: NDArray[np.uint8]
    sequences: list[bytes]
    counts: dict[str, int]
    mismatches: list[dict[str, Any]]
    several_sets: NDArray[np.bool_]
    haploid: NDArray[np.bool_]

    def save(self, path: Path) -> None:
        """Write one private file."""
        facts = json.dumps({"counts": self.counts, "mismatches": self.mismatches}).encode()
        write_tensors(
            path,
            {name: getattr(self, name) for name in _ARRAYS}
            | {
                "facts": np.frombuffer(facts, np.uint8),
                "letters": np.frombuffer(b"\n".join(self.sequences), np.uint8),
            },
        )

    @classmethod
    def load(cls, path: Path) -> CutWindow:
        """Read what :meth:`save` wrote; damaged files are a ``UserError``."""
        slots, keys, haploid, several_sets = (read_array(path, name) for name in _ARRAYS)
        facts = json.loads(read_array(path, "facts").tobytes())
        sequences = read_array(path, "letters").tobytes().split(b"\n") if len(keys) else []
        return cls(slots, keys, sequences, facts["counts"], facts["mismatches"], several_sets, haploid)


def cut_window(
    inputs: CutInputs, number: int, file: GenotypeFile, fasta: Reference | KeptLetters, rows: Sequence[int]
) -> CutWindow:
    """Cut one window of all subjects."""
    window = inputs.windows[number]
    return cut_records(inputs, number, file.read(window, rows), fasta.fetch(window))


def cut_records(inputs: CutInputs, number: int, sites: Sites, letters: bytes) -> CutWindow:
    """Cut one window of all subjects, whose records and reference letters were read."""
    window, n_people = inputs.windows[number], sites.alleles.shape[1]
    mask = None if inputs.mask is None else partial(inputs.mask.apply, number)
    found = resolve(sites, window, letters, inputs.policies, mask, samples=inputs.samples)
    cuts = cut_places(window, inputs.chunk_bp, inputs.cut_origin)
    slots = np.full((n_people, 2, len(cuts) - 1), -1, np.int32)
    chunks = UniqueChunks()
    counts = _fill(slots, window, found, letters, cuts, chunks)
    return CutWindow(
        slots, chunks.keys(), chunks.sequences, {**found.counts, **counts}, found.mismatches, found.several_sets,
        found.haploid,
    )  # fmt: skip


def _fill(
    slots: NDArray[np.int32],
    window: Window,
    found: WindowAlleles,
    letters: bytes,
    cuts: NDArray[np.int64],
    chunks: UniqueChunks,
) -> dict[str, int]:
    """Write one window's rows into ``slots [subjects, 2, chunks]``; count what an encoder will not see."""
    counts = {"all_n_chunks": 0, "deleted_chunks": 0, "mostly_n_chunks": 0}
    last = len(cuts) - 2
    distinct: set[int] = set()
    for piece, (strings, which) in enumerate(distinct_pieces(found, letters, cuts)):
        carriers = np.bincount(which, minlength=len(strings))
        row_of = np.full(len(strings), -1, np.int32)
        for number, string in enumerate(strings):
            n_unknown = string.count(b"N")
            if not string:
                counts["deleted_chunks"] += int(carriers[number])
            elif n_unknown == len(string):
                counts["all_n_chunks"] += int(carriers[number])
            else:
                counts["mostly_n_chunks"] += int(carriers[number]) * (2 * n_unknown > len(string))
                oriented = string if window.strand == "+" else reverse_complement(string)
                row_of[number] = chunks.add(oriented)
        slots[:, :, piece if window.strand == "+" else last - piece][found.exists] = row_of[which]
        distinct.update(row_of[row_of >= 0].tolist())
    return counts | {"chunks_unique": len(distinct), "chunks_naive": int((slots >= 0).sum())}
