"""Time step of a scan from its JSON sidecars: the file beside the scan, then those above it (BIDS inheritance).

A sidecar that states no usable number is an error that names the file and the key. The error concerns one scan: who
reads many scans puts it into quarantine and goes on.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from genebrain.brain.folders.names import entities
from genebrain.brain.folders.time_steps import step_problem
from genebrain.common.types import UserError

KEY = "RepetitionTime"
LARGEST_BYTES = 16 * 2**20
LEVELS = 5
SETTLED_NS = 2_000_000_000  # a folder that was changed a moment ago may change again within one tick of the clock
_END = re.compile(r"(?:\.(?:dtseries|ptseries))?\.nii(?:\.gz)?$|(?<=_timeseries)\.(?:tsv|csv)$")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def sidecar_time_step(scan: Path) -> float:
    """Seconds between two frames as the nearest sidecar with ``RepetitionTime`` says; NaN: none has it.

    Raises
    ------
    UserError
        A sidecar that cannot be read, or whose value is no number; two that contradict each other on one level.
    """
    for level in _sidecars(scan):
        stated = {path: value for path in level if (value := read_time_step(path)) is not None}
        if len(set(stated.values())) > 1:
            both = " and ".join(f"{value:g} in {_shown(path)}" for path, value in stated.items())
            raise UserError(f"the json sidecars of one level contradict each other: {KEY} is {both}; mend one of them")
        if stated:
            return next(iter(stated.values()))
    return math.nan


def read_time_step(path: Path) -> float | None:
    """``RepetitionTime`` of one sidecar in seconds; None where it has no such key, or null.

    Raises
    ------
    UserError
        Not a JSON object, or the value is no number that can be a time step in seconds.
    """
    value = _content(path).get(KEY)
    if value is None:
        return None
    number = math.nan
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        number = float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) < 1e300 else math.inf
    if not math.isfinite(number):
        shown = json.dumps(value)
        raise UserError(
            f"the json sidecar {_shown(path)}: {KEY} is {shown[:40]}{'...' * (len(shown) > 40)}, "
            "expected a number of seconds"
        )
    if problem := step_problem(number):
        raise UserError(f"the json sidecar {_shown(path)}: {KEY} is {problem}")
    return number


def _content(path: Path) -> dict[str, Any]:
    """The object in a sidecar, whatever its text encoding: letters beyond ASCII stand in names and comments only."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError(f"it has {path.stat().st_size / 2**20:.0f} MB, at most {LARGEST_BYTES // 2**20} are read")
        raw = path.read_bytes()
        content = json.loads(raw.decode(json.detect_encoding(raw), errors="replace"), object_pairs_hook=_once)
    except (ValueError, RecursionError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"the json sidecar {_shown(path)} cannot be read: {why}") from error
    if not isinstance(content, dict):
        raise UserError(
            f"the json sidecar {_shown(path)} holds a {type(content).__name__}, expected {{...}} with {KEY}"
        )
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs; a time step that is stated twice is not chosen from."""
    if len({json.dumps(value) for key, value in pairs if key == KEY}) > 1:
        raise ValueError(f"{KEY} stands in it twice, with different values")
    return dict(pairs)


def _sidecars(scan: Path) -> list[list[Path]]:
    """Sidecars of a scan that exist, the most specific first; those in one list are equally specific."""
    stem = _END.sub("", scan.name)
    beside = [scan.with_name(re.sub(r"\.nii(?:\.gz)?$", "", scan.name) + ".json"), scan.with_name(f"{stem}.json")]
    levels = [[path] for path in dict.fromkeys(beside) if path.is_file()]
    if scan.parent.name == "rfMRI.ica":  # UK Biobank: beside the folder or in it
        levels += [[p] for p in (scan.parent.parent / "rfMRI.json", scan.parent / "rfMRI.json") if p.is_file()]
    own = entities(stem)
    if not own:
        return levels
    for folder in scan.parents[:LEVELS]:
        found: dict[int, list[Path]] = {}
        for name in _listed(folder):
            labels = entities(name)
            if labels.items() <= own.items() and (path := folder / name) not in beside and path.is_file():
                found.setdefault(len(labels), []).append(path)
        levels += [found[n] for n in sorted(found, reverse=True)]
        if (folder / "dataset_description.json").is_file():
            break  # the top of the data set: what lies above belongs to another one
    return levels


def _listed(folder: Path) -> tuple[str, ...]:
    """Names of the ``bold.json`` files of a folder."""
    try:
        changed = folder.stat().st_mtime_ns
        if time.time_ns() - changed < SETTLED_NS:
            return _bold_sidecars(str(folder))
        return _remembered(str(folder), changed)
    except OSError:
        return ()


@lru_cache(maxsize=64)
def _remembered(folder: str, changed: int) -> tuple[str, ...]:
    """Thousands of scans share the folders above them."""
    return _bold_sidecars(folder)


def _bold_sidecars(folder: str) -> tuple[str, ...]:
    return tuple(sorted(name for name in os.listdir(folder) if re.fullmatch(r"(?:[^.].*_)?bold\.json", name)))


def _shown(path: Path) -> str:
    """Name of a sidecar without the labels of the person and the session, which reports must not hold."""
    return "'" + re.sub(r"^.*(?:sub|ses)-[^_.]*_?", "..._", path.name).replace(".._.", "...") + "'"
