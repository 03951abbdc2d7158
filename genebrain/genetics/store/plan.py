"""Batch plans of the chunk store, which make its tables reproducible.

The same set of chunks under the same token budget gives the same batches in any order of asking; a plan is on disk
before its first batch runs, and what is left of it is continued, never cut anew. (The last bits of a float32 vector
depend on the shape of the batch it was computed in: this is why batches are kept.)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.encoders.options import EmbedOptions
from genebrain.genetics.store.table_files import as_names, read_array, write_tensors

__all__ = ["BatchPlan", "EmbedOptions", "plan_batches"]


class BatchPlan:
    """The batches still to run, as a file: keys in running order, and batch sizes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[NDArray[np.bytes_]]:
        """Names of the chunks of every batch of an interrupted run; empty without one."""
        if not self.path.exists():
            return []
        names = as_names(read_array(self.path, "keys"))
        return np.split(names, np.cumsum(read_array(self.path, "sizes"))[:-1])

    def write(self, keys: NDArray[np.uint8], batches: list[NDArray[np.int64]]) -> None:
        """Keep the batches (rows of ``keys`` uint8 [chunks, 16]) before the first one runs."""
        sizes = np.array([len(batch) for batch in batches], np.int64)
        write_tensors(self.path, {"keys": keys[np.concatenate(batches)], "sizes": sizes})

    def remove(self) -> None:
        """All batches are stored: nothing is left to continue."""
        self.path.unlink(missing_ok=True)


def plan_batches(
    names: NDArray[np.bytes_],
    n_tokens: NDArray[np.int64],
    tokens_per_batch: int,
    unfinished: list[NDArray[np.bytes_]],
) -> list[NDArray[np.int64]]:
    """Batches of rows: first the unfinished ones as they were, then the others, longest first.

    Parameters
    ----------
    names : bytes [chunks]
        Distinct names of the chunks to encode.
    n_tokens : int64 [chunks]
    tokens_per_batch : int
        Limit of rows times longest row.
    unfinished : list of bytes arrays
        Batches an interrupted run had planned. One that holds a chunk not asked for now can not be repeated;
        the chunks of it that are asked for are planned anew.
    """
    order = np.argsort(names)
    left = np.ones(len(names), bool)
    batches = []
    for old in unfinished:
        if len(names) and (np.isin(old, names)).all():
            rows = order[np.searchsorted(names, old, sorter=order)]
            left[rows] = False
            batches.append(rows)
    rest = order[left[order]]
    rest = rest[np.argsort(-n_tokens[rest], kind="stable")]
    return batches + list(_filled(rest, n_tokens, tokens_per_batch))


def _filled(rows: NDArray[np.int64], n_tokens: NDArray[np.int64], tokens_per_batch: int) -> Iterator[NDArray[np.int64]]:
    start = 0
    while start < len(rows):
        longest = max(1, int(n_tokens[rows[start]]))
        size = max(1, tokens_per_batch // longest)
        yield rows[start : start + size]
        start += size
