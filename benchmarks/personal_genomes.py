"""Personal haplotypes side by side with GenVarLoader: time, memory, and whether every letter is the same.

Run: ``python -m benchmarks.personal_genomes --python ENV/bin/python``, where ``ENV`` is an environment of its own with
``genvarloader`` (its dependencies are not ours). 500 simulated people x 50 windows of 20 kb, SNPs and indels; a fresh
process of one thread for each side, which first does a small cohort, so that imports and compilation count for memory
and not for time. GenVarLoader writes its dataset and reads the letters of everybody, window by window, as a training
would in every epoch; genebrain cuts unique chunks and indexes people into them, and puts the same letters together.
Haplotypes are compared by digest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.genotypes import write_cohort

MEMORY = "int(pathlib.Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]) / 1024"
OURS = f"""
import hashlib, json, pathlib, sys, time
from genebrain.genetics.chunks.build import build_chunks
from genebrain.genetics.genome.gene_windows import read_windows
from genebrain.genetics.haplotypes.resolve import open_genotypes

def measured(folder):
    with open_genotypes(folder / "cohort.vcf.gz") as file:
        people = file.samples
    windows, start = read_windows(folder / "windows.bed"), time.process_time()
    built = build_chunks(folder / "cohort.vcf.gz", folder / "reference.fa", windows, people, progress=False)
    write, read, digests = time.process_time() - start, 0.0, {{}}
    for window, one in enumerate(windows):
        start = time.process_time()
        letters = [[b"".join(built.sequences[row] for row in side if row >= 0) for side in rows]
                   for rows in built.index[:, :, window]]
        read += time.process_time() - start
        digests[one.name] = {{who: [hashlib.blake2b(side).hexdigest() for side in sides]
                             for who, sides in zip(people, letters)}}
    return {{"write": write, "read": read, "digests": digests}}

measured(pathlib.Path(sys.argv[2]))
print(json.dumps(measured(pathlib.Path(sys.argv[1])) | {{"memory": {MEMORY}}}))
"""
THEIRS = f"""
import hashlib, json, pathlib, sys, time
import genvarloader

def measured(folder):
    start = time.process_time()
    places = folder / "set", folder / "windows.bed"
    genvarloader.write(*places, variants=folder / "cohort.vcf.gz", extend_to_length=False)
    write, start = time.process_time() - start, time.process_time()
    opened = genvarloader.Dataset.open(folder / "set", reference=folder / "reference.fa")
    opened = opened.with_seqs("haplotypes").with_len("ragged")
    names = [line.split()[3] for line in (folder / "windows.bed").read_text().splitlines()]
    read, digests = time.process_time() - start, {{}}
    for window, name in enumerate(names):
        start = time.process_time()
        letters = opened[window, :]
        read += time.process_time() - start
        data, ends = letters.data, letters.offsets
        found = [hashlib.blake2b(data[a:b].tobytes()).hexdigest() for a, b in zip(ends[:-1], ends[1:])]
        digests[name] = {{who: found[2 * i:2 * i + 2] for i, who in enumerate(opened.samples)}}
    return {{"write": write, "read": read, "digests": digests}}

measured(pathlib.Path(sys.argv[2]))
print(json.dumps(measured(pathlib.Path(sys.argv[1])) | {{"memory": {MEMORY}, "version": genvarloader.__version__}}))
"""


def side(python: str, program: str, folder: Path) -> dict[str, Any]:
    """Seconds of writing and reading, peak memory (MB) and a digest of every haplotype."""
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    command = [python, "-W", "ignore", "-c", program, str(folder / "whole"), str(folder / "small")]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="python of an environment with genvarloader")
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--windows", type=int, default=50)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size, people, windows in (("whole", asked.people, asked.windows), ("small", 20, 2)):
            (folder / size).mkdir()
            write_cohort(folder / size, people, windows, seed=5)
        ours, theirs = side(sys.executable, OURS, folder), side(asked.python, THEIRS, folder)
    print(
        f"| {asked.people} people x {asked.windows} windows x 20 kb | once, processor s | each reading, s | peak MB |"
    )
    print("|---|---|---|---|")
    for label, one in ((f"GenVarLoader {theirs['version']}", theirs), ("genebrain, index of unique chunks", ours)):
        print(f"| {label} | {one['write']:.1f} | {one['read']:.2f} | {one['memory']:.0f} |")
    same = total = 0
    for window, people in ours["digests"].items():
        for who, sides in people.items():
            total += len(sides)
            same += sum(a == b for a, b in zip(sides, theirs["digests"][window][who], strict=True))
    print(f"\n{same:,} of {total:,} haplotypes of windows have the same letters.")


if __name__ == "__main__":
    main()
