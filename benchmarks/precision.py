"""Number formats of the DNA encoder: what bfloat16 and float16 leave of the differences between people.

Run: ``python -m benchmarks.precision [--people 600]``. Simulated people, the tiny model with random weights; rare
alleles are masked. Computing in bfloat16 is tried beside float32, and both are stored in full or rounded to float16.
Three readings of each: how far a difference between two people is off; how well ridge regression decodes a dosage from
the vector of its chunk (people that it has not seen); recall@1 of ridge CCA against the true traits.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from genebrain.alignment.closed_form.columns import ColumnSettings, WindowColumns
from genebrain.alignment.closed_form.ridge_cca import fit_ridge_cca
from genebrain.cohort.participants import load_cohort
from genebrain.evaluation.retrieval import evaluate_retrieval
from genebrain.genetics.encoders.generator import GeneratorReader
from genebrain.genetics.encoders.options import EmbedOptions
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.genetics.haplotypes.common_alleles import Allele
from genebrain.genetics.model.backbone import load_generator
from genebrain.sides.genes.masked import MaskedGenes
from genebrain.sides.genome import GeneSide
from genebrain.sides.pooling import GenePooling
from genebrain.sides.workspace import Workspace
from genebrain.simulation.cohort import simulate_cohort
from genebrain.simulation.known_answer import read_truth

FREQUENCY, POOLING, AT_ONCE = 0.05, "mean", 64
Table = np.ndarray[Any, Any]


def encoded(sequences: list[bytes], compute: torch.dtype) -> Table:
    """Vectors ``[chunks, hidden]`` of the strings, computed in a number format."""
    reader = GeneratorReader(load_generator(dtype=compute), EmbedOptions())
    order = np.argsort([len(one) for one in sequences], kind="stable")
    found = np.empty((len(sequences), reader.width), np.float32)
    with torch.inference_mode():
        for first in range(0, len(order), AT_ONCE):
            rows = order[first : first + AT_ONCE]
            found[rows] = reader.read([sequences[row] for row in rows])[1][POOLING].float().numpy()
    return found


def decoded(vectors: Table, dosage: Table, training: Table, test: Table) -> float:
    """R2 of ridge regression on test people."""
    mean, spread = vectors[training].mean(axis=0), vectors[training].std(axis=0)
    x = (vectors - mean) / np.where(spread > 0, spread, 1)
    y = dosage - dosage[training].mean()
    gram = x[training].T @ x[training]
    weights = np.linalg.solve(gram + 1e-2 * len(training) / len(gram) * np.eye(len(gram)), x[training].T @ y[training])
    return float(1 - np.square(y[test] - x[test] @ weights).sum() / np.square(y[test] - y[test].mean()).sum())


def places(workspace: Workspace, alleles: list[list[Allele]], chunk_bp: int) -> Iterator[tuple[int, int, int]]:
    """Window, chunk (as the index counts) and column of every frequent allele."""
    for number, window in enumerate(read_windows(workspace.cohort.windows)):
        first, last = window.start // chunk_bp, (window.end - 1) // chunk_bp
        for column, allele in enumerate(alleles[number]):
            if allele.varies(FREQUENCY):
                piece = allele.position // chunk_bp
                yield number, piece - first if window.strand == "+" else last - piece, column


def rows(people: int) -> Iterator[str]:
    """Lines of the table."""
    rng = np.random.default_rng(0)
    training, test = np.split(rng.permutation(people), [int(0.7 * people)])
    with tempfile.TemporaryDirectory() as name:
        cohort = load_cohort(simulate_cohort(Path(name) / "cohort", n_subjects=people, seed=11))
        workspace, gene = Workspace(cohort, progress=False), GeneSide()
        alleles = workspace.alleles(gene, training)
        chunks = workspace.chunks(MaskedGenes.of(gene, alleles.mask(0.01)))
        trait = read_truth(cohort.folder / "known_answer.json")["u"]
        wanted = list(places(workspace, alleles.alleles, gene.chunk_bp))
    size = f"{people} people, {chunks.n_unique:,} chunks, {len(wanted)} alleles"
    yield f"| {size} | difference off by | R2: mean | least | recall@1 |"
    yield "|---|---|---|---|---|"
    exact = None
    for compute in (torch.float32, torch.bfloat16):
        full = encoded(chunks.sequences, compute)
        for stored in (np.float32, np.float16):
            table = full.astype(stored).astype(np.float32)
            exact = table if exact is None else exact
            r2 = []
            for window, chunk, column in wanted:
                index = chunks.index[:, :, window, chunk]
                dosage = alleles.dosages[window][:, column]
                r2.append(decoded(table[index].sum(axis=1, dtype=np.float64), dosage, training, test))
            off = np.sqrt(np.square(_differences(table, chunks.index) - _differences(exact, chunks.index)).mean())
            off /= np.sqrt(np.square(_differences(exact, chunks.index)).mean())
            told = f"computed in {str(compute).removeprefix('torch.')}, stored in {np.dtype(stored).name}"
            recall = _recall(table, chunks, trait, training, test)
            yield f"| {told} | {off:.1%} | {np.mean(r2):.4f} | {np.min(r2):.3f} | {recall:.3f} |"


def _differences(table: Table, index: Table) -> Table:
    """Vectors of one person minus those of the next, wherever they carry different chunks."""
    one, other = index[:-1].ravel(), index[1:].ravel()
    differ = np.flatnonzero((one != other) & (one >= 0) & (other >= 0))[::97]
    return table[one[differ]] - table[other[differ]]


def _recall(table: Table, chunks: Any, trait: Table, training: Table, test: Table) -> float:
    """Of ridge CCA from pooled windows to the true traits, test people, gallery of 64."""
    blocks = GenePooling(token=POOLING).blocks(table, chunks.index, chunks.n_chunks)
    columns = WindowColumns.fit([block[training] for block in blocks], ColumnSettings())
    x, families = columns.transform(blocks), np.arange(len(trait))
    fitted = fit_ridge_cca(x[training], trait[training], families[training])
    found = evaluate_retrieval(fitted.gene_vectors(x[test]), fitted.brain_vectors(trait[test]), n_bootstrap=1)
    return float(found["mean"]["recall@1"]["value"])


def main() -> None:
    parser = argparse.ArgumentParser(description="number formats of the DNA encoder")
    parser.add_argument("--people", type=int, default=600)
    arguments = parser.parse_args()
    with threadpool_limits(1):
        for line in rows(arguments.people):
            print(line, flush=True)


if __name__ == "__main__":
    main()
