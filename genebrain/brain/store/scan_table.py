"""The scan table: which scan of whom lies where, from a table or by discovery in a derivatives folder.

Contract: one row per scan with ``participant_id, session, path, tr, mask, confounds``; paths are resolved and
checked to exist, all problems of one kind are reported together, and an ambiguous folder is an error, never a
guess.

What it does NOT know: what is inside the images (except the header's time step), atlases, genomes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.brain.images.nifti import open_image
from genebrain.brain.store.derivatives import entities, find_scans
from genebrain.common.types import UserError
from genebrain.common.words import counted

COLUMNS = ["participant_id", "session", "path", "tr", "mask", "confounds"]
IMAGE_SUFFIXES = (".nii", ".nii.gz")
TABLE_SUFFIXES = (".npy", ".tsv", ".csv")
LONGEST_TR_S = 10.0
_SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


def read_scan_table(path: Path | str, *, space: str | None = None, task: str | None = None) -> pd.DataFrame:
    """Read a scan table, or find the scans of a folder by name (see :mod:`genebrain.brain.store.derivatives`).

    Parameters
    ----------
    path
        A ``.tsv`` or ``.csv`` with the columns ``participant_id`` and ``path`` and optionally ``session``,
        ``tr`` (seconds), ``mask``, ``confounds`` (paths relative to the table; ``n/a`` or empty = none), or a
        folder.
    space, task
        For a folder: which template space and task to take where there are several.

    Returns
    -------
    pandas.DataFrame
        Columns ``participant_id`` (str), ``session`` (str, may be empty), ``path`` (Path), ``tr`` (float
        seconds, NaN = not stated), ``mask`` and ``confounds`` (Path or None).

    Raises
    ------
    UserError
        Missing columns or files, impossible time steps, a file listed twice, an empty or ambiguous folder.
    """
    path = Path(path)
    if path.is_dir():
        return _discover(path, space, task)
    if not path.is_file():
        raise UserError(f"scan table {path} does not exist")
    separator = "," if path.suffix == ".csv" else "\t"
    table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, comment=None)
    missing = [name for name in ("participant_id", "path") if name not in table.columns]
    if missing:
        raise UserError(f"{path.name} lacks the column(s) {', '.join(missing)}; it has {', '.join(table.columns)}")
    if table.empty:
        raise UserError(f"{path.name} lists no scan")
    for name in COLUMNS:
        values = table[name] if name in table.columns else pd.Series([""] * len(table))
        table[name] = values.str.strip().replace({"n/a": "", "NA": "", "nan": ""})
    table = table[COLUMNS]
    problems = _table_problems(table, path.parent)
    if problems:
        raise UserError(f"{path.name}: " + "; ".join(problems))
    for name in ("path", "mask", "confounds"):
        table[name] = pd.Series(
            [path.parent / value if value else None for value in table[name]], index=table.index, dtype=object
        )
    table["tr"] = pd.to_numeric(table["tr"], errors="coerce")
    return table.reset_index(drop=True)


def _table_problems(table: pd.DataFrame, base: Path) -> list[str]:
    """Everything that is wrong with a table, one line per kind, first five examples each."""
    problems = []

    def note(what: str, rows: list[Any]) -> None:
        if rows:
            more = ", ..." if len(rows) > 5 else ""
            problems.append(f"{len(rows)} {what} ({', '.join(map(str, rows[:5]))}{more})")

    note(
        "rows without participant_id, by row number",
        [i + 1 for i in np.flatnonzero(table.participant_id == "")],
    )
    note("rows without path, by row number", [i + 1 for i in np.flatnonzero(table.path == "")])
    for column in ("path", "mask", "confounds"):
        named = table[column][table[column] != ""]
        note(f"{column} files that do not exist", [v for v in named.unique() if not (base / v).is_file()])
    known = table.path[table.path != ""]
    note(
        f"files of an unknown kind, expected {', '.join(IMAGE_SUFFIXES + TABLE_SUFFIXES)}",
        [v for v in known if not v.lower().endswith(IMAGE_SUFFIXES + TABLE_SUFFIXES)],
    )
    note("files listed more than once", list(known[known.duplicated()].unique()))
    steps = pd.to_numeric(table.tr, errors="coerce")
    wrong = (table.tr != "") & ~((steps > 0) & (steps <= LONGEST_TR_S))
    note(f"tr values outside (0, {LONGEST_TR_S:g}] seconds", list(table.tr[wrong]))
    return problems


def _discover(folder: Path, space: str | None, task: str | None) -> pd.DataFrame:
    """The table of a folder's scans; says which layout it is."""
    layout = find_scans(folder, space, task)
    rows = [
        {
            "participant_id": scan.participant_id,
            "session": scan.session,
            "path": scan.path,
            "tr": _sidecar_tr(scan.path, scan.sidecars),
            "mask": scan.mask,
            "confounds": scan.confounds,
        }
        for scan in layout.scans
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"mask": object, "confounds": object})
    people = table.participant_id.nunique()
    print(
        "; ".join(
            [f"{folder}: {counted(len(table), 'scan')} of {people} people, layout of {layout.name}", *layout.notes]
        )
    )
    return table


