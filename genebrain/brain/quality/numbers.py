"""Numbers about the scans of a store that a person looks at before believing anything that is made of them.

Reads the index of a store and, of a bounded sample of scans, some frames; returns counts, distributions and pictures
without a single id. Scans are named by what they are ("least motion"), never by whose they are.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.brain.images.atlas import Atlas
from genebrain.brain.images.cifti_files import is_labels
from genebrain.brain.images.motion import framewise_displacement
from genebrain.brain.store.journal import INDEX, matched_keys, read_records
from genebrain.brain.store.store import ScanStore
from genebrain.common.types import FloatArray, UserError

MOST_SCANS = 200
"""Scans whose values are read for pictures, spread evenly over the store."""
FRAMES_PER_SCAN = 8
CARPET_ROWS = 400


@dataclass(frozen=True)
class Carpet:
    """One scan as a picture: a row per parcel or voxel, each z-scored over time.

    Attributes
    ----------
    name
        Which scan of the cohort this is, in words.
    values
        float [rows, frames]; NaN where frames were dropped.
    seconds
        Length of the recording; NaN when the time step is unknown.
    displacement
        mm [frames], or None.
    """

    name: str
    values: FloatArray
    seconds: float
    displacement: FloatArray | None


@dataclass(frozen=True)
class ScanQuality:
    """What a store holds and what became of the rest.

    Attributes
    ----------
    kind, shape, settings
        As in :class:`~genebrain.brain.store.store.ScanStore`.
    scans
        DataFrame, one anonymous row per stored scan: the columns of the store's index.
    n_people
        People among the listed scans, None when no scan table was given.
    failed, short, notes
        Reason -> number of scans.
    coverage
        Share of scans in which a parcel [P] or voxel [X, Y, Z] is usable.
    level
        Parcels: mean over scans of the standard deviation of each parcel, relative to the scan's own rms. Volumes: mean
        image in stored units.
    labels
        int [x, y, z] in RAS: column of each voxel of the atlas plus 1; None without atlas.
    n_pictured
        Scans behind ``coverage`` and ``level``.
    """

    kind: str
    shape: tuple[int, ...]
    settings: dict[str, Any]
    scans: pd.DataFrame
    n_people: int | None
    failed: dict[str, int]
    short: dict[str, int]
    notes: dict[str, int]
    coverage: FloatArray
    level: FloatArray
    n_pictured: int
    carpets: list[Carpet]
    labels: NDArray[np.int64] | None = None

    @property
    def n_listed(self) -> int:
        """Stored, failed and short scans together."""
        return len(self.scans) + sum(self.failed.values()) + sum(self.short.values())


def scan_quality(
    folder: Path | str, table: pd.DataFrame | None = None, atlas: Path | str | None = None, n_carpets: int = 3
) -> ScanQuality:
    """Look through a store.

    Parameters
    ----------
    folder
        Of the store.
    table
        The scan table it was filled from: adds the number of people and the motion of every frame to the carpets, and
        leaves out scans that the table no longer lists.
    atlas
        The label image of a store of parcels: adds pictures of where parcels are missing.
    n_carpets
        Scans that are shown as carpets, spread from least to most motion (or, without motion, over the store).

    Raises
    ------
    UserError
        No finished store, or another atlas than the store's.
    """
    store = ScanStore(folder)
    records = {record["key"]: record for record in read_records(store.folder / INDEX)}
    confounds: dict[str, Path | None] = {}
    if table is not None:
        keys = matched_keys(store.folder, table, records)
        records = {key: records[key] for key in keys if key in records}
        confounds = dict(zip(keys, table.confounds, strict=True)) if "confounds" in table.columns else {}
    stored = [key for key in store.index.index if key in records]
    if not stored:
        raise UserError(f"none of the scans of the table is in the store {store.folder}")
    sample = [stored[i] for i in np.unique(np.linspace(0, len(stored) - 1, MOST_SCANS).round().astype(int))]
    coverage, level = _pictures(store, sample)
    index = store.index.loc[stored]
    return ScanQuality(
        kind=store.kind,
        shape=store.shape,
        settings=store.settings,
        scans=index.reset_index(drop=True),
        n_people=None if table is None else int(table.participant_id.nunique()),
        failed=_reasons(records, "failed"),
        short=_reasons(records, "short"),
        notes=dict(Counter(note for key in stored for note in records[key].get("notes", ())).most_common()),
        coverage=coverage,
        level=level,
        n_pictured=len(sample),
        carpets=[
            _carpet(store, key, name, records[key], confounds.get(key)) for key, name in _chosen(index, n_carpets)
        ],
        labels=_labels(store, atlas),
    )


def _reasons(records: dict[str, dict[str, Any]], status: str) -> dict[str, int]:
    """Reason -> scans; reasons that differ in numbers only are counted under the first of them."""
    first: dict[str, str] = {}
    reasons = [record["reason"] for record in records.values() if record["status"] == status]
    return dict(Counter(first.setdefault(re.sub(r"\d+", "#", reason), reason) for reason in reasons).most_common())


def _pictures(store: ScanStore, keys: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Coverage and level over some scans; of volumes, a few frames of each are read."""
    coverage, level = np.zeros(store.shape), np.zeros(store.shape)
    for key in keys:
        if store.kind == "parcels":
            coverage += store.valid(key)
            level += store.read(key).std(axis=0)
            continue
        n = int(store.index.n_frames[key])
        frames = np.unique(np.linspace(0, n - 1, FRAMES_PER_SCAN).round().astype(int))
        values = np.concatenate([store.read(key, t, t + 1) for t in frames])
        # The file is float16: its background is the rounded value.
        inside = (values != np.float32(np.float16(store.index.background[key]))).any(axis=0)
        coverage += inside
        level += np.where(inside, values.mean(axis=0), 0.0)
    return coverage / len(keys), level / np.maximum(coverage, 1)


