"""Variant scores: time and memory of many variants; alleles behind one stored context against whole sequences.

Run: ``python benchmarks/variants.py [--variants 10000,100000] [--threads 2]``. Returns markdown rows. The larger run of
the first table must not need more memory than the smaller one; the second table is timed in turn on one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from genebrain.genetics.model.language_model import GeneratorLanguageModel, load_language_model
from genebrain.genetics.model.tokenizer import BOS, K, SixMerTokenizer, pad
from genebrain.genetics.variants.likelihood import Question, fill_batches, log_likelihoods

LETTERS = np.frombuffer(b"ACGT", np.uint8)
TOKENIZER = SixMerTokenizer()


def simulate(folder: Path, n: int) -> None:
    """Write a genome of 5 Mb and ``n`` variants on it, one in ten an indel, one in three at the place of another."""
    random = np.random.default_rng(0)
    letters = bytes(random.choice(LETTERS, 5_000_000)).decode()
    (folder / "genome.fa").write_text(f">chr1\n{letters}\n")
    places = np.sort(random.choice(random.integers(1000, 4_990_000, n * 2 // 3), n))
    with (folder / "variants.tsv").open("w") as stream:
        stream.write("chrom\tpos\tref\talt\tlabel\n")
        for place in places:
            base = letters[place - 1]
            other = "ACGT".replace(base, "")[random.integers(3)]
            kind = random.random()
            ref, alt = (base, other)
            if kind < 0.05:
                ref, alt = letters[place - 1 : place + 3], base
            elif kind < 0.1:
                ref, alt = base, base + "GATC"
            stream.write(f"chr1\t{place}\t{ref}\t{alt}\t{random.integers(2)}\n")


def run_verb(folder: Path, threads: int) -> tuple[float, float]:
    """Seconds and peak resident megabytes of one ``score-variants`` process."""
    command = [sys.executable, "-m", "genebrain", "score-variants", f"variants={folder / 'variants.tsv'}"]
    command += [f"reference={folder / 'genome.fa'}", f"out={folder / 'scores.parquet'}", "context_bp=600"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    child = os.posix_spawn(sys.executable, command, environment)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"score-variants failed: {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def whole_sequences(model: GeneratorLanguageModel, questions: list[Question]) -> list[float]:
    """The same likelihoods without stored keys and values: context and allele as one sequence, every allele."""
    rows = [
        [BOS, *TOKENIZER.encode(q.context.decode() + text[: len(text) // K * K])]
        for q in questions
        for text in q.strings
    ]
    found = []
    with torch.inference_mode():
        ids, mask = pad(rows)
        hidden = model.model.model(torch.from_numpy(ids)).last_hidden_state
        n_context = [q.n_tokens for q in questions for _ in q.strings]
        for row, (start, length) in enumerate(zip(n_context, mask.sum(1), strict=True)):
            log_p = model.model.lm_head(hidden[row, start - 1 : length - 1]).log_softmax(-1)
            found.append(log_p[torch.arange(length - start), torch.from_numpy(ids[row, start:length])].sum().item())
    return found


def compare(context_bp: int, n: int, repeats: int = 3) -> str:
    """One row: alleles of 36 letters behind ``n`` contexts, stored keys and values against whole sequences."""
    model = load_language_model(device="cpu")
    random = np.random.default_rng(1)

    def draw(length: int) -> str:
        return bytes(random.choice(LETTERS, length)).decode()

    questions = []
    for _ in range(n):
        behind = draw(35)
        questions.append(Question(draw(context_bp).encode(), ("A" + behind, "C" + behind)))
    batches = [[questions[i] for i in batch] for batch in fill_batches(questions, 4096)]
    ratios, difference = [], 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        whole = [x for batch in batches for half in _halves(batch) for x in whole_sequences(model, half)]
        middle = time.perf_counter()
        stored = [x for batch in batches for answer in log_likelihoods(model, batch, 4096) for x in answer]
        ratios.append((middle - start) / (time.perf_counter() - middle))
        difference = max(difference, float(np.abs(np.array(whole) - np.array(stored)).max()))
    return f"| {n} x 2 alleles behind {context_bp:,} bp | {statistics.median(ratios):.2f} | {difference:.0e} |"


def _halves(batch: list[Question]) -> list[list[Question]]:
    """Two halves, so that both ways hold the same number of tokens at a time."""
    middle = -(-len(batch) // 2)
    return [part for part in (batch[:middle], batch[middle:]) if part]


def main() -> list[str]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", default="10000,100000")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    rows = ["| variants, both strands, 600 bp contexts | seconds | variants/s | peak RSS, MB |", "|---|---|---|---|"]
    for n in map(int, arguments.variants.split(",")):
        with tempfile.TemporaryDirectory() as name:
            simulate(Path(name), n)
            seconds, peak = run_verb(Path(name), arguments.threads)
        rows.append(f"| {n:,} | {seconds:,.0f} | {n / seconds:,.0f} | {peak:,.0f} |")
    torch.set_num_threads(1)
    rows += ["", "| context read once, alleles behind its stored keys and values | times faster | largest difference |"]
    rows += ["|---|---|---|", compare(600, 200), compare(8190, 10)]
    return rows


if __name__ == "__main__":
    print("\n".join(main()))
