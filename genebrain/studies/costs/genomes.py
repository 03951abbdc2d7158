"""Cost of the genomes of a cohort: counted where that is quick, else estimated from pieces of some windows.

The pieces are of everybody: neither the time of reading nor the number of distinct chunks grows with people in a way
that a sample of them would tell.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from genebrain.cohort.participants import Cohort
from genebrain.common.types import UserError
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.genome.gene_windows import Window, read_windows
from genebrain.sides.genes.planned import planned_chunks
from genebrain.sides.genome import GeneSide
from genebrain.studies.costs.stages import Stage

COUNTED = 5e8
"""Letters (people x bases) up to which every chunk is counted: seconds."""
SMALL = 1000
"""People up to whom every chunk is counted."""
WINDOWS, CHUNKS = 6, 4
"""Windows that are looked at, and chunks in the middle of each."""
READING_S, ENCODING_S = 12.0, 6.0


def genome_work(gene: GeneSide, cohort: Cohort) -> tuple[dict[str, Any], float, ChunkSet | None]:
    """Work of the encoder, seconds to cut all chunks in one process, and some chunks to try the encoder with.

    The work has the keys of :func:`genebrain.genetics.chunks.work.predict`, where counted; else ``chunks_naive``,
    ``chunks_unique``, ``saving``, ``encoder_tokens`` and ``sampled`` (windows and bases that were looked at).
    """
    windows = read_windows(cohort.windows)
    lengths = np.array([window.end - window.start for window in windows], np.int64)
    if len(cohort) * lengths.sum() <= COUNTED or len(cohort) <= SMALL:
        started = time.monotonic()
        work = gene.plan(cohort)
        seconds = time.monotonic() - started
        return work, seconds, _sample(gene, cohort, [int(lengths.argmin())], range(min(len(cohort), 100)))
    return _foretold(gene, cohort, windows)


def _foretold(gene: GeneSide, cohort: Cohort, windows: Sequence[Window]) -> tuple[dict[str, Any], float, ChunkSet]:
    """The same from whole chunks in the middle of some windows, of everybody: as they are read and cut for good."""
    lengths = np.array([window.end - window.start for window in windows], np.int64)
    order = np.argsort(lengths, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(WINDOWS, len(order))).round().astype(int))].tolist()
    chosen.sort(key=lambda number: abs(float(lengths[number]) - float(np.median(lengths))))
    seconds, bases, naive, unique, tokens, looked_at = 0.0, 0, 0, 0, 0, 0
    for number in chosen:
        piece = _middle(windows[number], gene.chunk_bp, 0 if gene.cut_origin == "genome" else windows[number].start)
        started = time.monotonic()
        built = planned_chunks(gene.frequencies, gene.chunk_inputs(cohort) | {"windows": [piece]})
        seconds += time.monotonic() - started
        bases += piece.end - piece.start
        naive, unique, looked_at = naive + built.n_naive, unique + built.n_unique, looked_at + 1
        tokens += int(_tokens(gene, built).sum())
        if seconds > READING_S:
            break
    more = float(lengths.sum()) / bases
    work = {
        "chunks_naive": round(naive * more),
        "chunks_unique": round(unique * more),
        "saving": naive / max(1, unique),
        "encoder_tokens": round(tokens * more),
        "sampled": {"windows": looked_at, "of_windows": len(lengths), "bases": bases, "of_bases": int(lengths.sum())},
        "report": built.report,
    }
    return work, seconds * more, built


def _middle(window: Window, chunk_bp: int, origin: int) -> Window:
    """Some whole chunks in the middle of a window; all of a short one."""
    first = origin + -(-(window.start - origin) // chunk_bp) * chunk_bp
    n_chunks = (window.end - first) // chunk_bp
    if n_chunks <= CHUNKS:
        return window
    start = first + (n_chunks - CHUNKS) // 2 * chunk_bp
    return replace(window, start=start, end=start + CHUNKS * chunk_bp)


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
        basis = f"{seen['bases']:,} of {seen['of_bases']:,} bases in {seen['windows']} windows, of everybody"
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
