"""What the genomes of a cohort will cost: counted where that is quick, else foretold from some windows and people.

Distinct chunks grow with the number of people by a power that falls slowly. It is read off nested groups of the sample,
so what is foretold is high where few variants are rare, and low where most are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from genebrain.cohort.participants import Cohort
from genebrain.common.types import UserError
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.sides.genes.planned import planned_chunks
from genebrain.sides.genome import GeneSide
from genebrain.studies.costs.stages import Stage

COUNTED = 5e8
"""Letters (people x bases) up to which every chunk is counted: seconds."""
PEOPLE = (250, 1000)
"""Sizes of the sample; chunks are also counted in half of the larger one."""
WINDOWS = 6
READING_S, ENCODING_S = 12.0, 6.0


def genome_work(gene: GeneSide, cohort: Cohort) -> tuple[dict[str, Any], float, ChunkSet | None]:
    """Work of the encoder, seconds to cut all chunks in one process, and some chunks to try the encoder with.

    The work has the keys of :func:`genebrain.genetics.chunks.work.predict`, where counted; else ``chunks_naive``,
    ``chunks_unique``, ``saving``, ``encoder_tokens`` and ``sampled`` (people and windows that were looked at).
    """
    windows = read_windows(cohort.windows)
    lengths = np.array([window.end - window.start for window in windows], np.int64)
    if len(cohort) * lengths.sum() <= COUNTED or len(cohort) <= PEOPLE[1]:
        started = time.monotonic()
        work = gene.plan(cohort)
        seconds = time.monotonic() - started
        return work, seconds, _sample(gene, cohort, [int(lengths.argmin())], range(min(len(cohort), 100)))
    return _foretold(gene, cohort, lengths)


def _foretold(gene: GeneSide, cohort: Cohort, lengths: np.ndarray[Any, Any]) -> tuple[dict[str, Any], float, ChunkSet]:
    people = np.random.default_rng(0).permutation(len(cohort))[: PEOPLE[1]].tolist()
    order = np.argsort(lengths, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(WINDOWS, len(order))).round().astype(int))].tolist()
    seconds, counts, tokens, bases, naive = 0.0, np.zeros(3), 0, 0, 0
    begun, looked_at, built = time.monotonic(), 0, None
    for window in sorted(chosen, key=lambda number: abs(float(lengths[number]) - float(np.median(lengths)))):
        started = time.monotonic()
        _sample(gene, cohort, [window], people[: PEOPLE[0]])
        few = time.monotonic() - started
        started = time.monotonic()
        built = _sample(gene, cohort, [window], people)
        many = time.monotonic() - started
        per_person = max(0.0, many - few) / (PEOPLE[1] - PEOPLE[0])
        seconds += max(0.0, few - PEOPLE[0] * per_person) + len(cohort) * per_person
        half = built.index[: len(people) // 2]
        # Under several masks the index is that of one: its growth stands for all of them.
        counts += [*(len(np.unique(part[part >= 0])) for part in (half, built.index)), built.n_unique]
        tokens += int(_tokens(gene, built).sum())
        naive += built.n_naive
        bases += int(lengths[window])
        looked_at += 1
        if time.monotonic() - begun > READING_S:
            break
    assert built is not None
    more = float(lengths.sum()) / bases
    power = min(1.0, max(0.0, math.log2(counts[1] / max(1.0, counts[0]))))
    unique = counts[2] * more * (len(cohort) / len(people)) ** power
    all_naive = naive * more * len(cohort) / len(people)
    work = {
        "chunks_naive": round(all_naive),
        "chunks_unique": round(unique),
        "saving": all_naive / max(1.0, unique),
        "encoder_tokens": round(unique * tokens / max(1.0, counts[2])),
        "growth": power,
        "sampled": {"people": len(people), "windows": looked_at, "of_windows": len(lengths)},
        "report": built.report,
    }
    return work, seconds * more, built


def _sample(gene: GeneSide, cohort: Cohort, windows: Sequence[int], people: Sequence[int]) -> ChunkSet:
    """Chunks of some windows and people (row numbers); nothing is stored."""
    inputs = gene.chunk_inputs(cohort)
    inputs["windows"] = [inputs["windows"][number] for number in windows]
    inputs["samples"] = [inputs["samples"][row] for row in people]
    return planned_chunks(gene.frequencies, inputs)


def genome_stages(gene: GeneSide, cohort: Cohort) -> tuple[dict[str, Any], list[Stage]]:
    """Work of the encoder, and the stages of the genomes."""
    work, seconds, some = genome_work(gene, cohort)
    if "sampled" in work:
        seen = work["sampled"]
        basis = f"{seen['people']:,} people x {seen['windows']} of {seen['of_windows']} windows"
    else:
        basis = "counted"
    per_person = work["chunks_naive"] / max(1, len(cohort))
    letters = work["chunks_unique"] * (gene.chunk_bp + 17)
    cutting = Stage("genotypes to chunks", seconds, True, 4 * per_person * len(cohort) + letters, basis)
    rate, why = _rate(gene, some)
    width, poolings = _stored(gene)
    disk = work["chunks_unique"] * (2.0 * width * poolings + 16)
    core_seconds = None if rate is None else work["encoder_tokens"] / rate
    return work, [cutting, Stage("DNA encoder", core_seconds, True, disk, why)]


def _stored(gene: GeneSide) -> tuple[int, int]:
    try:
        reader = gene.reader()
        return reader.width, len(reader.poolings)
    except UserError:
        return 0, 0


def _tokens(gene: GeneSide, chunks: ChunkSet) -> np.ndarray[Any, Any]:
    reader = gene.reader()
    return reader.sizes(np.array([len(sequence) for sequence in chunks.sequences], np.int64)) * reader.n_views


def _rate(gene: GeneSide, some: ChunkSet | None) -> tuple[float | None, str]:
    """Tokens per second of one core (or of the GPU of this machine), and how that was found."""
    if some is None or not some.sequences:
        return None, "no chunk to try"
    try:
        reader = gene.reader()
        reader.prepare()
    except UserError as error:
        return None, f"the encoder is not here: {str(error).split(';')[0]}"
    threads = torch.get_num_threads()
    on_cpu = reader.device.startswith("cpu")
    tokens, size, begun, seconds = 0, 1, time.monotonic(), 0.0
    try:
        torch.set_num_threads(1 if on_cpu else threads)
        with torch.inference_mode():
            reader.read(some.sequences[:1])  # the first call makes what later ones find
            while time.monotonic() - begun < ENCODING_S and (not seconds or seconds < ENCODING_S / 2):
                batch = (some.sequences * -(-size // len(some.sequences)))[:size]
                started = time.monotonic()
                seen, vectors = reader.read(batch)
                for values in vectors.values():
                    values.cpu()
                seconds, tokens = time.monotonic() - started, seen.real
                if seconds > ENCODING_S / 4 or seen.real >= reader.budget:
                    break
                size *= 2
    finally:
        torch.set_num_threads(threads)
    rate = tokens / max(seconds, 1e-9)
    return (
        rate,
        f"{rate:,.0f} tokens/s on {'a core' if on_cpu else reader.device} ({reader.compute.removeprefix('torch.')})",
    )
