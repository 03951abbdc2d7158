"""Chunks taken out of a table of embeddings: of people who withdrew, and whom nobody else shares them with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genebrain.engines.run import CLAIMS
from genebrain.genetics.store.shares import stored_poolings
from genebrain.genetics.store.table_files import as_names, read_array, write_tensors, writing_alone


def remove_chunks(table: Path, keys: NDArray[np.uint8]) -> int:
    """Take chunks out of all shards of a table, its shares among them; returns how many were there.

    Parameters
    ----------
    table : Path
        Folder of one fingerprint.
    keys : uint8 [chunks, 16]
        Those that are not there are passed over, so that an interrupted call can be repeated.

    Raises
    ------
    UserError
        Shards are damaged, or somebody writes to the table.
    """
    names, removed = as_names(keys), 0
    poolings = stored_poolings(table)
    for folder in [table, *sorted(table.glob("part-*-of-*"))]:
        with writing_alone(folder):
            (folder / "plan.safetensors").unlink(missing_ok=True)  # it lists keys; an interrupted run plans again
            for shard in sorted(folder.glob("shard-*.safetensors")):
                stored = read_array(shard, "keys")
                gone = np.isin(as_names(stored), names)
                if gone.all():
                    shard.unlink()
                elif gone.any():
                    arrays = {name: read_array(shard, name)[~gone] for name in poolings}
                    write_tensors(shard, {"keys": stored[~gone], **arrays})
                removed += int(gone.sum())
    for share in (table / CLAIMS).glob("*.safetensors"):  # not in the table yet; what others need is encoded again
        if np.isin(as_names(read_array(share, "keys")), names).any():
            share.unlink()
            share.with_suffix(".done.json").unlink(missing_ok=True)
    return removed
