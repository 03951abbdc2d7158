"""Shares of an embedding run for ranks and array jobs, and how their results come together.

Purpose: let many processes, on many machines, fill one table. Contract: share i of n takes every n-th batch of the
plan of the whole request, so that all shares together run exactly the batches of one undivided run; a share writes
into a folder of its own, knows nothing of the others, and can be started again alone; merging checks every checksum
before it moves a file, and may be interrupted. What this module does NOT know: models, letters.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from genebrain.genetics.chunk_ensemble import POOLINGS
from genebrain.genetics.chunk_shards import damaged_error, next_shard, read_array, writing_alone
from genebrain.types import UserError

_RANKS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))


@dataclass(frozen=True)
class Share:
    """Share ``number`` (counted from 1) of ``of``."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UserError(
                f"shard={self.number}/{self.of}: shares are counted from 1 to {max(1, self.of)}; of a job array use "
                f"--array=1-{max(1, self.of)}"
            )

    @property
    def folder_name(self) -> str:
        """Folder of this share within its table."""
        return f"part-{self.number:05d}-of-{self.of:05d}"

    @classmethod
    def parse(cls, text: str | None, environment: Mapping[str, str] = os.environ) -> Share | None:
        """Read ``3/64``; ``auto`` is the rank of torchrun or srun; None is the whole.

        ``auto`` does not look at the number of an array job: a single job that is submitted again would then
        take another share.
        """
        if text is None:
            return None
        if text == "auto":
            for rank, size in _RANKS:
                if rank in environment and size in environment:
                    return cls(int(environment[rank]) + 1, int(environment[size]))
            names = " or ".join(f"{rank} and {size}" for rank, size in _RANKS)
            raise UserError(
                f"shard=auto: the environment does not have {names}; start with torchrun or srun, or give i/n"
            )
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None:
            raise UserError(f"shard={text}: give a share as i/n, for example shard=3/64, or auto")
        return cls(int(match[1]), int(match[2]))


def share_of_run(text: str | None) -> Share | None:
    """Read a share as :meth:`Share.parse` does; with ``auto`` every rank of a machine also takes a GPU of its own."""
    share = Share.parse(text)
    local = next((os.environ[name] for name in ("LOCAL_RANK", "SLURM_LOCALID") if name in os.environ), None)
    if text == "auto" and local is not None and torch.cuda.is_available():
        torch.cuda.set_device(int(local) % torch.cuda.device_count())
    return share


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
        if damaged := [path for path in shards if not _is_whole(path)]:
            raise damaged_error(damaged)
        for part in parts:
            for path in sorted(part.glob("shard-*.safetensors")):
                path.rename(next_shard(folder))
            for leftover in part.iterdir():
                leftover.unlink()
            part.rmdir()
    return len(parts)


def _is_whole(path: Path) -> bool:
    try:
        for name in ("keys", *POOLINGS):
            read_array(path, name)
    except UserError:
        return False
    return True
