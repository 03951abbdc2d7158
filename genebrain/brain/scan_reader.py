"""One scan from its file to the array that the store keeps: read, parcellate, clean, judge, scale.

Contract: :func:`process` never raises for a bad scan; it returns a record that says ``stored``, ``short`` or
``failed`` with the reason, so that one damaged file does not end an ingest of ten thousand. Reasons hold no
file names (they contain ids).

What it does NOT know: the other scans, the participants, the layout of the store beyond one file.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.cleaning import Cleaning, clean
from genebrain.brain.image_stream import open_image
from genebrain.brain.parcel_series import read_parcel_table, usable_part
from genebrain.brain.parcellation import Atlas, Strategy
from genebrain.brain.scans import IMAGE_SUFFIXES, repetition_time
from genebrain.types import BoolArray, UserError

Record = dict[str, Any]
"""JSON-ready facts about one scan; ``status`` is ``stored``, ``short`` or ``failed``."""


@dataclass(frozen=True)
class ReadingOptions:
    """How every scan of a store is read; part of the store's provenance."""

    atlas: Path | None = None
    strategy: Strategy = "mean"
    largest_loss: float = 0.05
    use_masks: bool = False
    cleaning: Cleaning = field(default_factory=Cleaning)
    min_frames: int = 30
    min_seconds: float = 0.0
    keep_short: bool = False


@dataclass(frozen=True)
class ScanJob:
    """One row of the scan table, with the key it gets and the file it goes to."""

    key: str
    path: Path
    target: Path
    tr: float = math.nan
    mask: Path | None = None
    confounds: Path | None = None


def process(job: ScanJob, options: ReadingOptions) -> Record:
    """Read one scan and write it to ``job.target``."""
    try:
        record = _process(job, options)
    except (UserError, ValueError, OSError) as error:
        # Names of files and folders carry ids; reasons end up in reports.
        reason = re.sub(r"\S*/\S*|\S*sub-\S*", "<file>", str(error)).replace(job.path.name, "<file>")
        record = {"key": job.key, "status": "failed", "reason": reason}
    return record | {"source": source_stamp(job)}


def source_stamp(job: ScanJob) -> list[Any]:
    """Stated time step, size and time of the files of a scan: when one changes, the scan is read again."""
    facts: list[Any] = [None if math.isnan(job.tr) else job.tr]
    for path in (job.path, job.mask, job.confounds):
        if path is not None and path.is_file():
            facts += [path.stat().st_size, path.stat().st_mtime_ns]
        else:
            facts += [None, None]
    return facts


def _process(job: ScanJob, options: ReadingOptions) -> Record:
    series, tr, lost, missing_voxels = _read(job, options)
    recorded = len(series)
    if recorded < options.min_frames and not options.keep_short:
        return _short(job.key, recorded, tr, f"fewer than {options.min_frames} frames")
    part = usable_part(series)
    cleaned, kept = part.series, part.frame_numbers
    if options.cleaning.active:
        if len(kept) < recorded:
            raise UserError(f"{recorded - len(kept)} frames have no values: cleaning cannot bridge them")
        is_image = job.path.name.endswith(IMAGE_SUFFIXES)
        cleaned, kept = clean(
            part.series[:, part.valid],
            options.cleaning,
            tr=tr,
            scan=job.path if is_image else None,
            confounds=job.confounds,
        )
        whole = np.zeros((len(kept), part.series.shape[1]))
        whole[:, part.valid] = cleaned
        cleaned = whole
    if options.min_seconds > 0 and math.isnan(tr):
        raise UserError("the time step is unknown, but a shortest duration is asked for: add tr to the table")
    if not options.keep_short:
        # Judged again on what cleaning has left.
        if len(kept) < options.min_frames:
            return _short(job.key, len(kept), tr, f"fewer than {options.min_frames} frames after cleaning")
        if options.min_seconds > 0 and len(kept) * tr < options.min_seconds:
            return _short(job.key, len(kept), tr, f"shorter than {options.min_seconds:g} s")
    values, scale = scaled(cleaned, part.valid)
    checksum = write_array(job.target, values)
    return {
        "key": job.key,
        "status": "stored",
        "n_frames": len(values),
        "n_parcels": values.shape[1],
        "n_valid": int(part.valid.sum()),
        "n_lost": lost,
        "missing_voxels": missing_voxels,
        "tr": None if math.isnan(tr) else tr,
        "scale": scale,
        "recorded": recorded,
        "dropped": sorted(set(range(recorded)) - set(kept.tolist())),
        "invalid": np.flatnonzero(~part.valid).tolist(),
        "sha256": checksum,
    }


def _read(job: ScanJob, options: ReadingOptions) -> tuple[NDArray[Any], float, int, int]:
    """Series [frames, P], time step, number of lost labels, number of voxels without values."""
    if not job.path.name.endswith(IMAGE_SUFFIXES):
        return read_parcel_table(job.path), repetition_time(job.path, stated=job.tr), 0, 0
    if options.atlas is None:
        raise UserError("an image needs an atlas: name a label image, or list tables of parcel series")
    scan = open_image(job.path)
    tr = repetition_time(job.path, scan.header, job.tr)
    if scan.n_frames < options.min_frames and not options.keep_short:
        return np.empty((scan.n_frames, 0)), tr, 0, 0  # too short to be worth reading
    mask = job.mask if options.use_masks else None
    result = _atlas(options.atlas).extract(scan, options.strategy, mask, options.largest_loss)
    return result.series, tr, int(result.lost.sum()), int(result.missing_voxels.sum())


def long_enough(record: Record, options: ReadingOptions) -> bool:
    """Whether a stored scan meets the limits on length (which may differ from those it was stored under)."""
    if options.keep_short:
        return True
    duration = 0.0 if record["tr"] is None else record["n_frames"] * record["tr"]
    return record["n_frames"] >= options.min_frames and bool(duration >= options.min_seconds)


def _short(key: str, n_frames: int, tr: float, why: str) -> Record:
    return {
        "key": key,
        "status": "short",
        "reason": why,
        "n_frames": n_frames,
        "tr": None if math.isnan(tr) else tr,
    }


@lru_cache(maxsize=2)
def _atlas(path: Path) -> Atlas:
    """One atlas per process: its grids are cached inside."""
    return Atlas.load(path)


def scaled(series: NDArray[Any], valid: BoolArray) -> tuple[NDArray[np.float16], float]:
    """Demeaned per parcel and divided by ONE rms over all valid parcels: float16 [frames, P] and the rms.

    Raw signals do not fit into float16 (70000 is infinite, 10000 is rounded to steps of 8); after this
    scaling the rounding is 5e-4 of a value at most, and the relative variances of the parcels are kept.
    """
    centred = np.asarray(series, np.float64) - np.mean(series, axis=0, dtype=np.float64)
    centred[:, ~valid] = 0.0
    scale = float(np.sqrt(np.mean(np.square(centred[:, valid]))))
    if not np.isfinite(scale) or scale == 0:
        raise UserError("the scan has no variance in its valid parcels")
    return (centred / scale).astype(np.float16), scale


def write_array(target: Path, values: NDArray[Any]) -> str:
    """Write ``.npy`` under a temporary name, readable by the owner only, then rename; returns the sha256."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    content = buffer.getvalue()
    write_private(target, content)
    return hashlib.sha256(content).hexdigest()


def write_private(target: Path, content: bytes) -> None:
    """Write a file that only the owner may read; it appears under its name only when it is complete."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.replace(temporary, target)
