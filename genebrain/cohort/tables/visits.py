"""Rows of the scan table: whose they are, and how the head moved."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genebrain.brain.images.motion import COLUMNS, motion_facts
from genebrain.cohort.tables.problems import Problems, named
from genebrain.common.table_files import is_missing
from genebrain.common.types import BoolArray, IntArray


def fill_motion(listed: pd.DataFrame, scans: pd.DataFrame, scan_rows: IntArray) -> None:
    """Mean motion of each person, from the scans where the participants table does not say."""
    if "mean_fd" not in listed.columns and "mean_fd" in scans.columns:
        known = scan_rows >= 0
        motion = scans["mean_fd"][known].groupby(scan_rows[known]).mean()
        listed["mean_fd"] = motion.reindex(range(len(listed)))


def scans_of(scans: pd.DataFrame, scan_rows: IntArray, who: BoolArray) -> pd.DataFrame:
    """Scans of some of the listed people, who are counted by themselves."""
    found = scans.assign(person=scan_rows)[np.append(who, False)[scan_rows]]
    return in_order(found.assign(person=pd.factorize(found["person"], sort=True)[0]))


def without_relatives(who: BoolArray, listed: pd.DataFrame, kept: BoolArray) -> BoolArray:
    """Who of ``who`` has no relative, by the columns of the table, among the ``kept``: families stay on one side."""
    for column in ("family_id", "genome_id"):
        if column in listed.columns:
            known = ~is_missing(listed[column]).to_numpy()
            who = who & ~(known & listed[column].isin(listed[column][kept & known]).to_numpy())
    return who


def in_order(scans: pd.DataFrame) -> pd.DataFrame:
    """Scans by person, and of a person by session and name."""
    by = [column for column in ("person", "session", "path", "row") if column in scans.columns]
    return scans.sort_values(by, kind="stable").reset_index(drop=True)


def fill_scan_motion(scans: pd.DataFrame, problems: Problems) -> pd.DataFrame:
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
