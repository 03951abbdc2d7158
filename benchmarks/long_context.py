"""A megabase in one pass with a sliding window: memory and rate against a tenth of it; on a GPU also model FLOPs.

Run: ``python -m benchmarks.run long_context``, or ``python benchmarks/long_context.py [--window 512] [--segment 512]``.
On the CPU the tiny model reads 100 kbp and 1 Mbp, each in a process of its own, and 98 kbp with full attention beside
them. Where a GPU is at hand, a model of the published 1.2B shape with random weights in bfloat16 also reads chunks of
250 to 2,048 tokens (share of the GPU's peak, forward passes) and the same two lengths with the published window.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
from transformers import LlamaConfig, MistralConfig

from genebrain.genetics.model.acceleration import accelerate
from genebrain.genetics.model.backbone import GeneratorBackbone
from genebrain.genetics.model.context_modes import configure, decoder_class
from genebrain.genetics.model.encode import encode_batch
from genebrain.genetics.model.loaded import build_empty
from genebrain.genetics.model.options import ModelOptions
from genebrain.genetics.model.sliding_window import pool_stream

TENTH, MEGABASE, FULL = 16_667, 166_667, 16_384
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "A10G": 70.0}
"""Dense bfloat16, as the makers state it."""

ALONE = """
import json, sys, time, torch
from genebrain.genetics.model.encode import encode_batch
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.model.options import ModelOptions
tokens, window, segment = map(int, sys.argv[1:])
torch.set_num_threads(1)
context = {"context": "sliding_window", "window": window} if window else {}
backbone = load_generator(device="cpu", options=ModelOptions(segment_tokens=segment, **context))
def status(key):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(key))
ids = torch.randint(32, 4128, (1, tokens), generator=torch.Generator().manual_seed(0))
loaded, start = status("VmRSS"), time.process_time()
with torch.inference_mode():
    encode_batch(backbone, ids, torch.ones_like(ids))
