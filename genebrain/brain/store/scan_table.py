"""The scan table: which scan of whom lies where, from a table or by discovery in a derivatives folder.

One row per scan with ``participant_id, session, path, tr, mask, confounds``; paths are resolved and checked to
exist, all problems of one kind are reported together, and an ambiguous folder is an error, never a guess.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from genebrain.brain.folders.derivatives import find_scans
from genebrain.brain.folders.names import read_choice
from genebrain.brain.folders.sidecars import sidecar_time_step
from genebrain.brain.folders.time_steps import LONGEST_TR_S, header_step, step_problem
from genebrain.brain.images.image_files import load_image
from genebrain.common.table_files import as_numbers, decimal_comma, is_missing, read_table, usual_names
from genebrain.common.types import UserError
from genebrain.common.words import counted

log = logging.getLogger(__name__)

COLUMNS = ["participant_id", "session", "path", "tr", "mask", "confounds"]
MOTION = "mean_fd"
IMAGE_SUFFIXES = (".nii", ".nii.gz")
TABLE_SUFFIXES = (".npy", ".tsv", ".csv")


class ScanTableProblem(NamedTuple):
    """One kind of thing that is wrong with a scan table: a short stable name, a sentence, its numbers."""

    kind: str
    message: str
    counts: dict[str, float]


def read_scan_table(
    path: Path | str,
    *,
    space: str | None = None,
    task: str | None = None,
    choose: str | Iterable[str] | None = None,
) -> pd.DataFrame:
    """Read a scan table, or find the scans of a folder by name (see :mod:`genebrain.brain.folders.derivatives`).

    Parameters
    ----------
    path
        A ``.tsv`` or ``.csv`` with the columns ``participant_id`` and ``path`` and optionally ``session``,
        ``tr`` (seconds), ``mask``, ``confounds`` (paths relative to the table; ``n/a`` or empty = none),
        ``mean_fd`` (mm), or a folder.
    space, task
        For a folder: which template space and task to take where there are several.
    choose
        For a folder: which files to take where there are several versions of a recording, as BIDS writes entities:
        ``space-MNI152NLin6Asym_res-2_desc-denoised``; ``none`` for files without the entity. A word without a hyphen is
        the kind: ``nii``, ``dtseries``, ``ptseries`` or ``tsv``.

    Returns
    -------
    pandas.DataFrame
        Columns ``participant_id`` (str), ``session`` (str, may be empty), ``path`` (Path), ``tr`` (float
        seconds, NaN = not stated), ``mask`` and ``confounds`` (Path or None), and ``mean_fd`` if it is given.

    Raises
    ------
    UserError
        Missing columns or files, impossible time steps, a file listed twice, an empty or ambiguous folder.
    """
    table, problems = examine_scan_table(path, space=space, task=task, choose=choose)
    if problems or table is None:
        raise UserError(f"{Path(path).name}: " + "; ".join(problem.message for problem in problems))
    return table


def examine_scan_table(
    path: Path | str,
    *,
    space: str | None = None,
    task: str | None = None,
    choose: str | Iterable[str] | None = None,
) -> tuple[pd.DataFrame | None, list[ScanTableProblem]]:
    """The usable rows of a scan table (see :func:`read_scan_table`) and everything that is wrong with it.

    Rows without participant or path, and rows that repeat the file of an earlier one, are left out and told; None
    where the file is no scan table at all.

    Raises
    ------
    UserError
        No such file, or an ambiguous folder.
    """
    path = Path(path)
    if path.is_dir():
        own = [f"{key}-{label}" for key, label in (("space", space), ("task", task)) if label is not None]
        return _discover(path, read_choice([*own, *([choose] if isinstance(choose, str) else choose or ())])), []
    if not path.is_file():
        raise UserError(f"scan table {path} does not exist")
    try:
        table = read_table(path)
    except UserError as error:
        return None, [ScanTableProblem("unreadable table", f"no readable table: {error}", {})]
    table.columns = usual_names(list(table.columns), [*COLUMNS, MOTION])
    missing = [name for name in ("participant_id", "path") if name not in table.columns]
    if missing:
        words = f"lacks the column(s) {', '.join(missing)}; it has {', '.join(table.columns)}"
        return None, [ScanTableProblem("missing column", words, {"missing": len(missing)})]
    if table.empty:
        return None, [ScanTableProblem("empty table", "lists no scan", {})]
    for name in COLUMNS:
        values = table[name] if name in table.columns else pd.Series("", index=table.index, dtype=str)
        table[name] = values if name == "participant_id" else values.mask(is_missing(values), "")
    table = table[[*COLUMNS, *([MOTION] if MOTION in table.columns else [])]]
    problems = _table_problems(table, path.parent)
    table = table[(table["participant_id"] != "") & (table["path"] != "") & ~table["path"].duplicated()].copy()
    for name in ("path", "mask", "confounds"):
        files = [path.parent / value if value else None for value in table[name]]
        table[name] = pd.Series(files, index=table.index, dtype=object)
    for name in ("tr", MOTION):
        if name in table.columns:
            table[name] = as_numbers(table[name])[0]
    return table.reset_index(drop=True), problems


def _table_problems(table: pd.DataFrame, base: Path) -> list[ScanTableProblem]:
    """Everything that is wrong with a table, one line per kind, first five examples each."""
    problems = []

    def note(kind: str, what: str, rows: list[Any], **counts: float) -> None:
        if rows:
            more = ", ..." if len(rows) > 5 else ""
            n = "" if what.startswith("column") else f"{len(rows)} "
            words = f"{n}{what} ({', '.join(map(str, rows[:5]))}{more})"
            problems.append(ScanTableProblem(kind, words, counts or {"rows": len(rows)}))

    for name in ("participant_id", "path"):
        rows = [i + 1 for i in np.flatnonzero(table[name] == "")]
        note("empty scan row", f"rows without {name}, by row number", rows)
    for column in ("path", "mask", "confounds"):
        named = table[column][table[column] != ""]
        absent = [value for value in named.unique() if not os.path.isfile(base / value)]
        words = f"column `{column}`: {len(absent)} of {len(named)} files do not exist"
        note(f"missing {column}", words, absent, missing=len(absent), given=len(named))
    known = table["path"][table["path"] != ""]
    note(
        "unknown kind of scan",
        f"files of an unknown kind, expected {', '.join(IMAGE_SUFFIXES + TABLE_SUFFIXES)}",
        [value for value in known if not value.lower().endswith(IMAGE_SUFFIXES + TABLE_SUFFIXES)],
    )
    twice = list(known[known.duplicated()].unique())
    note("duplicate scan", "files are listed more than once; one scan cannot count twice", twice)
    steps, odd = as_numbers(table["tr"])
    wrong = list(table["tr"][(table["tr"] != "") & ~((steps > 0) & (steps <= LONGEST_TR_S))])
    note("time step", f"tr values outside (0, {LONGEST_TR_S:g}] seconds{decimal_comma(odd)}", wrong)
    if MOTION in table.columns:
        odd = as_numbers(table[MOTION])[1]
        note("not a number", f"{MOTION} cells are not numbers{decimal_comma(odd)}", odd, cells=len(odd))
    return problems


def _discover(folder: Path, choice: dict[str, str]) -> pd.DataFrame:
    """The table of a folder's scans; says which layout it is."""
    layout = find_scans(folder, choice)
    rows = [
        {
            "participant_id": scan.participant_id,
            "session": scan.session,
            "path": scan.path,
            "tr": _stated(scan.path),
            "mask": scan.mask,
            "confounds": scan.confounds,
        }
        for scan in layout.scans
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"mask": object, "confounds": object})
    people = table.participant_id.nunique()
    log.info(
        "; ".join(
            [f"{folder}: {counted(len(table), 'scan')} of {people} people, layout of {layout.name}", *layout.notes]
        )
    )
    return table


def _stated(scan: Path) -> float:
    """Time step of the sidecars in seconds; NaN: none, or one that is refused when the scan is read."""
    try:
        return sidecar_time_step(scan)
    except UserError:
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
        Below 0.02 s, above 10 s, not finite, a sidecar without a number, or exactly 1.0 of unknown unit (the default of
        a header that nobody filled in).
    """
    source, value = "the scan table", float("nan") if stated is None else float(stated)
    if np.isnan(value):
        source, value = "the json sidecar", sidecar_time_step(path)
    if np.isnan(value):
        if header is None:
            return value
        source, value = "the image header", header_step(header)
    if problem := step_problem(value):
        raise UserError(f"the time step of {source} is {problem}")
    return value


def known_steps(table: pd.DataFrame, *, headers: bool = True) -> Counter[float | None]:
    """Seconds per frame -> number of scans of a table, without reading their values; None: nobody states it.

    Scans with a missing or impossible TR are skipped here and reported when they are read. With
    ``headers=False`` no image is opened, and those that state it nowhere else are left out too.
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
                step = repetition_time(path, load_image(path).header)
        except (UserError, OSError, ValueError):
            continue
        if not np.isnan(step):
            steps[step] += 1
        elif not is_image:
            steps[None] += 1
    return steps
