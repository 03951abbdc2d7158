"""Scans of a BIDS derivatives folder (fMRIPrep, XCP-D): one file per recording, or an error that says what to choose.

Only names are looked at. A recording is what one person did once: (sub, ses, task, acq, dir, run). Two files of one
recording are versions of it (template spaces, resolutions, echoes, smoothed and unsmoothed copies), and versions are
never mixed: they would weigh a person twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from genebrain.brain.folders.labels import refuse_labels, some
from genebrain.brain.folders.names import entities
from genebrain.brain.folders.versions import keep_wanted, mixed, one_of_twins, refuse_versions
from genebrain.common.types import UserError
from genebrain.common.words import counted

KINDS = {
    "nii": r"sub-[^/_]+_(?:[^/]*_)?bold\.nii(?:\.gz)?",
    "dtseries": r"sub-[^/_]+_(?:[^/]*_)?bold\.dtseries\.nii",
    "ptseries": r"sub-[^/_]+_(?:[^/]*_)?(?:bold|timeseries)\.ptseries\.nii",
    "tsv": r"sub-[^/_]+_(?:[^/]*_)?(?:seg|atlas)-[^/_]+_(?:[^/]*_)?timeseries\.tsv",
}
"""Files that hold a time series, in the order in which they are taken: images, grayordinates, parcels."""

BEFORE_SUB = re.compile(r"(.+?)sub-.*bold.*\.nii(?:\.gz)?")
BEHIND_BOLD = re.compile(r"sub-.*_bold(?!ref\b|map\b)(.*\.nii(?:\.gz)?)")

Files = dict[str, dict[str, str]]
"""Path below the folder, with slashes -> entities of the name."""


class Chosen(NamedTuple):
    """One file per recording, and what a reader should know about the others, in words."""

    files: Files
    notes: list[str]


def choose_files(folder: Path, names: Iterable[str], chosen: dict[str, str]) -> Chosen | None:
    """The file of each recording; None where no name is that of a scan.

    Parameters
    ----------
    names
        Paths of all files, relative to the folder, with slashes.
    chosen
        Entity -> the label that is wanted (``none``: without this entity); ``kind`` -> one of :data:`KINDS`.

    Raises
    ------
    UserError
        Several values of an entity, nothing that has the wanted one, names that contradict their folders, two files of
        one recording that their names do not tell apart.
    """
    by_name = {name: name.rsplit("/", 1)[-1] for name in names}
    kinds = {kind: [n for n, last in by_name.items() if re.fullmatch(end, last)] for kind, end in KINDS.items()}
    kinds = {kind: found for kind, found in kinds.items() if found}
    if not kinds:
        return None
    notes = _strangers(folder, by_name)
    kind = chosen.get("kind", next(iter(kinds)))
    if kind not in kinds:
        raise UserError(f"choose={kind}: {folder} holds no such scans; there are: {', '.join(kinds)}")
    if others := [f"{len(found)} .{other} (choose={other})" for other, found in kinds.items() if other != kind]:
        notes.append(f"left alone: files of the same people as {', '.join(others)}")
    files = {name: entities(by_name[name]) for name in kinds[kind]}
    refuse_labels(folder, files)
    files, left = _without_raw(files, chosen)
    notes += left
    files, left = keep_wanted(folder, files, {key: label for key, label in chosen.items() if key != "kind"})
    notes += left
    files, left = one_of_twins(folder, files)
    notes += left
    refuse_versions(folder, files)
    return Chosen(files, notes + mixed(files))


def _without_raw(files: Files, chosen: dict[str, str]) -> tuple[Files, list[str]]:
    """A folder of preprocessed scans may also hold the raw ones, which are not aligned to any template."""
    raw = [name for name, own in files.items() if "desc" not in own and "space" not in own]
    if not raw or len(raw) == len(files) or chosen.get("desc") == "none":
        return files, []
    kept = {name: own for name, own in files.items() if name not in set(raw)}
    lost = {files[name]["sub"] for name in raw} - {own["sub"] for own in kept.values()}
    without = f"; {counted(len(lost), 'person')} without another" if lost else ""
    return kept, [f"left alone: {counted(len(raw), 'raw scan')} beside preprocessed ones{without}"]


def _strangers(folder: Path, by_name: dict[str, str]) -> list[str]:
    """A word about images that look like scans of BIDS and are none.

    Raises
    ------
    UserError
        Names that would fit but for capitals: a person would be lost without a word.
    """
    anything = re.compile("|".join(KINDS.values()))
    in_any_case = re.compile(anything.pattern, re.IGNORECASE)
    capitals = [n for n, last in by_name.items() if in_any_case.fullmatch(last) and not anything.fullmatch(last)]
    if capitals:
        raise UserError(
            f"{folder}: {counted(len(capitals), 'file')} would be scans but for small and capital letters "
            f"({some(capitals)}); BIDS writes sub-..._bold.nii.gz: rename them, or list the scans in a table"
        )
    before = [match[1] for last in by_name.values() if (match := BEFORE_SUB.fullmatch(last))]
    rest = [last for last in by_name.values() if not anything.fullmatch(last)]
    behind = [match[1] for last in rest if (match := BEHIND_BOLD.fullmatch(last))]
    return [
        f"left alone: {counted(len(parts), 'image')} whose names {what} ({some(sorted(set(parts)))})"
        for parts, what in (
            ([f"{part}sub-..." for part in before], "do not begin with sub-"),
            ([f"_bold{part}" for part in behind], "go on after bold"),
        )
        if parts
    ]
