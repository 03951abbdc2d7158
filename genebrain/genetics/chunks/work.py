"""Forecast of the work of an encoder: naive and unique chunks, tokens.

The cost of a cohort under one way to cut chunks. Exact, because it counts the very chunks of a run and only the
encoder is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.chunks.chunk_set import ChunkSet

BASES_PER_TOKEN = 6
CHUNKS_PER_SITE = 0.96
"""Unique chunks per variable site of a window: 0.9 to 1.02, simulated and real, from 300 subjects on."""


def predict(
    built: ChunkSet,
    chunk_bp: int,
    *,
    paired: ChunkSet | None = None,
    marks: int = 2,
    readings: int = 1,
    bases_per_token: int = BASES_PER_TOKEN,
) -> dict[str, Any]:
    """Work of the DNA encoder, counted exactly (the encoder itself does not run).

    Parameters
    ----------
    built : ChunkSet
        Of :func:`~genebrain.genetics.chunks.build.build_chunks`.
    chunk_bp : int
        Bases of reference per chunk, as it was built with.
    paired : ChunkSet, optional
        The same chunks with the reference chunk of every place, where its vector is subtracted: those that nobody
        carries are encoded too (:func:`~genebrain.genetics.chunks.reference.pair_with_reference`).
    marks, readings : int
        Tokens around every chunk (opening and closing mark); strands times frames that are read of it.
    bases_per_token : int
        6 for GENERator; 1 for encoders that read letters.

    Returns
    -------
    dict
        ``chunks_naive``, ``chunks_unique``, ``saving`` (their ratio), ``encoder_tokens`` and ``tokens_naive``
        (6-mers and marks), ``sites`` (records that somebody carries), ``rule_of_thumb`` (unique chunks and
        tokens expected from the sites alone), ``per_window`` and ``report``; with ``paired`` also
        ``chunks_reference_only``, which the first ones count in.
    """
    tokens = _tokens(built, marks, bases_per_token)
    tokens_naive = int(tokens[built.index[built.index >= 0]].sum()) * readings
    unique = paired or built
    only_reference = {} if paired is None else {"chunks_reference_only": paired.n_unique - built.n_unique}
    sites = built.report["counts"]["carried_records"]
    expected = max(int(built.n_chunks.sum()), round(CHUNKS_PER_SITE * sites))
    named = ("name", "chunks_naive", "chunks_unique", "carried_records")
    return {
        "chunks_naive": built.n_naive,
        "chunks_unique": unique.n_unique,
        **only_reference,
        "saving": built.n_naive / max(1, unique.n_unique),
        "encoder_tokens": int(_tokens(unique, marks, bases_per_token).sum()) * readings,
        "tokens_naive": tokens_naive,
        "sites": sites,
        "rule_of_thumb": {
            "chunks_unique": expected,
            "encoder_tokens": expected * (-(-chunk_bp // bases_per_token) + marks) * readings,
        },
        "per_window": [{key: counts[key] for key in named} for counts in built.report["per_window"]],
        "report": unique.report,
    }


def _tokens(chunks: ChunkSet, marks: int, bases_per_token: int) -> NDArray[np.int64]:
    """Tokens of every unique chunk: 6-mers, a begun one counts, and marks."""
    return np.array([-(-len(text) // bases_per_token) + marks for text in chunks.sequences], np.int64)
