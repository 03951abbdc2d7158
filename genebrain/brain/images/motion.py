"""Head motion during a scan, from the confounds table beside it.

Framewise displacement (Power et al., NeuroImage 2012) in mm, as the pipeline wrote it; nothing is computed from
realignment parameters, whose units differ between pipelines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import BoolArray, UserError

COLUMNS = ("framewise_displacement", "FramewiseDisplacement", "fd", "FD")
LARGE_MM = 0.5


def framewise_displacement(path: Path | None) -> NDArray[np.float64] | None:
    """Displacement of every frame, NaN where there is none (the first); None without a table or such a column."""
    if path is None:
        return None
    from genebrain.common.table_files import as_numbers, read_table

    try:
        table = read_table(path)
    except UserError:  # a broken table matters to cleaning, which says so
        return None
    column = next((name for name in COLUMNS if name in table.columns), None)
    return None if column is None else as_numbers(table[column])[0]


def still_frames(threshold: float | None, path: Path | str | None, n_frames: int) -> BoolArray:
    """Frames that are not above a threshold (mm), bool ``[frames]``; all without a threshold.

    A frame whose displacement nobody knows (the first) stays.

    Raises
    ------
    UserError
        There is a threshold, and no displacement, or one of another length.
    """
    if threshold is None:
        return np.ones(n_frames, bool)
    if path is not None:
        from genebrain.common.table_files import read_table

        read_table(path)  # what is wrong with it is said here
    displacement = framewise_displacement(None if path is None else Path(path))
    if displacement is None or not np.isfinite(displacement).any():
        why = "the scan has no confounds table" if path is None else "its confounds table has none"
        raise UserError(
            f"frames of motion cannot be left out (fd_threshold={threshold:g} mm): {why} (a column "
            f"{' or '.join(COLUMNS)})"
        )
    if len(displacement) != n_frames:
        raise UserError(f"the confounds have {len(displacement)} rows, the scan has {n_frames} frames")
    return np.asarray(~(displacement > threshold))


def motion_facts(path: Path | None) -> dict[str, Any]:
    """``mean_fd`` (mm) and ``moved`` (share of frames above 0.5 mm), empty when unknown."""
    displacement = framewise_displacement(path)
    if displacement is None or not np.isfinite(displacement).any():
        return {}
    known = displacement[np.isfinite(displacement)]
    return {"mean_fd": round(float(known.mean()), 5), "moved": round(float((known > LARGE_MM).mean()), 5)}
