"""The chunk of the reference genome at every place of a cohort's windows, for differences to it.

Chunk index -> index of pairs (a chunk, the reference chunk of its place). Who carries the reference at a place gets
a pair of one row with itself, so that the difference is exactly zero; a place where the reference is only N has no
difference and is masked and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.chunks.cutting import CutOrigin, cut_places
from genebrain.genetics.chunks.window import KEY_BYTES
from genebrain.genetics.genome.gene_windows import Window
from genebrain.genetics.genome.kept_letters import KeptLetters, open_reference
from genebrain.genetics.genome.reference import reverse_complement


def pair_with_reference(
    chunks: ChunkSet,
    reference: str | Path | KeptLetters,
    windows: Sequence[Window],
    chunk_bp: int,
    cut_origin: CutOrigin,
) -> ChunkSet:
    """Index of pairs instead of chunks.

    Parameters
    ----------
    chunks : ChunkSet
        As built from these windows with this ``chunk_bp`` and ``cut_origin``.
    reference : path or KeptLetters
        FASTA of the same build, or the letters that were kept of the windows.

    Returns
    -------
    ChunkSet
        With the reference chunks that nobody carries added to ``keys`` and ``sequences``, ``pairs`` int32
        ``[pairs, 2]`` (rows of a chunk and of its reference), and ``index`` into ``pairs``.
    """
    row_of = {key.tobytes(): row for row, key in enumerate(chunks.keys)}
    added: list[bytes] = []
    at_place = np.full(chunks.index.shape[2:], -1, np.int64)
    with open_reference(reference) as fasta:
        fasta.check(windows)
        for number, window in enumerate(windows):
            for place, letters in enumerate(_pieces(fasta.fetch(window), window, chunk_bp, cut_origin)):
                if letters.count(b"N") == len(letters):
                    continue
                key = hashlib.blake2b(letters, digest_size=KEY_BYTES).digest()
                if key not in row_of:
                    row_of[key] = len(row_of)
                    added.append(letters)
                at_place[number, place] = row_of[key]
    exists = (chunks.index >= 0) & (at_place >= 0)
    own = chunks.index[exists].astype(np.int64)
    beside = np.broadcast_to(at_place, chunks.index.shape)[exists]
    codes, which = np.unique(own * len(row_of) + beside, return_inverse=True)
    index = np.full_like(chunks.index, -1)
    index[exists] = which
    keys = np.frombuffer(b"".join(row_of), np.uint8).reshape(-1, KEY_BYTES).copy()
    counts = {
        "pairs": len(codes),
        "reference_chunks_that_nobody_carries": len(added),
        "chunks_without_reference": int((chunks.index >= 0).sum() - exists.sum()),
    }
    return replace(
        chunks,
        keys=keys,
        sequences=[*chunks.sequences, *added],
        index=index,
        pairs=np.stack(np.divmod(codes, max(1, len(row_of))), axis=1).astype(np.int32),
        report={**chunks.report, "difference_to_reference": counts},
    )


def _pieces(letters: bytes, window: Window, chunk_bp: int, cut_origin: CutOrigin) -> list[bytes]:
    """Reference letters of a window cut like its haplotypes, in the direction of transcription."""
    cuts: NDArray[np.int64] = cut_places(window, chunk_bp, cut_origin) - window.start
    pieces = [letters[start:end] for start, end in pairwise(cuts)]
    return pieces if window.strand == "+" else [reverse_complement(piece) for piece in reversed(pieces)]
