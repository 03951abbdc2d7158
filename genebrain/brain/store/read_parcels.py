"""One scan as parcel series, from its file to the array that the store keeps: read, parcellate, clean, judge, scale.

Float16 ``[frames, parcels]`` and a record; raises for a bad scan (the caller makes a record of it).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.brain.images.atlas import Atlas, Strategy
from genebrain.brain.images.cifti_files import is_labels, is_parcel_series, is_series, open_series, read_parcels
from genebrain.brain.images.cleaning import ORDER, Cleaning, clean, refuse_filter
from genebrain.brain.images.dense_atlas import DenseAtlas
from genebrain.brain.images.motion import still_frames
from genebrain.brain.images.nifti import open_image
from genebrain.brain.parcels.series import read_parcel_table, usable_part
from genebrain.brain.store.job import Record, ScanJob, ScanOptions, short_record
from genebrain.brain.store.parcel_names import keep_names
from genebrain.brain.store.scan_table import IMAGE_SUFFIXES, known_steps, repetition_time
from genebrain.common.files import ArrayWriter
from genebrain.common.types import BoolArray, UserError


@dataclass(frozen=True)
class ReadingOptions(ScanOptions):
    """Parcel series: the label image and what is done with the series.

    Attributes
    ----------
    atlas
        Label image; needed for images.
    strategy, largest_loss, use_masks
        See :class:`~genebrain.brain.images.atlas.Atlas`.
    cleaning
        What is removed from the series.
    """

    atlas: Path | None = None
    strategy: Strategy = "mean"
    largest_loss: float = 0.05
    use_masks: bool = False
    cleaning: Cleaning = field(default_factory=Cleaning)

    @property
    def slow_tables(self) -> bool:
        """Cleaning takes longer than the start of a process."""
        return self.cleaning.changes_values

    def check(self, table: pd.DataFrame) -> None:
        """The atlas is a label image, and the scans are fast enough for the band-pass."""
        if self.cleaning.filters:
            refuse_filter(self.cleaning, known_steps(table))
        if self.atlas is not None:
            if not self.atlas.is_file():
                raise UserError(f"the atlas {self.atlas} does not exist")
            try:
                _atlas(self.atlas)
            except UserError as error:
                raise UserError(f"atlas={self.atlas}: {error}") from error

    def describe(self) -> dict[str, Any]:
        """The settings with the checksum of the atlas, and the order of the steps."""
        chosen = super().describe() | {"cleaning": self.cleaning.describe()}
        if self.atlas is not None:
            if not self.atlas.is_file():
                raise UserError(f"the atlas {self.atlas} does not exist")
            chosen["atlas"] = {
                "name": self.atlas.name,
                "sha256": hashlib.sha256(self.atlas.read_bytes()).hexdigest(),
            }
        return chosen | {"order": ORDER, "scaling": "demeaned per parcel, one rms per scan", "dtype": "float16"}

    def read(self, job: ScanJob) -> Record:
        """Read one scan and write its series."""
        series, tr, lost, missing_voxels, names = _read(job, self)
        recorded = len(series)
        if recorded < self.min_frames and not self.keep_short:
            return short_record(job.key, recorded, tr, f"fewer than {self.min_frames} frames")
        part = usable_part(series)
        cleaned, kept = _cleaned(part.series, part.valid, part.frame_numbers, recorded, job, self.cleaning, tr)
        # Judged again on what cleaning has left.
        if why := self.too_short(len(kept), tr, " after cleaning"):
            return short_record(job.key, len(kept), tr, why)
        values, scale = scaled(cleaned, part.valid)
        with ArrayWriter(job.target, values.shape, values.dtype) as array:
            array.add(values)
        return {
            "key": job.key,
            "status": "stored",
            "n_frames": len(values),
            "shape": [values.shape[1]],
            "n_parcels": values.shape[1],
            "n_valid": int(part.valid.sum()),
            "n_lost": lost,
            "missing_voxels": missing_voxels,
            "tr": None if math.isnan(tr) else tr,
            "scale": scale,
            "recorded": recorded,
            "dropped": sorted(set(range(recorded)) - set(kept.tolist())),
            "invalid": np.flatnonzero(~part.valid).tolist(),
            "sha256": array.sha256,
        } | ({} if names is None else {"parcels": keep_names(job.target.parents[1], names)})


def _cleaned(
    series: NDArray[Any],
    valid: BoolArray,
    frame_numbers: NDArray[np.int64],
    recorded: int,
    job: ScanJob,
    cleaning: Cleaning,
    tr: float,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Series [kept frames, P] after cleaning (invalid parcels zero), and which frames these are."""
    if not cleaning.changes_values:
        still = still_frames(cleaning.fd_threshold, job.confounds, recorded)[frame_numbers]
        return series[still], frame_numbers[still]
    if len(frame_numbers) < recorded:
        raise UserError(
            f"{recorded - len(frame_numbers)} frames were not measured (no values, one value everywhere, or a copy of "
            "the frame before): cleaning cannot bridge them"
        )
    is_image = job.path.name.endswith(IMAGE_SUFFIXES)
    cleaned, kept = clean(
        series[:, valid], cleaning, tr=tr, scan=job.path if is_image else None, confounds=job.confounds
    )
    whole = np.zeros((len(kept), series.shape[1]))
    whole[:, valid] = cleaned
    return whole, kept


