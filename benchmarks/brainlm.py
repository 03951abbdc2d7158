"""BrainLM 13M at 424 parcels x 200 frames: fused attention against the eager form, as markdown rows.

``python -m benchmarks.brainlm`` measures one scan of 4,241 tokens: encoding it, and one masked training step.
The eager form is the published one: scores and weights of tokens x tokens, per head. "Recomputed" drops the
activations of each block and makes them again in the backward pass (fused form only). Times are the median of
paired runs, eager and fused in turn, so that a busy machine slows both alike; memory is the peak above model and
input of a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional

from genebrain.brain.models.brainlm.attention import ConvolvedAttention
from genebrain.brain.models.brainlm.config import BrainLMConfig
from genebrain.brain.models.brainlm.region_time import BrainLM

PARCELS, FRAMES = 424, 200
PAIRS = {"encode": 5, "training step": 1, "training step, recomputed": 1}
SIZES = BrainLMConfig(
    hidden_size=512,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=1024,
    decoder_hidden_size=512,
    decoder_num_hidden_layers=2,
    decoder_num_attention_heads=4,
    decoder_intermediate_size=1024,
    timepoint_patching_size=20,
)


def eager(self: ConvolvedAttention, x: Tensor) -> Tensor:
    """Softmax attention with every matrix written out, queries and keys scaled apart."""
    query, key, value = (
        part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
    )
    scale = query.shape[-1] ** -0.25
    weights = ((query * scale) @ (key * scale).mT).softmax(dim=-1)
    kernel = self.conv.weight
    convolved = functional.conv2d(value, kernel, padding=(kernel.shape[2] // 2, 0), groups=self.heads)
    return (weights @ value + convolved).transpose(1, 2).flatten(2)


def inputs() -> tuple[BrainLM, Tensor, Tensor]:
    """Model with seeded weights, signal ``[1, parcels, frames]``, coordinates ``[1, parcels, 3]``."""
    generator = torch.Generator().manual_seed(0)
    model = BrainLM(SIZES).eval()
    model.initialise(seed=0)
    signal = torch.randn(1, PARCELS, FRAMES, generator=generator)
    return model, signal, torch.randn(1, PARCELS, 3, generator=generator) * 40


def run(form: str, task: str, model: BrainLM, signal: Tensor, coordinates: Tensor) -> float:
    """Seconds of one task in one form."""
    forward = eager if form == "eager" else ConvolvedAttention.forward
    model.recompute = form == "fused" and task.endswith("recomputed")
    with mock.patch.object(ConvolvedAttention, "forward", forward):
        start = time.perf_counter()
        if task == "encode":
            with torch.inference_mode():
                model.vit(model.vit.embeddings(signal, coordinates))
        else:
            generator = torch.Generator().manual_seed(1)
            loss = model(signal, coordinates, mask_ratio=0.2, generator=generator).loss
            assert loss is not None
            loss.backward()
            model.zero_grad(set_to_none=True)
        return time.perf_counter() - start


def high_water_mark() -> float:
    """Peak resident memory of this process in MiB (Linux); ``getrusage`` would inherit that of the parent."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def child(form: str, task: str) -> None:
    model, signal, coordinates = inputs()
    # A first pass over one window per parcel loads kernels and thread pools, which are not the task's memory.
    run(form, task, model, signal[..., :20], coordinates)
    before = high_water_mark()
    run(form, task, model, signal, coordinates)
    print(high_water_mark() - before)


def peak(form: str, task: str) -> float:
    """MiB above model and input, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.brainlm", form, task]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> list[str]:
    """Lines of a markdown table, printed as they are measured."""
    rows: list[str] = []

    def add(line: str) -> None:
        rows.append(line)
        print(line, flush=True)

    add("| task | eager s | fused s | fused / eager | eager MiB | fused MiB | fused / eager |")
    add("|---|---|---|---|---|---|---|")
    batch = inputs()
    for task, pairs in PAIRS.items():
        times = [[run(form, task, *batch) for form in ("eager", "fused")] for _ in range(pairs)]
        ratio = statistics.median(fused / plain for plain, fused in times)
        plain, fused = (statistics.median(column) for column in zip(*times, strict=True))
        memory = [peak(form, task) for form in ("eager", "fused")]
        add(
            f"| {task} | {plain:.2f} | {fused:.2f} | {ratio:.2f} | {memory[0]:.0f} | {memory[1]:.0f} "
            f"| {memory[1] / memory[0]:.2f} |"
        )
    return rows


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(sys.argv[1], sys.argv[2])
    else:
        main()