def _sidecar_tr(scan: Path, others: tuple[Path, ...] = ()) -> float:
    """``RepetitionTime`` of the json beside the scan, or of ``task-*_bold.json`` above it; NaN = none."""
    name = re.sub(r"\.nii(?:\.gz)?$", "", scan.name)
    task = entities(name).get("task", "")
    candidates = [scan.parent / f"{name}.json", *others]
    candidates += [parent / f"task-{task}_bold.json" for parent in scan.parents[:5] if task]
    for candidate in candidates:
        if candidate.is_file():
            try:
                value = json.loads(candidate.read_text()).get("RepetitionTime")
            except (json.JSONDecodeError, AttributeError) as error:
                raise UserError(f"{candidate} is not a json object: {error}") from error
            if value is not None:
                return float(value)
    return float("nan")


def repetition_time(path: Path, header: Any = None, stated: float | None = None) -> float:
    """Time between two frames in seconds: as stated in the table, else the sidecar, else the image header.

    Parameters
    ----------
    path
        The scan; its json sidecar is looked up beside it.
    header
        NIfTI header, or None for tables of parcel series (which carry no time step).
    stated
        The table's value in seconds; NaN or None = not stated.

    Returns
    -------
    float
        Seconds; NaN for a table of parcel series of which nobody states the time step.

    Raises
    ------
    UserError
        Zero, negative, not finite, above 10 s, or exactly 1.0 of unknown unit (the default of a header that
        nobody filled in).
    """
    source, value = "the scan table", float("nan") if stated is None else float(stated)
    if np.isnan(value):
        source, value = "the json sidecar", _sidecar_tr(path)
    if np.isnan(value):
        if header is None:
            return value
        source = "the image header"
        zooms = header.get_zooms()
        raw, unit = float(zooms[3]) if len(zooms) > 3 else 0.0, str(header.get_xyzt_units()[1])
        if unit not in _SECONDS_PER_UNIT and raw == 1.0:
            raise UserError(
                "the header's time step is 1.0 of unknown unit, which is what an unset header says; "
                "state tr in the scan table or in a json sidecar (RepetitionTime)"
            )
        value = round(raw * _SECONDS_PER_UNIT.get(unit, 1.0), 9)
    if not np.isfinite(value) or not 0 < value <= LONGEST_TR_S:
        raise UserError(
            f"the time step of {source} is {value:g} s, expected more than 0 and at most {LONGEST_TR_S:g} s; "
            "state tr (seconds) in the scan table"
        )
    return value


def known_steps(table: pd.DataFrame, *, headers: bool = True) -> Counter[float | None]:
    """Seconds per frame -> number of scans of a table, without reading their values; None: nobody states it.

    Scans of which it cannot be told, or is impossible, are in neither: what is wrong with them is said when they are
    read. With ``headers=False`` no image is opened, and those that state it nowhere else are left out too.
    """
    steps: Counter[float | None] = Counter()
    for path, stated in zip(table["path"], table["tr"], strict=True):
        if not np.isnan(stated):
            steps[float(stated)] += 1
            continue
        is_image = str(path).endswith(IMAGE_SUFFIXES)
        try:
            step = repetition_time(path)
            if np.isnan(step) and is_image and headers:
                step = repetition_time(path, open_image(path).header)
        except (UserError, OSError, ValueError):
            continue
        if not np.isnan(step):
            steps[step] += 1
        elif not is_image:
            steps[None] += 1
    return steps