def _read(job: ScanJob, options: ReadingOptions) -> tuple[NDArray[Any], float, int, int, list[str] | None]:
    """Series [frames, P], time step, lost labels, voxels without values, names of the parcels where a file has them."""
    if is_series(job.path):
        return _read_cifti(job, options)
    if not job.path.name.endswith(IMAGE_SUFFIXES):
        return read_parcel_table(job.path), repetition_time(job.path, stated=job.tr), 0, 0, None
    if options.atlas is None:
        raise UserError("an image needs an atlas: name a label image, or list tables of parcel series")
    scan, atlas = open_image(job.path), _atlas(options.atlas)
    if isinstance(atlas, DenseAtlas):
        raise UserError("a .dlabel.nii atlas is for grayordinates (.dtseries.nii), this scan is a volume image")
    tr = repetition_time(job.path, scan.header, job.tr)
    if scan.n_frames < options.min_frames and not options.keep_short:
        return np.empty((scan.n_frames, 0)), tr, 0, 0, None  # too short to be worth reading
    mask = job.mask if options.use_masks else None
    result = atlas.extract(scan, options.strategy, mask, options.largest_loss)
    return result.series, tr, int(result.lost.sum()), int(result.missing_voxels.sum()), None


def _read_cifti(job: ScanJob, options: ReadingOptions) -> tuple[NDArray[Any], float, int, int, list[str]]:
    """As :func:`_read`: parcels as they are, grayordinates by the labels of a ``.dlabel.nii``."""
    matrix = open_series(job.path)
    tr = repetition_time(job.path, matrix.image.header, job.tr)
    if is_parcel_series(job.path):
        series, names = read_parcels(job.path)
        return series, tr, 0, 0, names
    atlas = None if options.atlas is None else _atlas(options.atlas)
    if not isinstance(atlas, DenseAtlas):
        raise UserError("grayordinates (.dtseries.nii) need an atlas of grayordinates: atlas=LABELS.dlabel.nii")
    result = atlas.extract(matrix, options.strategy, options.largest_loss)
    return result.series, tr, int(result.lost.sum()), int(result.missing_voxels.sum()), atlas.names


@lru_cache(maxsize=2)
def _atlas(path: Path) -> Atlas | DenseAtlas:
    """One atlas per process: its grids are cached inside."""
    return DenseAtlas.load(path) if is_labels(path) else Atlas.load(path)


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
