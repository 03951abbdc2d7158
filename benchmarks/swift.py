"""SwiFT at 96^3 voxels x 20 frames: segments against roll and mask, as markdown rows.

``python -m benchmarks.swift [--small]`` measures one clip on one thread: encoding it, and forward + backward. The
masked form is the published one: pad, cyclic roll, windows, scores written out with a mask of -100, roll back;
the rest of the network is the same in both but for the feed-forward layer, which only the segment form makes
again in the backward pass. Times are medians of runs in turn, so that a busy machine slows both alike; memory is
the peak above model and input of a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from genebrain.brain.models.swift.attention import SegmentAttention
from genebrain.brain.models.swift.blocks import Block
from genebrain.brain.models.swift.config import SwiFTConfig
from genebrain.brain.models.swift.model import SwiFT
from tests.brain.models.swift.published_attention import rolled

SIZES = {"full": SwiFTConfig(), "small": SwiFTConfig(img_size=(48, 48, 48, 8), embed_dim=24)}
PAIRS = {"forward": 3, "forward + backward": 2}


def kept(self: Block, x: Tensor) -> Tensor:
    """A block that keeps all its activations."""
    x = x + self.attn(self.norm1(x))
    return x + self.mlp(self.norm2(x))


def published_form() -> AbstractContextManager[object]:
    """Inside it, every encoder runs with roll and mask."""
    stack = ExitStack()
    stack.enter_context(mock.patch.object(SegmentAttention, "forward", rolled))
    stack.enter_context(mock.patch.object(Block, "forward", kept))
    return stack


def inputs(size: str) -> tuple[SwiFT, Tensor]:
    config = SIZES[size]
    model = SwiFT(config).eval()
    model.initialise(seed=0)
    return model, torch.randn(1, 1, *config.img_size, generator=torch.Generator().manual_seed(0))


def run(form: str, task: str, model: SwiFT, scan: Tensor) -> float:
    """Seconds of one task in one form."""
    with ExitStack() as stack:
        if form == "masked":
            stack.enter_context(published_form())
        start = time.perf_counter()
        if task == "forward":
            with torch.inference_mode():
                model(scan)
        else:
            model(scan).square().mean().backward()
            model.zero_grad(set_to_none=True)
        return time.perf_counter() - start


def high_water_mark() -> float:
    """Peak resident memory of this process in MiB (Linux); ``getrusage`` would inherit that of the parent."""
    return float(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def child(form: str, task: str, size: str) -> None:
    torch.set_num_threads(1)
    run(form, task, *inputs("small"))  # kernels and libraries are not the task's memory
    model, scan = inputs(size)
    before = high_water_mark()
    run(form, task, model, scan)
    print(high_water_mark() - before)


def peak(form: str, task: str, size: str) -> float:
    """MiB above model and input, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.swift", form, task, size]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(size: str = "full") -> list[str]:
    """Lines of a markdown table, printed as they are measured."""
    torch.set_num_threads(1)
    rows: list[str] = []

    def add(line: str) -> None:
        rows.append(line)
        print(line, flush=True)

    add("| task | masked s | segments s | masked / segments | masked MiB | segments MiB | segments / masked |")
    add("|---|---|---|---|---|---|---|")
    model, scan = inputs(size)
    for task, pairs in PAIRS.items():
        times = [[run(form, task, model, scan) for form in ("masked", "segments")] for _ in range(pairs)]
        ratio = statistics.median(masked / ours for masked, ours in times)
        masked, ours = (statistics.median(column) for column in zip(*times, strict=True))
        memory = [peak(form, task, size) for form in ("masked", "segments")]
        add(
            f"| {task} | {masked:.2f} | {ours:.2f} | {ratio:.2f} | {memory[0]:.0f} | {memory[1]:.0f} "
            f"| {memory[1] / memory[0]:.2f} |"
        )
    return rows


if __name__ == "__main__":
    if len(sys.argv) == 4:
        child(*sys.argv[1:])
    else:
        main("small" if "--small" in sys.argv else "full")
