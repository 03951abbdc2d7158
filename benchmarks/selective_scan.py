"""Selective scan, one sequence of 64 channels x 16 states: two-level scan, the loop over slices, mambapy.

``python -m benchmarks.selective_scan`` measures value and gradients on one thread. The loop over slices
(``decay[:, i]``) is the way of the pure-PyTorch fall-backs: each slice's gradient fills a tensor of full length,
so its cost is quadratic. At the longest length it runs once, between two sets of runs of the other (about 40 s).
The last row is a full-size BrainMT scan of 50,401 tokens, 1,024 channels x 16 states, in a process of its own.
mambapy (pure PyTorch, ``pip install "genebrain[oracles]"``) runs in turn with ours, with the same maps around its
parallel scan.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from genebrain.brain.models.brainmt.selective_scan import selective_scan

CHANNELS, STATE = 64, 16
REPEATS = 5
FULL = 1024, 50_401


def inputs(channels: int, length: int) -> dict[str, Tensor]:
    """Seeded sequences ``[1, channels, length]`` and their maps, all with gradients."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    values = {"u": draw(1, channels, length), "delta": draw(1, channels, length) - 3}
    values["A"] = -torch.arange(1.0, STATE + 1).repeat(channels, 1)
    values |= {"B": draw(1, STATE, length), "C": draw(1, STATE, length)}
    return {key: value.requires_grad_() for key, value in values.items()}


def over_slices(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The recurrence as a loop that indexes full-length tensors."""
    step = functional.softplus(delta).mT
    decay = torch.exp(step[..., None] * A)
    drive = (step * u.mT)[..., None] * B.mT[:, :, None]
    h, states = torch.zeros_like(decay[:, 0]), []
    for i in range(u.shape[-1]):
        h = decay[:, i] * h + drive[:, i]
        states.append(h)
    return (torch.stack(states, dim=1) @ C.mT[..., None]).squeeze(-1).mT


def by_mambapy(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The recurrence by mambapy's parallel scan."""
    from mambapy.pscan import pscan

    step = functional.softplus(delta).mT
    states = pscan(torch.exp(step[..., None] * A), (step * u.mT)[..., None] * B.mT[:, :, None])
    return (states @ C.mT[..., None]).squeeze(-1).mT


def two_level(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Ours."""
    return selective_scan(u, delta, A, B, C)[0]


FORMS = {"slices": over_slices, "two-level": two_level, "mambapy": by_mambapy}


def seconds(form: str, values: dict[str, Tensor]) -> float:
    """Forward and backward once."""
    start = time.perf_counter()
    y = FORMS[form](**values)
    torch.autograd.grad(y.sum(), list(values.values()))
    return time.perf_counter() - start


def high_water_mark() -> float:
    """Peak resident memory of this process in MiB (Linux); ``getrusage`` would inherit that of the parent."""
    return float(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def child() -> None:
    """Forward and backward of the full size: seconds and MiB."""
    torch.set_num_threads(1)
    print(seconds("two-level", inputs(*FULL)), high_water_mark())


def main() -> list[str]:
    """Lines of a markdown table, printed as they are measured."""
    rows: list[str] = []

    def add(line: str) -> None:
        rows.append(line)
        print(line, flush=True)

    add("| length | loop over slices s | mambapy s | two-level s | times as fast as the loop | of mambapy's time |")
    add("|---|---|---|---|---|---|")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for length, pairs in ((512, 3), (4096, 1)):
            values = inputs(CHANNELS, length)
            for form in ("two-level", "mambapy"):
                seconds(form, values)
            slow: list[float] = []
            fast: list[float] = []
            other: list[float] = []
            for _ in range(pairs):
                for _ in range(REPEATS):
                    fast.append(seconds("two-level", values))
                    other.append(seconds("mambapy", values))
                slow.append(seconds("slices", values))
                for _ in range(REPEATS):
                    fast.append(seconds("two-level", values))
                    other.append(seconds("mambapy", values))
            plain, theirs, ours = (statistics.median(times) for times in (slow, other, fast))
            add(f"| {length:,} | {plain:.2f} | {theirs:.4f} | {ours:.4f} | {plain / ours:.0f} | {ours / theirs:.2f} |")
    finally:
        torch.set_num_threads(threads)
    command = [sys.executable, "-m", "benchmarks.selective_scan", "child"]
    took, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    states = 4 * FULL[0] * FULL[1] * STATE / 2**20
    add("")
    add(
        f"Full size ({FULL[1]:,} tokens x {FULL[0]:,} channels x {STATE} states), forward and backward: "
        f"{float(took):.0f} s, peak of the process {float(peak):.0f} MiB; "
        f"one tensor of all states would be {states:.0f} MiB."
    )
    return rows


if __name__ == "__main__":
    child() if sys.argv[1:] == ["child"] else main()
