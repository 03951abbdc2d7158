"""Chunk embedding: packed batches of the chunk store against one chunk at a time (the published loop).

Run: ``python -m benchmarks.embedding [--chunks 400] [--threads 1] [--repeats 3] [--device cpu]``. Prints
markdown rows. The two ways are timed in turn, the median of the ratios is shown, and the tables are compared. The
second table runs ``embed-sequences`` in fresh processes, with ever more chunks, and shows the peak of their memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from genebrain.genetics.chunks.build import build_chunks
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.genetics.genome.reference import Reference, reverse_complement
from genebrain.genetics.haplotypes.resolve import open_genotypes
from genebrain.genetics.model.backbone import GeneratorBackbone, load_generator
from genebrain.genetics.model.encode import encode_batch
from genebrain.genetics.model.tokenizer import BOS, SixMerTokenizer
from genebrain.genetics.sequences.cutting import Cutting
from genebrain.genetics.store.plan import EmbedOptions
from genebrain.genetics.store.store import ChunkStore

REAL = Path(__file__).parent.parent / "data" / "chr20_1000g"
PROGRAM = """
import json, resource, sys, time
import torch
torch.set_num_threads(1)
from genebrain.genetics.model.backbone import load_generator
from genebrain.genetics.sequences.cutting import Cutting
from genebrain.genetics.sequences.embed import embed_sequence_file
from genebrain.genetics.sequences.files import SequenceFile
from genebrain.genetics.sequences.vectors import VectorLayout
backbone = load_generator(device="cpu")
layout, cutting = VectorLayout("mean", "mean"), Cutting(300)
source = SequenceFile(sys.argv[1])
done = embed_sequence_file(source, sys.argv[2], backbone, cutting=cutting, layout=layout, progress=False)
work = done["encoder"]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"peak": peak, "seconds": work["seconds"], "chunks": work["encoded"], "shape": done["shape"]}))
"""


def genes() -> list[bytes]:
    """Gene bodies of the shipped part of chromosome 20, in the direction of transcription."""
    windows = read_windows(REAL / "genes.bed")
    with Reference(REAL / "reference.fa.gz") as fasta:
        fasta.check(windows)
        found = [(window.strand, fasta.fetch(window)) for window in windows]
    return [letters if strand == "+" else reverse_complement(letters) for strand, letters in found]


def draw(kind: str, n: int) -> list[bytes]:
    if kind == "chr20 genes":
        cutting = Cutting(1500)
        chunks = [gene[start:end] for gene in genes() for start, end in cutting.cuts(len(gene))]
        return [chunk for chunk in dict.fromkeys(chunks) if set(chunk) != {ord("N")}][:: max(1, len(chunks) // n)][:n]
    if kind == "chr20 haplotypes":
        with open_genotypes(REAL / "genotypes.vcf.gz") as file:
            people = file.samples[::40]
        files = REAL / "genotypes.vcf.gz", REAL / "reference.fa.gz"
        built = build_chunks(*files, read_windows(REAL / "genes.bed"), people, progress=False)
        return built.sequences[:: max(1, built.n_unique // n)][:n]
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
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    backbone = load_generator(device=arguments.device)
    packed(backbone, draw("1.5 kb", 40))  # warm up
    print("| chunks | kbp/s one at a time | kbp/s packed, stored | ratio | padding | largest difference |")
    print("|---|---|---|---|---|---|")
    kinds = ["1.5 kb", "0.15-3 kb"]
    if (REAL / "genotypes.vcf.gz").is_file():
        kinds += ["chr20 genes", "chr20 haplotypes"]
    for kind in kinds:
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
        print(f"| {len(sequences)} of {kind} | {speeds} | {padding:.1%} | {difference:.0e} |")
    print("\n| embed-sequences: sequences | chunks encoded | kbp/s | peak RSS, MB |\n|---|---|---|---|")
    for n in (500, 2000, 8000):
        found = whole_file(n)
        speed = n * 1.2 / found["seconds"]
        print(f"| {n:,} of 1.2 kb | {found['chunks']:,} | {speed:,.0f} | {found['peak']:.0f} |")


def whole_file(n: int) -> dict[str, float]:
    """``embed-sequences`` over ``n`` random sequences of 1.2 kb (four chunks each) in a fresh process."""
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.fa"
        with path.open("wb") as out:
            for i in range(n):
                out.write(b">s%d\n" % i + bytes(random.choice(np.frombuffer(b"ACGT", np.uint8), 1200)) + b"\n")
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(path), str(Path(folder) / "out")]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(answer.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
