"""A thousand small scans into a store: scaling over processes, and random windows against the bare memory map.

``python -m benchmarks.ingest [--scans 1000]`` writes small 4D images once, then ingests them with one process and with
as many as there are cores, turn by turn, as parcels; the best of each counts, because other work on the machine only
ever adds time. Processor seconds are those of all processes: what workers cost beside the work itself. Windows
are then read in random order through the store and from memory maps that are open already, turn by turn.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from genebrain.brain.store.journal import array_path
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.read_volumes import VolumeOptions
from genebrain.brain.store.scan_table import read_scan_table
from genebrain.brain.store.store import ScanStore, fill_store

SHAPE, FRAMES, LABELS = (32, 38, 32), 120, 100
ROUNDS = 2


def make_scans(folder: Path, n: int) -> tuple[pd.DataFrame, Path]:
    """``n`` images [32, 38, 32, 120] (int16, gzip; sixteen different ones, linked) and a label image."""
    rng = np.random.default_rng(0)
    nib.openers.Opener.default_compresslevel = 1
    affine = np.diag([5.0, 5, 5, 1])
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    inside = (grid**2).sum(axis=0) < 0.8
    labels = np.zeros(SHAPE, np.int16)
    labels[inside] = 1 + np.arange(inside.sum()) * LABELS // inside.sum()
    nib.save(nib.Nifti1Image(labels, affine), folder / "atlas.nii.gz")
    lines = ["participant_id\tpath\ttr"]
    for i in range(n):
        path = folder / f"{i:05d}.nii.gz"
        if i < 16:
            data = np.zeros((*SHAPE, FRAMES), np.int16)
            data[inside] = rng.integers(900, 1100, size=(inside.sum(), FRAMES))
            nib.save(nib.Nifti1Image(data, affine), path)
        else:
            path.hardlink_to(folder / f"{i % 16:05d}.nii.gz")
        lines.append(f"{i}\t{path.name}\t0.735")
    (folder / "scans.tsv").write_text("\n".join(lines))
    return read_scan_table(folder / "scans.tsv"), folder / "atlas.nii.gz"


CHILD = """
import json, pathlib, resource, sys, time
from joblib.externals.loky import get_reusable_executor
from pathlib import Path
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.store import fill_store
from genebrain.brain.store.scan_table import read_scan_table
table, atlas, out, jobs = sys.argv[1:]
table = read_scan_table(table)
before = resource.getrusage(resource.RUSAGE_SELF)
start = time.perf_counter()
report = fill_store(table, out, ReadingOptions(atlas=Path(atlas)), jobs=int(jobs), progress=False)
assert report.n_stored == len(table)
if int(jobs) > 1:
    get_reusable_executor().shutdown(wait=True)
wall = time.perf_counter() - start
own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
busy = own.ru_utime + own.ru_stime - before.ru_utime - before.ru_stime + children.ru_utime + children.ru_stime
print(json.dumps([wall, busy]))
"""


def ingest(table: Path, atlas: Path, out: Path, jobs: int) -> tuple[float, float]:
    """Wall and processor seconds, start and end of the workers included, in a process of its own."""
    command = [sys.executable, "-c", CHILD, str(table), str(atlas), str(out), str(jobs)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    wall, processor = json.loads(answer.stdout.splitlines()[-1])
    return wall, processor


def per_second(read: Callable[[str, int, int], object], windows: list[tuple[str, int, int]]) -> float:
    """Windows read per second."""
    start = time.perf_counter()
    for window in windows:
        read(*window)
    return len(windows) / (time.perf_counter() - start)


def reading(store: ScanStore, length: int, n: int) -> tuple[float, float]:
    """Windows per second: through the store, and from open memory maps; the best of each of several turns."""
    maps = {key: np.load(array_path(store.folder, key), mmap_mode="r") for key in store.index.index}
    rng = np.random.default_rng(1)
    keys = rng.choice(store.index.index, n)
    first = rng.integers(0, store.index.n_frames.min() - length + 1, n)
    windows = [(str(key), int(t), int(t) + length) for key, t in zip(keys, first, strict=True)]
    ways = {"store": store.read, "map": lambda key, t0, t1: maps[key][t0:t1].astype(np.float32)}
    best = dict.fromkeys(ways, 0.0)
    for _ in range(5):
        for name, read in ways.items():
            best[name] = max(best[name], per_second(read, windows))
    return best["store"], best["map"]


def main(n_scans: int = 1000) -> list[str]:
    """Rows of both tables."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, atlas = make_scans(folder, n_scans)
        best = dict.fromkeys((1, cores), (np.inf, np.inf))
        for turn in range(ROUNDS):
            for jobs in best:
                got = ingest(folder / "scans.tsv", atlas, folder / f"store-{turn}-{jobs}", jobs)
                best[jobs] = (min(best[jobs][0], got[0]), min(best[jobs][1], got[1]))
        rows = [
            f"| {n_scans} scans {' x '.join(map(str, SHAPE))} x {FRAMES} | seconds | processor seconds | scans/s "
            "| speed-up | of the cores |",
            "|---|---|---|---|---|---|",
        ]
        for jobs, (wall, processor) in best.items():
            gain = best[1][0] / wall
            rows.append(
                f"| {jobs} process{'es' if jobs > 1 else ''} | {wall:.1f} | {processor:.1f} | {n_scans / wall:.0f} "
                f"| {gain:.2f} | {gain / jobs:.2f} |"
            )
        load = os.getloadavg()[2]
        rows += [
            "",
            f"Load of the machine in the last 15 minutes: {load:.1f} on {cores} cores (idle otherwise: {cores}).",
        ]
        rows += ["", "| random windows | store, per s | open memory map, per s | ratio |", "|---|---|---|---|"]
        parcels = ScanStore(folder / "store-0-1")
        options = VolumeOptions(box=(32, 40, 32))
        fill_store(table[:128], folder / "volumes", options, jobs=1, progress=False)
        wide = folder / "wide.tsv"
        lines = ["participant_id\tpath\ttr"]
        for i in range(32):
            np.save(folder / f"wide{i}.npy", np.random.default_rng(i).normal(size=(490, 424)).astype(np.float32))
            lines.append(f"{i}\twide{i}.npy\t0.735")
        wide.write_text("\n".join(lines))
        fill_store(read_scan_table(wide), folder / "wide", ReadingOptions(), progress=False)
        for words, store, length, n in (
            (f"parcels, 50 x {LABELS}", parcels, 50, 4000),
            ("parcels, 200 x 424", ScanStore(folder / "wide"), 200, 2000),
            ("volumes, 20 x 32 x 40 x 32", ScanStore(folder / "volumes"), 20, 400),
        ):
            ours, bare = reading(store, length, n)
            rows.append(f"| {words} | {ours:.0f} | {bare:.0f} | {ours / bare:.2f} |")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=1000)
    print("\n".join(main(parser.parse_args().scans)))