print(json.dumps([time.process_time() - start, loaded, status("VmHWM")]))
"""


def in_its_own_process(tokens: int, window: int, segment: int) -> tuple[float, float, float]:
    """Seconds of CPU time, MB after loading, MB at the peak."""
    command = [sys.executable, "-c", ALONE, str(tokens), str(window), str(segment)]
    seconds, loaded, peak = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return seconds, loaded, peak


def on_cpu(window: int, segment: int, repeats: int) -> list[str]:
    rows = [
        "| tiny model, one thread | tokens | CPU seconds | kbp/s | peak RSS, MB | above the loaded model, MB |",
        "|---|---|---|---|---|---|",
    ]
    cases = [
        (f"window of {window}, 100 kbp", TENTH, window),
        (f"window of {window}, 1 Mbp", MEGABASE, window),
        ("full attention, 98 kbp", FULL, 0),
    ]
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name, _, _ in cases}
    for _ in range(repeats):
        for name, tokens, width in cases:
            runs[name].append(in_its_own_process(tokens, width, segment))
    peaks = {}
    for name, tokens, _ in cases:
        seconds, loaded, peak = (statistics.median(values) for values in zip(*runs[name], strict=True))
        peaks[name] = peak
        rate = tokens * 6 / 1000 / seconds
        rows.append(f"| {name} | {tokens:,} | {seconds:.1f} | {rate:,.0f} | {peak:,.0f} | {peak - loaded:,.0f} |")
    tenth, megabase, _ = peaks.values()
    rows += ["", f"Peak memory of 1 Mbp over that of 100 kbp: {megabase / tenth:.3f} (wanted: at most 1.3)."]
    return rows


def random_model(shape: dict[str, int], options: ModelOptions, device: torch.device) -> GeneratorBackbone:
    """A decoder of this shape with random weights, bfloat16 on a GPU."""
    config = LlamaConfig.from_dict(
        {
            "vocab_size": 4128,
            "max_position_embeddings": 16384,
            "rope_theta": 500000.0,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            **shape,
        }
    )
    config = configure(config, options)
    model = build_empty(decoder_class(config), config).to_empty(device=device)
    model = model.to(torch.bfloat16 if device.type == "cuda" else torch.float32)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02) if parameter.ndim > 1 else torch.nn.init.ones_(parameter)
    model.rotary_emb = type(model.rotary_emb)(config).to(device)
    accelerate(model, options)
    model.eval().requires_grad_(False)
    return GeneratorBackbone(model, config.hidden_size, "random", "random weights", options)


def forward_flops(config: LlamaConfig | MistralConfig, batch: int, length: int) -> float:
    """Model FLOPs of one forward pass: two per weight of the blocks and token, and causal attention."""
    hidden, mlp, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    narrow = hidden * config.num_key_value_heads // config.num_attention_heads
    weights = layers * (2 * hidden * hidden + 2 * hidden * narrow + 3 * hidden * mlp)
    return batch * length * (2 * weights + layers * 2 * length * hidden)


def on_gpu(shape: dict[str, int], device: torch.device, tokens_per_batch: int, peak_tflops: float | None) -> list[str]:
    backbone = random_model(shape, ModelOptions(), device)
    rows = ["| chunk, tokens | batch | tokens/s | TFLOP/s | of the peak |", "|---|---|---|---|---|"]
    for length in (250, 512, 1024, 2048):
        batch = max(1, tokens_per_batch // length)
        ids = torch.randint(32, 4128, (batch, length), device=device)
        mask = torch.ones_like(ids)
        seconds = statistics.median(timed(backbone, ids, mask) for _ in range(12))
        rate = forward_flops(backbone.model.config, batch, length) / seconds / 1e12
        share = f"{rate / peak_tflops:.0%}" if peak_tflops else "peak unknown"
        rows.append(f"| {length} | {batch} | {batch * length / seconds:,.0f} | {rate:,.1f} | {share} |")
    del backbone
    return rows


def timed(backbone: GeneratorBackbone, ids: torch.Tensor, mask: torch.Tensor) -> float:
    synchronise(ids.device)
    start = time.perf_counter()
    with torch.inference_mode():
        encode_batch(backbone, ids, mask)
    synchronise(ids.device)
    return time.perf_counter() - start


def window_on_gpu(shape: dict[str, int], device: torch.device, options: ModelOptions) -> list[str]:
    backbone = random_model(shape, options, device)
    rows = [
        "",
        f"| window of {options.window:,} tokens | seconds | kbp/s | peak above the weights, MB |",
        "|---|---|---|---|",
    ]
    for name, tokens in (("100 kbp", TENTH), ("1 Mbp", MEGABASE)):
        ids = torch.randint(32, 4128, (1, tokens))
        weights = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        synchronise(device)
        start = time.perf_counter()
        with torch.inference_mode():
            pool_stream(backbone, ids)
        synchronise(device)
        seconds = time.perf_counter() - start
        above = (torch.cuda.max_memory_allocated() - weights) / 1e6
        rows.append(f"| {name} | {seconds:.1f} | {tokens * 6 / 1000 / seconds:,.0f} | {above:,.0f} |")
    return rows


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


SHAPE_1_2B = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 26,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
}


def main() -> list[str]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--segment", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens-per-batch", type=int, default=32_768)
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--peak-tflops", type=float, help="dense bfloat16 of your GPU, if the name does not tell")
    arguments = parser.parse_args()
    rows = on_cpu(arguments.window, arguments.segment, arguments.repeats)
    if not torch.cuda.is_available():
        return [*rows, "", "No GPU at hand: the rates of the 1.2B shape were not measured."]
    device, name = torch.device("cuda"), torch.cuda.get_device_name()
    peak = arguments.peak_tflops or next((value for key, value in PEAK_TFLOPS.items() if key in name), None)
    rows += ["", f"1.2B shape, random weights, bfloat16, {name}:", ""]
    rows += on_gpu(SHAPE_1_2B, device, arguments.tokens_per_batch, peak)
    options = ModelOptions(context="sliding_window", attention=arguments.attention, segment_tokens=2048)
    return rows + window_on_gpu(SHAPE_1_2B, device, options)


if __name__ == "__main__":
    print("\n".join(main()))
