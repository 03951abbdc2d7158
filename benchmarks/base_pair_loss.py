"""Base-pair marginal loss, forward and backward: slices computed again against softmax of all positions kept.

Run: ``python benchmarks/base_pair_loss.py [--tokens 4096] [--repeats 3]``. Prints markdown rows. Each measurement is a
process of its own, in turn; memory is its peak above what stood before the loss (hidden states and head).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from genebrain.genetics.model.base_pair_loss import base_pair_loss
from genebrain.genetics.model.tokenizer import VOCAB_SIZE, K

HIDDEN, BATCH = 256, 4


def kept(hidden: Tensor, labels: Tensor, head: Tensor) -> Tensor:
    """All logits and all probabilities at once, differentiated by autograd, as the published trainer does."""
    probability = (hidden @ head.T)[:, :-1].softmax(-1)[..., 32:]
    kmers = labels[:, 1:] - 32
    total = hidden.new_zeros(())
    for position in range(K):
        place = 4 ** (K - 1 - position)
        sums = probability.unflatten(-1, (-1, 4, place)).sum((-3, -1))
        right = sums.gather(-1, (kmers // place % 4)[..., None])
        total = total - right.clamp(min=1e-8).log().mean()
    return total / K


def sliced_from_head(hidden: Tensor, labels: Tensor, head: Tensor) -> Tensor:
    return base_pair_loss(hidden, labels, head).total


def sliced_from_logits(hidden: Tensor, labels: Tensor, head: Tensor) -> Tensor:
    return base_pair_loss(hidden @ head.T, labels).total


WAYS = {"kept": kept, "slices of given logits": sliced_from_logits, "slices, head inside": sliced_from_head}


def high_water_mark() -> float:
    """Peak resident memory of this process in MiB (Linux)."""
    return float(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def child(way: str, tokens: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    hidden = torch.randn(BATCH, tokens // BATCH, HIDDEN, requires_grad=True)
    head = (torch.randn(VOCAB_SIZE, HIDDEN) / 16).requires_grad_()
    labels = torch.randint(32, VOCAB_SIZE, (BATCH, tokens // BATCH))
    WAYS[way](hidden[:, :4], labels[:, :4], head).backward()  # warm up
    hidden.grad = head.grad = None
    before, start = high_water_mark(), time.perf_counter()
    loss = WAYS[way](hidden, labels, head)
    loss.backward()
    seconds = time.perf_counter() - start
    print(seconds, high_water_mark() - before, loss.item(), head.grad.norm().item())


def measured(way: str, tokens: int) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.base_pair_loss", "--child", way, "--tokens", str(tokens)]
    return [float(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.tokens)
        return
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(arguments.repeats):
        for way in WAYS:
            found[way].append(measured(way, arguments.tokens))
    print(f"| {arguments.tokens:,} targets of {VOCAB_SIZE:,} | seconds | peak, MiB | memory, ratio | loss | gradient |")
    print("|---|---|---|---|---|---|")
    reference = statistics.median(row[1] for row in found["kept"])
    for way, rows in found.items():
        seconds, peak = (statistics.median(row[i] for row in rows) for i in (0, 1))
        loss, norm = rows[0][2:]
        print(f"| {way} | {seconds:.2f} | {peak:,.0f} | {peak / reference:.2f} | {loss:.6f} | {norm:.6f} |")


if __name__ == "__main__":
    main()
