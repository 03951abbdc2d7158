"""Streamed parcellation against nilearn, side by side: time and peak memory on a scan of realistic size.

``python -m benchmarks.parcellation [--frames 200]`` makes one scan of 91 x 109 x 91 voxels (int16, gzip) and
a 424-label atlas stored as float32 (as the A424 atlas is), runs every method in its own process on the same
files, and prints a row of markdown per method. Imports count for memory, not for time. Linux only: the peak is
``VmHWM``, because ``ru_maxrss`` of a child process starts at the size of its parent.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.spatial import cKDTree

SHAPE = (91, 109, 91)
LABELS = 424

METHODS = {
    "genebrain, streamed": """
        from genebrain.brain.images.nifti import open_image
        from genebrain.brain.images.atlas import Atlas
        start = time.perf_counter()
        series = Atlas.load(atlas).extract(open_image(scan)).series
    """,
    "genebrain, streamed, median": """
        from genebrain.brain.images.nifti import open_image
        from genebrain.brain.images.atlas import Atlas
        start = time.perf_counter()
        series = Atlas.load(atlas).extract(open_image(scan), strategy="median").series
    """,
    "nilearn, labels as stored (float32)": """
        from nilearn.maskers import NiftiLabelsMasker
        start = time.perf_counter()
        series = NiftiLabelsMasker(atlas, standardize=None).fit_transform(scan)
    """,
    "nilearn, labels cast to int32": """
        import nibabel as nib
        from nilearn.maskers import NiftiLabelsMasker
        start = time.perf_counter()
        image = nib.load(atlas)
        labels = nib.Nifti1Image(np.asarray(image.dataobj).astype(np.int32), image.affine)
        series = NiftiLabelsMasker(labels, standardize=None).fit_transform(scan)
    """,
    "decompression alone": """
        import gzip
        start = time.perf_counter()
        with gzip.open(scan) as stream:
            while stream.read(2**21):
                pass
        series = None
    """,
}


def make_files(folder: Path, frames: int) -> tuple[Path, Path]:
    """Write a scan [91, 109, 91, frames] and an atlas of 424 blobs."""
    rng = np.random.default_rng(0)
    nib.openers.Opener.default_compresslevel = 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-90, -126, -72]
    voxels = np.argwhere(np.ones(SHAPE, bool))
    distance, nearest = cKDTree(rng.uniform(10, 80, size=(LABELS, 3)) * [1, 1.2, 1]).query(voxels)
    labels = np.where(distance < 5, nearest + 1, 0).reshape(SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(labels, affine), folder / "atlas.nii.gz")
    centred = (voxels - np.array(SHAPE) / 2) / (np.array(SHAPE) / 2)
    brain = (np.linalg.norm(centred, axis=1) < 0.9).reshape(SHAPE)
    base = rng.integers(500, 1500, SHAPE)
    data = np.zeros((*SHAPE, frames), np.int16)
    for t in range(frames):
        data[..., t] = np.where(brain, base + rng.integers(-30, 30, SHAPE), 0)
    nib.save(nib.Nifti1Image(data, affine), folder / "scan.nii.gz")
    return folder / "scan.nii.gz", folder / "atlas.nii.gz"


def measure(method: str, scan: Path, atlas: Path, out: Path) -> dict[str, float]:
    """Seconds and peak RSS (MB) of one method in a fresh process of one thread."""
    head = "import json, pathlib, sys, time\nimport numpy as np\nscan, atlas, out = sys.argv[1:]\n"
    tail = (
        "\nseconds = time.perf_counter() - start\n"
        "if series is not None: np.save(out, series)\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "peak = int(status.partition('VmHWM:')[2].split()[0]) / 1024\n"
        "print(json.dumps({'seconds': seconds, 'peak_rss_mb': peak}))\n"
    )
    program = head + textwrap.dedent(METHODS[method]) + tail
    command = [sys.executable, "-W", "ignore", "-c", program, str(scan), str(atlas), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def main(frames: int = 200) -> list[str]:
    """Run all methods; returns the rows of the markdown table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan, atlas = make_files(folder, frames)
        size = scan.stat().st_size / 1e6
        rows = [
            f"| {' x '.join(map(str, SHAPE))} x {frames}, int16, {size:.0f} MB gz | seconds | peak RSS, MB "
            "| largest difference to nilearn |",
            "|---|---|---|---|",
        ]
        results = {method: measure(method, scan, atlas, folder / f"{i}.npy") for i, method in enumerate(METHODS)}
        series = {
            method: np.load(folder / f"{i}.npy") for i, method in enumerate(METHODS) if (folder / f"{i}.npy").exists()
        }
        reference = series["nilearn, labels as stored (float32)"]
        for method, result in results.items():
            comparable = method in series and "median" not in method
            difference = f"{np.abs(series[method] - reference).max():.1e}" if comparable else ""
            rows.append(f"| {method} | {result['seconds']:.2f} | {result['peak_rss_mb']:.0f} | {difference} |")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    print("\n".join(main(parser.parse_args().frames)))
