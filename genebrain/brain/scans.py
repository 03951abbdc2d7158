"""The scan table: which scan of whom lies where, from a table or by discovery in a derivatives folder.

Contract: one row per scan with ``participant_id, session, path, tr, mask, confounds``; paths are resolved and
checked to exist, all problems of one kind are reported together, and an ambiguous folder is an error, never a
guess.

What it does NOT know: what is inside the images (except the header's time step), atlases, genomes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genebrain.types import UserError

COLUMNS = ["participant_id", "session", "path", "tr", "mask", "confounds"]
IMAGE_SUFFIXES = (".nii", ".nii.gz")
TABLE_SUFFIXES = (".npy", ".tsv", ".csv")
LONGEST_TR_S = 10.0
_SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


def read_scan_table(path: Path | str, *, space: str | None = None, task: str | None = None) -> pd.DataFrame:
    """Read a scan table, or discover the scans of a folder with BIDS-like names.

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


def _entities(name: str) -> dict[str, str]:
    """``sub-01_ses-1_task-rest_bold`` -> ``{"sub": "01", "ses": "1", "task": "rest"}``."""
    return dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9+.]+)", name))


def _discover(folder: Path, space: str | None, task: str | None) -> pd.DataFrame:
    """Scans of a derivatives folder: ``sub-*_bold.nii[.gz]`` with mask, confounds and sidecar beside them."""
    found = sorted(p for p in folder.rglob("sub-*_bold.nii*") if p.name.endswith(IMAGE_SUFFIXES) and p.is_file())
    if not found:
        raise UserError(f"{folder} holds no file named sub-*_bold.nii or sub-*_bold.nii.gz")
    entities = {p: _entities(p.name) for p in found}
    # A folder of preprocessed scans may also hold the raw ones, which are not aligned to any template.
    preprocessed = [p for p in found if entities[p].get("desc") == "preproc"]
    found = preprocessed or found
    for key, wanted in (("space", space), ("task", task)):
        present = sorted({entities[p].get(key, "none") for p in found})
        if wanted is not None:
            found = [p for p in found if entities[p].get(key, "none") == wanted]
            if not found:
                raise UserError(f"no scan in {folder} has {key}-{wanted}; there are: {', '.join(present)}")
        elif len(present) > 1:
            raise UserError(f"{folder} holds scans with several values of {key} ({', '.join(present)}): choose one")
    rows = []
    for scan in found:
        own = entities[scan]
        stem = re.sub(r"_(?:desc-[a-zA-Z0-9]+_)?bold\.nii(?:\.gz)?$", "", scan.name)
        run = re.sub(r"_(?:space|res|cohort|desc)-[a-zA-Z0-9+.]+", "", stem)
        rows.append(
            {
                "participant_id": f"sub-{own['sub']}",
                "session": f"ses-{own['ses']}" if "ses" in own else "",
                "path": scan,
                "tr": _sidecar_tr(scan),
                "mask": _first(scan.parent, f"{stem}_desc-brain_mask.nii.gz", f"{stem}_desc-brain_mask.nii"),
                "confounds": _first(
                    scan.parent,
                    f"{run}_desc-confounds_timeseries.tsv",
                    f"{run}_desc-confounds_regressors.tsv",
                ),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS).astype({"mask": object, "confounds": object})


def _first(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _sidecar_tr(scan: Path) -> float:
    """``RepetitionTime`` of the json beside the scan, or of ``task-*_bold.json`` above it; NaN = none."""
    name = re.sub(r"\.nii(?:\.gz)?$", "", scan.name)
    task = _entities(name).get("task", "")
    candidates = [scan.parent / f"{name}.json"]
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
