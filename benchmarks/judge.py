"""The judge at the size of a biobank: each part on random vectors, with its time and its memory above the vectors.

Run: ``python -m benchmarks.judge [--people 3250 13000]``. 16 columns, 20 strata, a twentieth in families of two; 1,000
bootstraps and permutations. Each part runs in a process of its own. Everything is computed in blocks of queries, and
the last line checks that blocks change nothing.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.infonce import high_water_mark
from genebrain.evaluation import nulls, ranks, retrieval

COLUMNS, STRATA, DRAWS = 16, 20, 1000
PARTS: dict[str, Callable[..., Any]] = {
    "retrieval, gallery of 64": lambda g, b, f, s: retrieval.evaluate_retrieval(g, b, families=f, n_bootstrap=DRAWS),
    "retrieval, gallery of everybody": lambda g, b, f, s: retrieval.evaluate_retrieval(
        g, b, families=f, gallery_size=None, n_bootstrap=DRAWS
    ),
    "recall at every k": lambda g, b, f, s: retrieval.recall_curve(g, b, families=f, n_bootstrap=DRAWS),
    "within strata": lambda g, b, f, s: retrieval.within_stratum(g, b, strata=s, families=f, n_bootstrap=DRAWS),
    "permutations, free and stratified": lambda g, b, f, s: nulls.permutation_test(g, b, families=f, strata=s, n=DRAWS),
}


def people(n: int) -> tuple[Any, ...]:
    """Vectors with a weak relation, families and strata."""
    rng = np.random.default_rng(0)
    gene = rng.normal(size=(n, COLUMNS)).astype(np.float32)
    brain = (0.3 * gene + rng.normal(size=(n, COLUMNS))).astype(np.float32)
    family = np.arange(n)
    family[1 : n // 20 : 2] -= 1
    return gene, brain, family, rng.integers(0, STRATA, n)


def child(part: str, n: int) -> None:
    """Processor seconds and MiB above the vectors of one part."""
    given = people(n)
    before, started = high_water_mark(), time.process_time()
    PARTS[part](*given)
    print(time.process_time() - started, high_water_mark() - before)


def measured(part: str, n: int) -> tuple[float, float]:
    """The same from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.judge", "--people", str(n), "--child", part]
    seconds, memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(memory)


def rows(sizes: list[int]) -> Iterator[str]:
    """Lines of the table."""
    titles = [f"{n:,} people: processor s | MiB" for n in sizes]
    yield f"| part | {' | '.join(titles)} | power of the time |"
    yield "|---" * (2 * len(sizes) + 2) + "|"
    for part in PARTS:
        found = [measured(part, n) for n in sizes]
        power = math.log(found[-1][0] / found[0][0]) / math.log(sizes[-1] / sizes[0]) if len(sizes) > 1 else math.nan
        yield f"| {part} | " + " | ".join(f"{s:.1f} | {m:.0f}" for s, m in found) + f" | {power:.2f} |"
    gene, brain, family, strata = people(1000)
    found = []
    for ranks.BLOCK_SCORES in (7_000, 10**9):
        nulls.BLOCK_SCORES = ranks.BLOCK_SCORES
        found.append([part(gene, brain, family, strata) for part in PARTS.values()])
    yield ""
    yield f"1,000 people in blocks of 7 queries against one block: {'equal' if found[0] == found[1] else 'NOT equal'}."


def main() -> None:
    parser = argparse.ArgumentParser(description="the judge at the size of a biobank")
    parser.add_argument("--people", type=int, nargs="+", default=[3_250, 13_000])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with threadpool_limits(1):
        if arguments.child:
            child(arguments.child, arguments.people[0])
            return
        for line in rows(arguments.people):
            print(line, flush=True)


if __name__ == "__main__":
    main()
