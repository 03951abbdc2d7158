"""Preflight: windows, TRs, boxes and parcellations that an encoder cannot take, refused before any scan is read.

:func:`refuse_misfits` reads no values of scans; what it lets pass may still fail for reasons that only the scans
know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from genebrain.brain.encoders.cache import SHELF
from genebrain.brain.encoders.families import Size, frames_problem
from genebrain.brain.encoders.settings import EncoderSettings, VolumeSettings
from genebrain.brain.images.atlas import Atlas
from genebrain.brain.images.cifti_files import is_series
from genebrain.brain.images.volume_scaling import Box
from genebrain.brain.parcels.centres import known_centres, read_centres
from genebrain.brain.parcels.series import series_shape
from genebrain.brain.store.scan_table import IMAGE_SUFFIXES, known_steps
from genebrain.brain.windows.bank import another_step
from genebrain.brain.windows.policy import WindowPolicy
from genebrain.common.types import UserError
from genebrain.common.words import counted

LOOKED_AT = 20
NO_STEP = "no known time step, and {why}: add tr (seconds) to the scan table"


def refuse_misfits(
    settings: EncoderSettings,
    policy: WindowPolicy,
    table: pd.DataFrame,
    *,
    volumes: VolumeSettings | None = None,
    atlas: Path | None = None,
    centres: Path | str | None = None,
) -> None:
    """Refuse scans and windows that an encoder cannot take.

    Parameters
    ----------
    table
        Of scans.
    atlas, centres
        What cuts images into parcels; table of the centres of the parcels.

    Raises
    ------
    UserError
        Windows of a length that the encoder does not take at the time step of the scans, scans without a time step
        where it must be known, or with another one under ``resample=none``, a box larger than the encoder's, parcels
        that the weights were not trained on or of which nobody says where they lie; all together, with the numbers of
        both sides.
    """
    size = SHELF.expected(settings)
    problems = _step_problems(settings.encoder, size, policy, table)
    if problem := _box_problem(settings, size, volumes):
        problems.append(problem)
    if settings.reads == "parcels" and (width := _width(table, atlas)):
        try:
            # Not wasted: the same encoder is asked for again once the scans are read.
            SHELF.get(settings, n_parcels=width, coordinates=known_centres(width, centres, atlas))
        except UserError as error:
            paths = [Path(path) for path in table["path"]]
            turned = "" if centres is None else parcels_problem(_shapes(paths), len(read_centres(centres)), "")
            problems.append(str(error) + "; are they transposed?" * ("transposed" in turned))
    elif settings.reads == "parcels" and centres is not None:
        shapes = _shapes([Path(path) for path in table["path"]])
        problems += filter(None, [parcels_problem(shapes, len(read_centres(centres)), Path(centres).name)])
    if problems:
        raise UserError("; ".join(problems))


def refuse_other_parcels(table: pd.DataFrame, centres: Path | str | None, atlas: Path | None) -> None:
    """Refuse scans that have not as many parcels as the table of their centres has rows.

    Raises
    ------
    UserError
        Both numbers, and whether the series look transposed; or an unreadable table of centres.
    """
    if centres is None or table.empty:
        return
    rows = len(read_centres(centres))
    paths = [Path(path) for path in table["path"]]
    if all(path.name.endswith(IMAGE_SUFFIXES) for path in paths):
        width = _width(table, atlas)
        if width is not None and width != rows:
            raise UserError(f"the atlas has {width} parcels, {Path(centres).name} (parcel_coordinates) has {rows} rows")
    elif problem := parcels_problem(_shapes(paths), rows, Path(centres).name):
        raise UserError(problem)


def parcels_problem(shapes: Counter[tuple[int, int]], rows: int, name: str) -> str:
    """What is wrong where none of the series ``(frames, parcels)`` has ``rows`` parcels; else empty."""
    if not shapes or any(width == rows for _, width in shapes):
        return ""
    frames, width = shapes.most_common(1)[0][0]
    turned = all(n == rows for n, _ in shapes)
    if len({width for _, width in shapes}) > 1 and not turned:
        return ""  # said when the scans are read
    advice = f", and {frames} frames: are they transposed? (one row is one frame, one column one parcel)"
    return f"scans have {width} columns, {name} (parcel_coordinates) has {rows} rows" + (
        advice if turned else "; each column of a scan needs its row there, in the same order"
    )


def _width(table: pd.DataFrame, atlas: Path | None) -> int | None:
    """Parcels of the scans, where the atlas or some of the tables agree on it; None: unknown."""
    paths = [Path(path) for path in table["path"]]
    if any(is_series(path) for path in paths):
        return None  # said when they are read
    if atlas is not None and all(path.name.endswith(IMAGE_SUFFIXES) for path in paths):
        try:
            return len(Atlas.load(atlas).ids)
        except (UserError, OSError):
            return None  # said when the store is filled
    if any(path.name.endswith(IMAGE_SUFFIXES) for path in paths):
        return None
    widths = {width for _, width in _shapes(paths)}
    return widths.pop() if len(widths) == 1 else None


def _shapes(paths: Sequence[Path]) -> Counter[tuple[int, int]]:
    """Frames and parcels of some evenly spaced tables of series, and how many have them."""
    shapes: Counter[tuple[int, int]] = Counter()
    tables = [path for path in paths if not path.name.endswith(IMAGE_SUFFIXES)]
    for row in np.linspace(0, len(tables) - 1, min(len(tables), LOOKED_AT)).astype(int):
        try:
            shapes[series_shape(tables[row])] += 1
        except UserError:
            continue  # said when the store is filled
    return shapes


def _step_problems(name: str, size: Size, policy: WindowPolicy, table: pd.DataFrame) -> list[str]:
    if size.tr is None and not policy.in_seconds:
        return []
    # An encoder with a time step of its own says how long its windows are, whatever the scans have.
    steps = known_steps(table, headers=size.tr is None or policy.resample == "none")
    scans = counted(len(table), "scan")
    problems = []
    if unknown := steps.pop(None, 0):
        why = "windows in seconds need it" if size.tr is None else f"{name} was trained at {size.tr:g} s per frame"
        problems.append(f"{unknown} of {scans}: {NO_STEP.format(why=why)}")
    known = {step: n for step, n in steps.items() if step is not None}

    def check(frames: int) -> str | None:
        return frames_problem(name, size.config, frames)

    for step, n in {size.tr: len(table)}.items() if size.tr is not None else known.items():
        if problem := policy.length_problem(step, size.frames, check):
            problems.append(f"{n} of {scans}: {problem}")
    if size.tr is not None and policy.resample == "none":
        problems += [f"{n} of {scans}: {text}" for step, n in known.items() if (text := another_step(step, size.tr))]
    return problems


def _box_problem(settings: EncoderSettings, size: Size, volumes: VolumeSettings | None) -> str | None:
    if settings.reads != "volumes" or volumes is None or volumes.box is None or not size.published:
        return None
    own: Box | None = getattr(size.config, "box", None)
    if own is None or all(have <= want for have, want in zip(volumes.box, own, strict=True)):
        return None
    return (
        f"brain.volumes.box={list(volumes.box)}: {settings.encoder} takes up to {list(own)} voxels along each axis "
        "(leave brain.volumes.box out to have these)"
    )
