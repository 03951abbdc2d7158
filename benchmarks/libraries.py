"""Side by side with the libraries that others use: nilearn's tangent space, open_clip's loss.

Run: ``python -m benchmarks.libraries [--people 500]``. Each side runs in a process of its own: processor seconds,
memory above the inputs, and how far the results are apart. Nilearn's tangent space takes the geometric mean and
Ledoit-Wolf shrinkage, ours the arithmetic mean and a fixed one, so their numbers are other ones by definition: the
distances between people are compared. The parcellation has a benchmark of its own (``parcellation``), the packed
encoder too (``embedding``).
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import pdist
from threadpoolctl import threadpool_limits

from benchmarks.infonce import high_water_mark, inputs
from genebrain.alignment.losses.infonce import InfoNCE
from genebrain.brain.connectome.moments import scan_moments, stack_moments
from genebrain.brain.connectome.tangent import Lag0Tangent

PARCELS, FRAMES = 424, 200
BATCHES = (1024, 8192)


def series(people: int) -> list[np.ndarray[Any, Any]]:
    """Scans ``[frames, parcels]`` of which each person has some own components."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(40, PARCELS))
    own = (rng.normal(size=(people, 40)) * 0.3 + 1)[:, :, None] * shared
    return [rng.normal(size=(FRAMES, 40)) @ one + rng.normal(size=(FRAMES, PARCELS)) for one in own]


def tangent_of_nilearn(scans: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """ConnectivityMeasure as its documentation has it."""
    from nilearn.connectome import ConnectivityMeasure

    return np.asarray(ConnectivityMeasure(kind="tangent", vectorize=True).fit_transform(scans))


def tangent_of_ours(scans: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Lag-0 tangent space of all components."""
    moments = stack_moments((scan_moments(one) for one in scans), len(scans))
    return np.asarray(Lag0Tangent(None).fit(*moments).transform(*moments))


def clip_loss(x: Any, y: Any, log_scale: Any, *_: Any) -> Any:
    """open_clip's loss on one device; its file alone, as its package wants torchvision."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    spec = importlib.util.spec_from_file_location("open_clip_loss", Path(package.origin).parent / "loss.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ClipLoss()(x, y, log_scale.exp())


LOSSES: dict[str, Callable[..., Any]] = {"open_clip": clip_loss, "genebrain": InfoNCE()}
TANGENTS = {"nilearn": tangent_of_nilearn, "genebrain": tangent_of_ours}


def child(what: str, side: str, size: int, out: Path) -> None:
    """Run one side; prints processor seconds and MiB, and leaves its numbers."""
    if what == "tangent":
        scans = series(size)
        TANGENTS[side](scans[:3])  # imports
        before, started = high_water_mark(), time.process_time()
        found = pdist(TANGENTS[side](scans))
    else:
        LOSSES[side](*inputs(8)).backward()
        batch = inputs(size)
        before, started = high_water_mark(), time.process_time()
        loss = LOSSES[side](*batch)
        loss.backward()
        gradient = batch[0].grad
        assert gradient is not None
        found = torch.cat([loss.detach().reshape(1), gradient.ravel()]).numpy()
    print(time.process_time() - started, high_water_mark() - before)
    np.save(out, found)


def compared(what: str, sides: list[str], size: int) -> tuple[list[str], list[np.ndarray[Any, Any]]]:
    """Cells of both sides, and their numbers."""
    cells, found = [], []
    with TemporaryDirectory() as folder:
        for side in sides:
            out = Path(folder) / f"{side}.npy"
            command = [sys.executable, "-m", "benchmarks.libraries", "--child", what, side, str(size), str(out)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, memory = map(float, run.stdout.split()[-2:])
            cells += [f"{seconds:.2f}", f"{memory:.0f}"]
            found.append(np.load(out))
    return cells, found


def rows(people: int) -> Iterator[str]:
    """Lines of the table."""
    yield "| side by side | library: processor s | MiB | genebrain: processor s | MiB | apart |"
    yield "|---|---|---|---|---|---|"
    cells, (theirs, ours) = compared("tangent", list(TANGENTS), people)
    apart = f"distances between people correlate {np.corrcoef(theirs, ours)[0, 1]:.3f}"
    yield f"| nilearn tangent, {people} people x {PARCELS} parcels x {FRAMES} frames | {' | '.join(cells)} | {apart} |"
    for n in BATCHES:
        cells, (theirs, ours) = compared("loss", list(LOSSES), n)
        apart = f"loss {abs(theirs[0] - ours[0]):.0e}, gradient {np.abs(theirs[1:] - ours[1:]).max():.0e}"
        yield f"| open_clip loss and gradient, {n:,} x 512 | {' | '.join(cells)} | {apart} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="side by side with other libraries")
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        if arguments.child:
            what, side, size, out = arguments.child
            child(what, side, int(size), Path(out))
            return
        for line in rows(arguments.people):
            print(line, flush=True)


if __name__ == "__main__":
    main()
