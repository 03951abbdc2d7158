"""Keys of sequences, the bits of a table, and a process that dies in the middle of filling one."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genebrain.genetics.model.encode import POOLINGS
from genebrain.genetics.store.store import ChunkStore

DYING = """
import importlib, os, signal, sys
import torch
from genebrain.genetics.model.backbone import load_generator

torch.set_num_threads(1)
backbone = load_generator(device="cpu")
calls = []
def kill(*_):
    calls.append(1)
    if len(calls) > 4:
        os.kill(os.getpid(), signal.SIGKILL)
backbone.model.register_forward_hook(kill)
module, name, *arguments = sys.argv[1:]
getattr(importlib.import_module(module), name)(backbone, *arguments)
"""


def keys_of(sequences: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.stack([np.frombuffer(hashlib.blake2b(s, digest_size=16).digest(), np.uint8) for s in sequences])


def all_bytes(store: ChunkStore, keys: NDArray[np.uint8]) -> dict[str, bytes]:
    return {pooling: store.table(keys, pooling).tobytes() for pooling in POOLINGS}


def kill_in_fifth_batch(function: Callable[..., object], *arguments: str | Path) -> None:
    """Call ``function(backbone, *arguments)``, a function of a test file, in a process that SIGKILL ends."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", DYING, function.__module__, function.__name__, *map(str, arguments)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
