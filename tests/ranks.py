"""Real processes with gloo, as many as a test asks for, each computing one saved result."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing

from genebrain.training.trainer import leave_process_group

Compute = Callable[[int, int], Any]


def run_ranks(compute: Compute, world: int, folder: Path) -> list[Any]:
    """``compute(rank, world)`` in every process; what tensors and plain values they return, in rank order."""
    multiprocessing.spawn(_one, (world, str(folder), compute), nprocs=world)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


def _one(rank: int, world: int, folder: str, compute: Compute) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", world_size=world, rank=rank)
    torch.save(compute(rank, world), f"{folder}/{rank}.pt")
    leave_process_group()
    # A thread of gloo that outlives its group can abort the process at its end.
    assert not [name for name in thread_names() if "gloo" in name], thread_names()


def thread_names() -> Counter[str]:
    """Names of this process's threads, as the system knows them (Linux; empty elsewhere)."""
    return Counter(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