def _chosen(index: pd.DataFrame, n: int) -> list[tuple[str, str]]:
    """Keys of scans from least to most motion, with a name for each."""
    known = index.mean_fd.notna().any()
    ordered = list(index[index.mean_fd.notna()].sort_values("mean_fd").index) if known else list(index.index)
    places = np.unique(np.linspace(0, len(ordered) - 1, min(n, len(ordered))).round().astype(int))
    names: list[str] = []
    for place in places:
        share = place / max(len(ordered) - 1, 1)
        word = "least motion" if share == 0 else "most motion" if share == 1 else f"motion at {share:.0%} of the cohort"
        names.append(word if known else f"example {len(names) + 1}")
    return [(ordered[place], name) for place, name in zip(places, names, strict=True)]


def _carpet(store: ScanStore, key: str, name: str, record: dict[str, Any], confounds: Path | None) -> Carpet:
    values = store.read(key).reshape(int(store.index.n_frames[key]), -1)
    spread = values.std(axis=0)
    rows = np.flatnonzero(spread > 0)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, CARPET_ROWS).round().astype(int))]
    z = (values[:, rows] - values[:, rows].mean(axis=0)) / spread[rows]
    whole = np.full((len(rows), record["recorded"]), np.nan)
    whole[:, store.frame_numbers(key)] = z.T
    displacement = framewise_displacement(confounds)
    if displacement is not None and len(displacement) != record["recorded"]:
        displacement = None
    seconds = np.nan if record["tr"] is None else record["recorded"] * record["tr"]
    return Carpet(name, whole, float(seconds), displacement)


def _labels(store: ScanStore, atlas: Path | str | None) -> NDArray[np.int64] | None:
    """Columns of the atlas in RAS, if it is the store's."""
    if atlas is None or store.kind != "parcels" or is_labels(atlas):
        return None  # vertices of a surface make no slices
    own = (store.settings.get("atlas") or {}).get("sha256")
    if own is None:
        return None  # tables of parcel series: nobody says which atlas they were made with
    if own != hashlib.sha256(Path(atlas).read_bytes()).hexdigest():
        raise UserError(f"{Path(atlas).name} is not the atlas that the store was filled with; give that one, or none")
    loaded = Atlas.load(atlas)
    return loaded.columns_in_ras()
