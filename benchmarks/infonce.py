"""InfoNCE in tiles against the naive form: time ratio and peak memory above the inputs, as markdown rows.

``python -m benchmarks.infonce`` measures batches up to 8,192; ``--large`` adds 32,768 (tiled only: the
naive form would need about 17 GiB), which takes minutes on two cores. Vectors have 512 features, forward
and backward. Times are the median of paired runs, naive and tiled in turn, so that a busy machine slows
both alike; memory is the peak of a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from genebrain.alignment.losses.infonce import InfoNCE

FEATURES = 512


def naive(x: Tensor, y: Tensor, log_scale: Tensor, *_: Tensor) -> Tensor:
    """Both score matrices and two cross-entropies, as the textbook has it."""
    labels = torch.arange(len(x))
    one_way = functional.cross_entropy(log_scale.exp() * x @ y.T, labels)
    return (one_way + functional.cross_entropy(log_scale.exp() * y @ x.T, labels)) / 2


FORMS: dict[str, Callable[..., Tensor]] = {"naive": naive, "tiled": InfoNCE()}


def step(form: str, batch: tuple[Tensor, ...]) -> float:
    """Seconds of one forward and backward pass."""
    start = time.perf_counter()
    FORMS[form](*batch).backward()
    return time.perf_counter() - start


def inputs(n: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x, y = (functional.normalize(torch.randn(n, FEATURES, generator=generator)) for _ in range(2))
    ids = torch.arange(n)
    return x.requires_grad_(), y.requires_grad_(), torch.tensor([2.66], requires_grad=True), ids, ids


def peak(form: str, n: int) -> tuple[float, float]:
    """MiB above the inputs (gradients included) and seconds, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.infonce", "--child", form, str(n)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    mebibytes, seconds = run.stdout.split()
    return float(mebibytes), float(seconds)


def high_water_mark() -> float:
    """Peak resident memory of this process in MiB (Linux).

    Not ``getrusage``: its peak survives ``exec``, so a child would start at the peak of its parent.
    """
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def child(form: str, n: int) -> None:
    step(form, inputs(8))
    batch = inputs(n)
    before = high_water_mark()
    seconds = step(form, batch)
    print(high_water_mark() - before, seconds)


def rows(large: bool = False) -> Iterator[str]:
    """Lines of a markdown table."""
    yield "| batch | naive s | tiled s | tiled / naive | naive MiB | tiled MiB |"
    yield "|---|---|---|---|---|---|"
    for n, pairs in ((128, 41), (256, 31), (1000, 11), (4096, 3), (8192, 1)):
        batch = inputs(n)
        for form in FORMS:
            step(form, batch)
        times = [[step(form, batch) for form in FORMS] for _ in range(pairs)]
        ratio = statistics.median(tiled / plain for plain, tiled in times)
        plain, tiled = (statistics.median(column) for column in zip(*times, strict=True))
        memory = [f"{peak(form, n)[0]:.0f}" for form in FORMS]
        yield f"| {n:,} | {plain:.4f} | {tiled:.4f} | {ratio:.2f} | {memory[0]} | {memory[1]} |"
    if large:
        mebibytes, seconds = peak("tiled", 32768)
        yield f"| 32,768 | | {seconds:.0f} | | | {mebibytes:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="InfoNCE in tiles against the naive form")
    parser.add_argument("--large", action="store_true", help="add a batch of 32,768")
    parser.add_argument("--child", nargs=2, metavar=("FORM", "BATCH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], int(arguments.child[1]))
        return
    for line in rows(arguments.large):
        print(line, flush=True)


if __name__ == "__main__":
    main()
