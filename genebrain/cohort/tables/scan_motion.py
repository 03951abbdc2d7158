"""Mean framewise displacement of every scan, from the confounds tables that the scans come with."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genebrain.brain.images.motion import COLUMNS, motion_facts
from genebrain.cohort.tables.problems import Problems, named


def fill_motion(scans: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """The scan table with ``mean_fd`` (mm), where its confounds tables know it and nobody states it.

    Parameters
    ----------
    scans
        ``path`` and ``confounds`` (Path or None). A column ``mean_fd`` stays as it is.
    problems
        Takes a warning about scans of which the motion stays unknown, while that of others is known.
    """
    if "mean_fd" in scans.columns or "confounds" not in scans.columns or not scans["confounds"].notna().any():
        return scans
    motion = np.array([motion_facts(path).get("mean_fd", np.nan) for path in scans["confounds"]], np.float64)
    unknown = np.isnan(motion)
    if unknown.all():
        return scans
    if unknown.any():
        names = named(path.name for path in scans["path"][unknown])
        problems.warning(
            "unknown motion",
            f"mean_fd was read from the confounds tables of {int((~unknown).sum())} of {len(scans)} scans; {names} "
            f"have no table with a column {COLUMNS[0]}: their motion is unknown",
            known=int((~unknown).sum()),
            of=len(scans),
        )
    return scans.assign(mean_fd=motion)
