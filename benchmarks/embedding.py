"""Chunk embedding: packed batches of the chunk store against one chunk at a time (the published loop).

Run: ``python benchmarks/embedding.py [--chunks 400] [--threads 2] [--repeats 3] [--device cpu]``. Prints
markdown rows. The two ways are timed in turn, the median of the ratios is shown, and the tables are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

from genebrain.genetics.chunk_ensemble import encode_batch
from genebrain.genetics.chunk_store import ChunkStore
from genebrain.genetics.embedding_plan import EmbedOptions
from genebrain.genetics.generator import GeneratorBackbone, load_generator
from genebrain.genetics.tokenizer import BOS, SixMerTokenizer


def draw(kind: str, n: int) -> list[bytes]:
    random = np.random.default_rng(0)
    lengths = np.full(n, 1500) if kind == "1.5 kb" else random.integers(150, 3000, n)
    return [bytes(random.choice(np.frombuffer(b"ACGT", np.uint8), length)) for length in lengths]


def one_at_a_time(backbone: GeneratorBackbone, sequences: list[bytes]) -> np.ndarray:
    tokenizer, rows = SixMerTokenizer(), []
    for sequence in sequences:
        ids = torch.tensor([[BOS, *tokenizer.encode(tokenizer.frame(sequence.decode())), BOS]])
        with torch.inference_mode():
            rows.append(encode_batch(backbone, ids, torch.ones_like(ids))["mean"].cpu())
    return torch.cat(rows).numpy()


def packed(backbone: GeneratorBackbone, sequences: list[bytes]) -> tuple[np.ndarray, float]:
    keys = np.stack([np.frombuffer(hashlib.blake2b(s, digest_size=16).digest(), np.uint8) for s in sequences])
    with tempfile.TemporaryDirectory() as folder:
        store = ChunkStore(folder)
        report = store.embed(keys, sequences, backbone, EmbedOptions(), progress=False)
        return store.table(keys), report.padding_tokens / (report.tokens + report.padding_tokens)


def timed(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    backbone = load_generator(device=arguments.device)
    packed(backbone, draw("1.5 kb", 40))  # warm up
    print("| chunks | kbp/s one at a time | kbp/s packed, stored | ratio | padding | largest difference |")
    print("|---|---|---|---|---|---|")
    for kind in ("1.5 kb", "0.15-3 kb"):
        sequences = draw(kind, arguments.chunks)
        kilobases = sum(map(len, sequences)) / 1000
        pairs, difference, padding = [], 0.0, 0.0
        for _ in range(arguments.repeats):
            alone, single = timed(lambda: one_at_a_time(backbone, sequences))  # noqa: B023
            together, (table, padding) = timed(lambda: packed(backbone, sequences))  # noqa: B023
            difference = max(difference, float(np.abs(single - table).max()))
            pairs.append((alone, together))
        ratio = statistics.median(a / t for a, t in pairs)
        slow, fast = (kilobases / statistics.median(seconds) for seconds in zip(*pairs, strict=True))
        speeds = f"{slow:,.0f} | {fast:,.0f} | {ratio:.1f}"
        print(f"| {arguments.chunks} of {kind} | {speeds} | {padding:.1%} | {difference:.0e} |")


if __name__ == "__main__":
    main()
