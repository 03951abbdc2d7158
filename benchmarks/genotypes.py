"""From a VCF to the index of unique chunks: time, peak memory, and how much encoder work is left.

``python -m benchmarks.genotypes`` simulates phased genomes (European recent growth, SNPs and indels) over windows of
20 kb, writes VCF and FASTA, builds the index in a fresh process of one thread, and prints rows of markdown: first
500 people x 50 windows against the clock, then chunk counts as the number of people grows, with the exponent of
growth. Real people: 20 windows of ``data/chr20_1000g``. Imports count for memory, not for time. Linux only
(``VmHWM``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pysam

from genebrain.genetics.chunks.build import build_chunks
from genebrain.genetics.chunks.work import predict
from genebrain.genetics.genome.gene_windows import Window, read_windows
from genebrain.genetics.haplotypes.resolve import open_genotypes
from genebrain.simulation.genome.genomes import simulate_regions

WINDOW_BP = 20_000
REAL = Path(__file__).parents[1] / "data" / "chr20_1000g"
PROGRAM = """
import json, pathlib, sys, time
from genebrain.genetics.chunks.build import build_chunks
from genebrain.genetics.haplotypes.resolve import open_genotypes
from genebrain.genetics.genome.gene_windows import read_windows
folder, chunk_bp = pathlib.Path(sys.argv[1]), int(sys.argv[2])
start = time.perf_counter()
with open_genotypes(folder / "cohort.vcf.gz") as file:
    samples = file.samples
built = build_chunks(folder / "cohort.vcf.gz", folder / "reference.fa", read_windows(folder / "windows.bed"),
                     samples, chunk_bp=chunk_bp, progress=False)
seconds = time.perf_counter() - start
peak = int(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
print(json.dumps({"seconds": seconds, "peak_rss_mb": peak, "naive": built.n_naive, "unique": built.n_unique}))
"""


def write_cohort(folder: Path, people: int, windows: int, seed: int) -> None:
    """``cohort.vcf.gz`` with index, ``reference.fa`` and ``windows.bed`` of simulated people."""
    rng = np.random.default_rng(seed)
    names = [f"person{i}" for i in range(people)]
    letters = np.array([["0|0", "0|1"], ["1|0", "1|1"]])
    header, body, beds, fasta = [], [], [], []
    regions = simulate_regions(
        np.zeros(people, int), n_windows=windows, window_bp=WINDOW_BP, n_contigs=windows, fst=0.0, rng=rng
    )
    for region in regions:
        text = b"N" * region.start + region.sequence.tobytes()
        header.append(f"##contig=<ID={region.contig},length={len(text)}>")
        fasta.append(f">{region.contig}\n{text.decode()}\n")
        beds.append(f"{region.contig}\t{region.window[0]}\t{region.window[1]}\t{region.name}\t0\t{region.strand}\n")
        for place, ref, alt, calls in zip(region.position, region.ref, region.alt, region.haplotypes, strict=True):
            genotypes = "\t".join(letters[calls[:, 0], calls[:, 1]])
            body.append(f"{region.contig}\t{place + 1}\t.\t{ref}\t{alt}\t.\t.\t.\tGT\t{genotypes}\n")
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *names]
    top = ["##fileformat=VCFv4.2", '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">', *header]
    vcf = folder / "cohort.vcf"
    vcf.write_text("\n".join([*top, "\t".join(columns)]) + "\n" + "".join(body))
    pysam.tabix_index(str(vcf), preset="vcf", force=True)
    (folder / "reference.fa").write_text("".join(fasta))
    (folder / "windows.bed").write_text("".join(beds))


def measure(folder: Path, chunk_bp: int) -> dict[str, float]:
    """Seconds, peak memory (MB) and chunks of one build in a fresh process of one thread."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(folder), str(chunk_bp)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def growth_rows(label: str, folder: Path, names: tuple[str, str], windows: list[Window], sizes: list[int]) -> list[str]:
    """One row per number of people, and the exponent fitted over all of them."""
    genotypes, reference = (folder / name for name in names)
    with open_genotypes(genotypes) as file:
        samples = file.samples
    # Evenly spread people: the first ones of a file may come from one place.
    chosen = [samples[:: len(samples) // n][:n] for n in sizes]
    built = (build_chunks(genotypes, reference, windows, people, chunk_bp=3000, progress=False) for people in chosen)
    found = [predict(chunks, 3000) for chunks in built]
    exponent = np.polyfit(np.log(sizes), np.log([each["chunks_unique"] for each in found]), 1)[0]
    rows = [
        f"| {label}, {n} people | {each['chunks_naive']:,} | {each['chunks_unique']:,} | {each['saving']:.0f}x "
        f"| {each['rule_of_thumb']['chunks_unique']:,} |"
        for n, each in zip(sizes, found, strict=True)
    ]
    return [*rows, f"| {label}, growth: people to the power of | 1 | {exponent:.2f} | | |"]


def main(people: int = 500, windows: int = 50) -> list[str]:
    """Run everything; returns the rows of the markdown tables."""
    rows = ["| VCF to chunk index | seconds | peak RSS, MB | chunks naive | chunks unique |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        write_cohort(Path(name), people, windows, seed=1)
        for chunk_bp in (1500, 3000):
            found = measure(Path(name), chunk_bp)
            rows.append(
                f"| {people} people x {windows} windows x 20 kb, {chunk_bp / 1000:g} kb chunks "
                f"| {found['seconds']:.1f} | {found['peak_rss_mb']:.0f} | {found['naive']:,} | {found['unique']:,} |"
            )
    rows += ["", "| chunks of 3 kb, windows of 20 kb | naive | unique | saving | predicted from sites |"]
    rows.append("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        write_cohort(Path(name), 1000, 10, seed=2)
        files = ("cohort.vcf.gz", "reference.fa")
        rows += growth_rows("simulated", Path(name), files, read_windows(Path(name) / "windows.bed"), [100, 300, 1000])
    if (REAL / "genotypes.vcf.gz").is_file():
        places = [Window("chr20_1Mb_4Mb", at, at + WINDOW_BP, f"w{at}") for at in range(0, 3_000_000, 150_000)]
        rows += growth_rows("1000 Genomes", REAL, ("genotypes.vcf.gz", "reference.fa.gz"), places, [50, 100, 300])
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--windows", type=int, default=50)
    arguments = parser.parse_args()
    print("\n".join(main(arguments.people, arguments.windows)))
