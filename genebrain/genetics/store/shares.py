"""Shares of an embedding run for ranks and array jobs, and how their results come together.

Let many processes, on many machines, fill one table. Share i of n takes every n-th batch of the plan of the whole
request, so that all shares together run exactly the batches of one undivided run; a share writes into a folder of
its own, knows nothing of the others, and can be started again alone; merging checks every checksum before it moves a
file, and may be interrupted.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import torch

from genebrain.common.reading import read_record
from genebrain.common.types import UserError
from genebrain.engines.run import CLAIMS
from genebrain.genetics.model.encode import POOLINGS
from genebrain.genetics.store.table_files import damaged_error, next_shard, read_array, writing_alone
from genebrain.genetics.store.work_parts import Shard


def part_folder(table: Path, shard: Shard) -> Path:
    """Folder of a share within its table."""
    return table / f"part-{shard.index:05d}-of-{shard.count:05d}"


def shard_of_run(text: str | None) -> Shard:
    """Read a share as :meth:`Shard.parse` does; with ``auto`` every rank of a machine also takes a GPU of its own."""
    shard = Shard.parse(text)
    local = next((os.environ[name] for name in ("LOCAL_RANK", "SLURM_LOCALID") if name in os.environ), None)
    if text == "auto" and local is not None and torch.cuda.is_available():
        torch.cuda.set_device(int(local) % torch.cuda.device_count())
    return shard


def merge_parts(folder: Path) -> int:
    """Move the shards of all shares into the table; returns how many shares there were.

    Raises
    ------
    UserError
        If a share is still being written, or shards are damaged (all are named); nothing was moved then.
    """
    parts = sorted(folder.glob("part-*-of-*"))
    with ExitStack() as locks:
        for part in parts:
            locks.enter_context(writing_alone(part))
        shards = [path for part in parts for path in sorted(part.glob("shard-*.safetensors"))]
        spread = sorted((folder / CLAIMS).glob("*.safetensors"))
        poolings = stored_poolings(folder)
        if damaged := [path for path in spread if not _is_whole(path, poolings)]:
            raise damaged_error(damaged)
        if damaged := [path for path in shards if not _is_whole(path, poolings)]:
            raise damaged_error(damaged)
        for part in parts:
            for path in sorted(part.glob("shard-*.safetensors")):
                path.rename(next_shard(folder))
            for leftover in part.iterdir():
                leftover.unlink()
            part.rmdir()
        for path in spread:
            path.rename(next_shard(folder))
        shutil.rmtree(folder / CLAIMS, ignore_errors=True)
    return len(parts) + len(spread)


def stored_poolings(table: Path) -> tuple[str, ...]:
    """Token poolings of a table, in the order of its provenance; those of GENERator where it does not say."""
    path = table / "provenance.json"
    found = read_record(path, "delete its folder and embed again") if path.is_file() else {}
    return tuple(found.get("poolings", POOLINGS))


def remove_damaged(folder: Path, plan: Path) -> None:
    """Delete the damaged shards of a table, of its shares, and a damaged plan."""
    shards = *folder.glob("shard-*.safetensors"), *folder.glob("part-*-of-*/shard-*.safetensors")
    contents = dict.fromkeys((*shards, *(folder / CLAIMS).glob("*.safetensors")), ("keys", *stored_poolings(folder)))
    for path, names in {**contents, plan: ("keys", "sizes")}.items():
        try:
            for name in names if path.exists() else ():
                read_array(path, name)
        except UserError:
            path.unlink()


def _is_whole(path: Path, poolings: tuple[str, ...]) -> bool:
    try:
        for name in ("keys", *poolings):
            read_array(path, name)
    except UserError:
        return False
    return True
