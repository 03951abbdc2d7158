"""A small cohort with images for the engines, and what two stores must have in common."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from genebrain import tasks
from genebrain.brain.store.store import ScanStore
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.store.store import ChunkStore


def small_cohort(folder: Path, people: int = 40) -> Path:
    return tasks.simulate(folder, tier="smoke", n_subjects=people, seed=3)


def contents(store: Path) -> dict[str, bytes]:
    """Numbers of a store that do not depend on who worked them out, by name."""
    found: dict[str, bytes] = {}
    scans = ScanStore(store / "scans")
    for number, record in enumerate(sorted(json.dumps(_plain(r), sort_keys=True) for r in scans._records.values())):
        found[f"scan {number}"] = record.encode()
    for index in sorted(path for path in (store / "chunk_index").iterdir() if path.is_dir()):
        chunks = ChunkSet.load(index)
        found[f"index {index.name}"] = chunks.index.tobytes()
        found[f"sequences {index.name}"] = b"\n".join(chunks.sequences)
        found[f"report {index.name}"] = json.dumps(chunks.report, sort_keys=True).encode()
        for pooling in ("last", "mean", "max"):
            found[f"{pooling} {index.name}"] = ChunkStore(store / "chunks").table(chunks.keys, pooling).tobytes()
    return found


def _plain(record: dict) -> dict:
    return {name: value for name, value in record.items() if name != "key"}


def write_images(folder: Path, people: int) -> Path:
    """A scan table of small 4D images and an atlas of eight regions."""
    import nibabel as nib

    folder.mkdir(parents=True, exist_ok=True)
    atlas = np.zeros((6, 6, 6), np.int16)
    atlas[1:5, 1:5, 1:5] = np.arange(64).reshape(4, 4, 4) % 8 + 1
    nib.Nifti1Image(atlas, np.eye(4) * [2, 2, 2, 1]).to_filename(folder / "atlas.nii.gz")
    lines = ["participant_id\tpath\ttr"]
    for person in range(people):
        values = np.random.default_rng(person).normal(1000, 20, (6, 6, 6, 60)).astype(np.float32)
        nib.Nifti1Image(values, np.eye(4) * [2, 2, 2, 1]).to_filename(folder / f"s{person}.nii.gz")
        lines.append(f"p{person}\ts{person}.nii.gz\t0.8")
    (folder / "scans.tsv").write_text("\n".join(lines) + "\n")
    return folder / "scans.tsv"
