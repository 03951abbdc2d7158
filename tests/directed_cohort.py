"""A small cohort whose parcels drive each other: what is read back transposed shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genebrain.simulation.cohort import simulate_cohort


def directed(folder: Path, n: int = 60) -> Path:
    """Path of ``cohort.yaml``; every parcel of every scan is driven by its left neighbour."""
    path = simulate_cohort(
        folder, n_subjects=n, seed=5, n_windows=3, window_bp=4000, n_frames=120, n_parcels=20, n_genomewide=100
    )
    for scan in (folder / "scans").glob("*.npy"):
        series = np.load(scan).astype(np.float32)
        driven = series.copy()
        for t in range(1, len(driven)):
            driven[t] = series[t] + 0.9 * np.roll(driven[t - 1], 1)
        np.save(scan, driven)
    return path
