"""Reading options of the scans of an encoder: parcel series, or volumes in its box.

:func:`scan_options` gives what :func:`~genebrain.brain.store.fill.fill_store` needs. A published encoder has a box
of its own; a tiny one takes that of the first scan that can be opened.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from genebrain.brain.encoders.cache import SHELF, ScanShape
from genebrain.brain.encoders.families import get_size
from genebrain.brain.encoders.settings import EncoderSettings, VolumeSettings, volume_cleaning_problem
from genebrain.brain.images.cifti_files import is_parcel_series, is_series
from genebrain.brain.images.cleaning import Cleaning
from genebrain.brain.images.nifti import open_image
from genebrain.brain.images.orientation import Turn
from genebrain.brain.images.volume_scaling import Box
from genebrain.brain.parcels.centres import known_centres
from genebrain.brain.store.job import ScanOptions, without_names
from genebrain.brain.store.read_parcels import ReadingOptions
from genebrain.brain.store.scan_table import IMAGE_SUFFIXES
from genebrain.brain.store.store import ScanStore
from genebrain.common.types import UserError
from genebrain.common.words import counted, told


def scan_options(
    settings: EncoderSettings | None,
    table: pd.DataFrame,
    *,
    atlas: Path | None = None,
    volumes: VolumeSettings | None = None,
    cleaning: Cleaning | None = None,
    min_frames: int = 10,
) -> ScanOptions:
    """Reading options for an encoder (None: parcel series for the connectome).

    Raises
    ------
    UserError
        An encoder of volumes, and no image can be opened, or a cleaning that volumes do not know; parcels are wanted,
        all scans are images, and no atlas is named; weights that cannot be read. Better now than after hours of reading
        scans.
    """
    if settings is None or settings.reads == "parcels":
        if settings is not None:
            SHELF.size(settings)
        if atlas is None and len(table) and all(_needs_atlas(path) for path in table["path"]):
            raise UserError(
                f"all {len(table)} scans are images, and {settings.encoder if settings else 'the connectome'} reads "
                "parcels: an image needs an atlas. Name a label image (atlas=LABELS.nii.gz, for .dtseries.nii a "
                ".dlabel.nii; 'atlas' in cohort.yaml), or list tables of parcel series"
            )
        return ReadingOptions(atlas=atlas, cleaning=cleaning or Cleaning(), min_frames=min_frames)
    volumes, cleaning = volumes or VolumeSettings(), cleaning or Cleaning()
    if problem := volume_cleaning_problem(settings.encoder, cleaning):
        raise UserError(problem)
    options = volumes.options(_box(settings, table["path"], volumes))
    return replace(options, min_frames=min_frames, fd_threshold=cleaning.fd_threshold)


def _needs_atlas(path: Path | str) -> bool:
    return str(path).endswith(IMAGE_SUFFIXES) and not is_parcel_series(path)


def options_name(options: ScanOptions) -> str:
    """Short name of a way of reading: equal names may share a store."""
    text = json.dumps(options.describe(), sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _box(settings: EncoderSettings, paths: Iterable[Path], volumes: VolumeSettings) -> Box:
    if settings.path is not None or settings.size not in ("auto", "tiny"):
        config = (SHELF.size(settings) or get_size(settings.encoder, settings.size)).config
        if (box := getattr(config, "box", None)) is not None:
            x, y, z = box
            return x, y, z
    listed = [Path(path) for path in paths]
    images = [path for path in listed if path.name.endswith(IMAGE_SUFFIXES) and not is_series(path)]
    if not images:
        raise UserError(
            f"{settings.encoder} reads volumes, and none of {counted(len(listed), 'scan')} is a 4D image "
            f"({', '.join(IMAGE_SUFFIXES)}): list images, or take brainlm, brainlm_vit or connectome"
        )
    reasons: Counter[str] = Counter()
    for path in images:
        try:
            image = open_image(path)
            turn = Turn.between(image.affine, volumes.axes)
        except (UserError, OSError, ValueError) as error:
            reasons[without_names(error, path)] += 1  # told again when all are read
            continue
        x, y, z = (-(-size // volumes.downsample) for size in turn.apply(np.empty(image.shape, bool)).shape)
        return x, y, z
    raise UserError(f"none of {counted(len(images), 'image')} can be opened: {told(dict(reasons.most_common(5)))}")


def scan_shape(store: ScanStore, parcel_coordinates: Path | str | None, atlas: Path | None) -> ScanShape:
    """What an encoder of the scans in a store is built for: their parcels and where these lie, or their voxels."""
    if store.kind == "volumes":
        x, y, z = store.shape
        return {"grid": (x, y, z)}
    (n_parcels,) = store.shape
    return {"n_parcels": n_parcels, "coordinates": known_centres(n_parcels, parcel_coordinates, atlas)}
