"""One verb in a process of its own that kills itself at a chosen point; forked, so that nothing is imported anew.

Which verb imports what is its own affair: :func:`warm` imports the libraries that take long once, in the parent.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import os
import pkgutil
import re
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import genebrain

CHANGES = ("os.rename", "os.remove", "os.mkdir")
"""Audit events of a process that changes files; a kill comes just before one of them."""
VOLATILE = ("seconds", "cost", "peak_rss_mb", "n_reused", "wall", "started", "elapsed", "stored_before", "encoded",
            "batches", "tokens", "padding_tokens", "tokens_per_second", "hours_here", "basis")  # fmt: skip
"""What one call did, or how long it took: told, and no result."""
LONGEST = 900
"""Seconds of a verb."""
KILLED = (-signal.SIGKILL, -signal.SIGPROF)
"""Exit codes of a killed verb: nothing handles SIGPROF, so the kernel ends the process where it stands."""
NO_RESULTS = (".png", ".html", ".lock", ".working", ".used", ".ckpt", ".pkl", "commands.log")
NO_RESULT = ("cost.json", "checksums.json", "commands.log", "log.txt", "secret", "index.jsonl", "seconds.txt")

LIBRARIES = (
    "torch", "pytorch_lightning", "transformers", "peft", "hydra", "pandas", "scipy.stats", "sklearn.linear_model",
    "nibabel", "cyvcf2", "pysam", "msprime", "matplotlib.pyplot",
)  # fmt: skip

DRAWN = re.compile(rb"[0-9a-f]{24}")
"""Names of scans and people in tables of a store whose key was drawn anew."""


def warm() -> None:
    """Import the package and the libraries of all verbs into this process, so that every fork of it has them."""
    own = [module.name for module in pkgutil.walk_packages(genebrain.__path__, "genebrain.")]
    for name in (*LIBRARIES, *own):
        if not name.endswith("__main__"):
            importlib.import_module(name)


@dataclass(frozen=True)
class Ended:
    """How a verb ended: its exit code, how many changes of files there were, and the processor time of it all."""

    code: int
    changes: int
    seconds: float


def run(arguments: list[str], folder: Path, at: int | None = None, after: float | None = None) -> Ended:
    """Run a verb in ``folder``; killed before its change number ``at``, or ``after`` seconds of processor time."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _child(arguments, folder, at, after, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status, used = os.wait4(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), int(told or 0), used.ru_utime + used.ru_stime)


def _child(arguments: list[str], folder: Path, at: int | None, after: float | None, writing: int) -> None:
    code, changes, own = 1, 0, os.getpid()
    signal.alarm(LONGEST)  # a verb that hangs ends with code -14
    try:
        os.chdir(folder)
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")

        def hook(event: str, _: Any) -> None:
            nonlocal changes
            if event in CHANGES and os.getpid() == own:
                changes += 1
                if changes == at:
                    os.kill(own, signal.SIGKILL)

        sys.addaudithook(hook)
        if after is not None:
            signal.setitimer(signal.ITIMER_PROF, after)
        from genebrain.cli import main

        code = main(arguments)
        os.write(writing, str(changes).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def results(folder: Path, *, names: bool = True) -> dict[str, Any]:
    """Digests of what a verb left, by path (or, where names are drawn at random, counted)."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        inner = path.relative_to(folder)
        if not path.is_file() or path.name.startswith(".") or path.name.endswith(NO_RESULTS) or "logs" in inner.parts:
            continue
        if path.name in NO_RESULT:
            continue
        content: Any = path.read_bytes()
        if path.suffix == ".json":
            content = json.dumps(_lasting(json.loads(content)), sort_keys=True).encode()
        if not names and path.suffix == ".tsv":
            content = b"\n".join(sorted(DRAWN.sub(b"NAME", content).splitlines()))
        if path.name == "results.csv":
            rows = csv.DictReader(content.decode().splitlines())
            content = repr([{k: v for k, v in row.items() if "seconds" not in k} for row in rows]).encode()
        digest = hashlib.sha256(content).hexdigest()
        found |= {str(inner): digest} if names else {digest: found.get(digest, 0) + 1}
    return found


def _lasting(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _lasting(value) for key, value in node.items() if key not in VOLATILE}
    return [_lasting(one) for one in node] if isinstance(node, list) else node
