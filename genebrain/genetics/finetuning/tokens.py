"""Sequences to token rows for fine-tuning, and rows to batches.

One rule of marks, length and truncation, named in the configuration. For classification and regression ``<s>`` +
sequence + ``<s>``, for the language model ``<s>`` + sequence + ``</s>``; lengths are brought to 6-mers by one rule;
what is cut is counted.

Difference to the published classification input (``parity=True`` keeps it): there a tail of fewer than six letters
becomes ``<oov>``, and truncation cuts a mark off; here the letters are cut and both marks stay. Source:
GenerTeam/GENERator, sequence understanding and fine-tuning tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.finetuning.settings import TokenSettings
from genebrain.genetics.model.tokenizer import BOS, EOS, SixMerTokenizer, pad

TokenRow = NDArray[np.int64]


def tokenize(
    sequences: Sequence[str], settings: TokenSettings, max_tokens: int, *, language: bool
) -> tuple[list[TokenRow], int]:
    """Token rows of clean sequences.

    Parameters
    ----------
    sequences : sequence of str
        Letters A, C, G, T, N, at least six.
    max_tokens : int
        Longest row.
    language : bool
        Close with ``</s>``, as the language model was trained; else with ``<s>``.

    Returns
    -------
    rows : list of int64 [tokens]
    truncated : int
        Rows that lost tokens.
    """
    tokenizer = SixMerTokenizer()
    as_published = language or settings.parity
    framed = (s if settings.parity and not language else tokenizer.frame(s, settings.length_rule) for s in sequences)
    bodies = tokenizer.encode_many([text.encode("ascii") for text in framed])
    # A mark that is cut off says that the sequence goes on; only the pooled end of a classified one must stay.
    room = max_tokens if as_published else max_tokens - 2
    rows, truncated = [], 0
    for body in bodies:
        row = np.concatenate([[BOS], body, [EOS if language else BOS]]) if as_published else body
        truncated += len(row) > room
        row = row[:room] if settings.truncation == "right" else row[-room:]
        rows.append(row if as_published else np.concatenate([[BOS], row, [BOS]]))
    return rows, int(truncated)


def collate(
    rows: Sequence[TokenRow], settings: TokenSettings, multiple_of: int = 1
) -> tuple[TokenRow, NDArray[np.bool_]]:
    """Rows in one padded array: ids int64 and mask bool, ``[rows, longest]``, the length rounded up to a multiple."""
    return pad(rows, side=settings.padding, multiple_of=multiple_of)
