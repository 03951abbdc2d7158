"""Tables beside the scans of a BIDS folder that say how a head moved: confounds of fMRIPrep, motion of XCP-D."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from genebrain.brain.folders.names import entities, recording

ENDS = ("desc-confounds_timeseries.tsv", "desc-confounds_regressors.tsv", "motion.tsv", "desc-filtered_motion.tsv")
"""The best first. XCP-D's ``outliers.tsv`` has a column of this name too, but of zeros and ones."""

Key = tuple[str, ...]


def motion_tables(names: Iterable[str]) -> dict[Key, dict[str, str]]:
    """Folder and recording -> how the name of a table ends -> its path, of all files of a folder."""
    found: dict[Key, dict[str, str]] = defaultdict(dict)
    for name in names:
        if name.endswith("tsv"):
            own = entities(name.rsplit("/", 1)[-1])
            for end in ENDS:
                if name.endswith(f"_{end}") and (end != "motion.tsv" or "desc" not in own):
                    found[_key(name, own)].setdefault(end, name)
    return found


def motion_table(name: str, own: Mapping[str, str], tables: Mapping[Key, Mapping[str, str]]) -> str | None:
    """The table of a scan, of those in its folder."""
    beside = tables.get(_key(name, own), {})
    return next((beside[end] for end in ENDS if end in beside), None)


def _key(name: str, own: Mapping[str, str]) -> Key:
    return (name.rpartition("/")[0], own.get("rec", ""), *recording(own))
