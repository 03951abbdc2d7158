"""Checks of scans before any work: readable to the end, long enough, one time step, real numbers.

Every header is read; the values of an evenly spaced sample (or of all) are read to the end, in bounded memory. Says
what it found, drops nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from tqdm import tqdm

from genebrain.brain.encoders.preflight import parcels_problem
from genebrain.brain.images.cifti_files import is_parcel_series, is_series, open_series
from genebrain.brain.images.image_files import load_image
from genebrain.brain.parcels.centres import read_centres
from genebrain.brain.parcels.series import read_parcel_table, series_shape, usable_part
from genebrain.brain.store.scan_table import repetition_time
from genebrain.cohort.tables.problems import Problems, named
from genebrain.common.types import UserError
from genebrain.common.words import no_bar

SHORT_SECONDS = 240.0
BLOCK_BYTES = 1 << 22
UNREADABLE = (UserError, OSError, ValueError, EOFError, zlib.error)
LEFT_OUT = "; a run leaves out people without a usable scan, and counts them"


@dataclass
class _Findings:
    """Scans (file names) by what is wrong with them, and what is needed to compare scans with each other."""

    unreadable: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unknown_step: list[str] = field(default_factory=list)
    time_step: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    short: list[str] = field(default_factory=list)
    flawed: list[str] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)
    n_flawed_parcels: int = 0
    steps: dict[float, int] = field(default_factory=lambda: defaultdict(int))
    shapes: Counter[tuple[int, int]] = field(default_factory=Counter)
    contents: dict[bytes, set[str]] = field(default_factory=lambda: defaultdict(set))


def check_scans(
    scans: pd.DataFrame,
    problems: Problems,
    *,
    most: int | None = 50,
    needs_time_step: bool = False,
    centres: Path | None = None,
    progress: bool = False,
) -> dict[str, int]:
    """Add the problems of ``scans`` to ``problems``.

    Parameters
    ----------
    scans : DataFrame
        Columns ``participant_id``, ``session``, ``path`` and ``tr`` (seconds).
    most : int or None
        How many scans are read to the end, evenly spaced over the table; None reads all.
    needs_time_step : bool
        Whether what will read the scans must know their time step: unknown ones are then an error, not a warning.
    centres : Path, optional
        Table of the centres of the parcels: tables of series must have a column for each of its rows.

    Returns
    -------
    dict
        ``headers`` and ``values``: how many scans were looked at.
    """
    scans = scans[[Path(path).is_file() for path in scans["path"]]]
    n = len(scans)
    n_read = n if most is None else min(most, n)
    read = set(np.linspace(0, n - 1, n_read).astype(int)) if n_read else set()
    found = _Findings()
    rows = zip(scans["path"], scans["tr"], scans["participant_id"], strict=True)
    for row, (path, step, person) in enumerate(tqdm(rows, "scans", n, unit="scan", disable=no_bar(progress))):
        try:
            _look(Path(path), float(step), str(person), row in read, found)
        except UNREADABLE as error:
            found.unreadable[str(error)].append(Path(path).name)
    _report(found, n, n_read, problems)
    if centres is not None:
        _report_centres(found, centres, problems)
    _report_unknown_steps(found, n, needs_time_step, problems)
    visits = scans.groupby(["participant_id", "session"]).size()
    if (repeated := visits[visits > 1]).size:
        problems.warning(
            "one visit twice",
            f"{repeated.size} participants have several scans under one session: "
            f"{named(person for person, _ in repeated.index)}; they count as repeat scans of one person",
            visits=repeated.size,
        )
    return {"headers": n, "values": n_read}


def _look(path: Path, step: float, person: str, read_values: bool, found: _Findings) -> None:
    """Record what one scan shows; raises when not even its header can be read."""
    image, n_frames, whole = _opened(path, person, found)
    if read_values and not whole:
        try:
            if image is None:
                _read_series(path, person, found)
            elif _non_finite_values(path, image):
                found.not_finite.append(path.name)
        except UNREADABLE as error:
            found.broken[str(error)].append(path.name)
    try:
        seconds = repetition_time(path, None if image is None else image.header, step)
    except UserError as error:
        found.time_step[str(error)].append(path.name)
        return
    if np.isnan(seconds):
        found.unknown_step.append(path.name)
        return
    found.steps[round(seconds, 4)] += 1
    if n_frames * seconds < SHORT_SECONDS:
        found.short.append(path.name)


def _opened(path: Path, person: str, found: _Findings) -> tuple[Any, int, bool]:
    """Image of a scan, where it is one, its frames, and whether its values were all read."""
    if path.name.endswith((".nii", ".nii.gz")):
        if is_series(path):
            matrix = open_series(path)
            n_frames = matrix.image.shape[matrix.kinds.index("SERIES")]
            if is_parcel_series(path):
                found.shapes[n_frames, matrix.image.shape[matrix.kinds.index("PARCELS")]] += 1
            return matrix.image, n_frames, False
        image = load_image(path)
        if len(image.shape) != 4 or image.shape[3] < 2:
            raise UserError(f"not a series of volumes [x, y, z, time] but {len(image.shape)}-dimensional")
        return image, image.shape[3], False
    table = path.suffix != ".npy"  # of text, which has no header: all of them are read
    n_frames, width = _read_series(path, person, found) if table else series_shape(path)
    found.shapes[n_frames, width] += 1
    return None, n_frames, table


def _read_series(path: Path, person: str, found: _Findings) -> tuple[int, int]:
    """Values of a table of parcel series: whose they are, and which parcels say nothing; frames and parcels."""
    series = read_parcel_table(path)
    found.contents[hashlib.blake2b(series.tobytes(), digest_size=16).digest()].add(person)
    flawed = series.shape[1] - int(usable_part(series).valid.sum())
    if flawed:
        found.flawed.append(path.name)
        found.n_flawed_parcels += flawed
    return series.shape[0], series.shape[1]


def _non_finite_values(path: Path, image: nib.Nifti1Image) -> int:
    """Read volumes to the end in bounded memory and count what is not finite; raises when the file ends early."""
    dtype = image.get_data_dtype()
    expected = int(np.prod(image.shape)) * dtype.itemsize
    n_bytes = 0
    bad = 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        stream.read(int(image.dataobj.offset))
        while block := stream.read(BLOCK_BYTES):
            n_bytes += len(block)
            if dtype.kind == "f" and len(block) % dtype.itemsize == 0:
                bad += int((~np.isfinite(np.frombuffer(block, dtype))).sum())
    if n_bytes < expected:
        raise UserError(f"the file ends early: {n_bytes} of {expected} bytes of data")
    return bad


def _report_unknown_steps(found: _Findings, n: int, needed: bool, problems: Problems) -> None:
    if not found.unknown_step:
        return
    count = len(found.unknown_step)
    text = (
        f"{count} of {n} scans have no known time step ({named(found.unknown_step)}): state `tr` (seconds) in the scan "
    )
    if needed:
        problems.error("time step", text + "table; the chosen brain side needs it", scans=count, of=n)
    else:
        more = (
            "table. The connectome and encoders with random weights do without; trained encoders that have a time step "
            "of their own, windows in seconds and a band-pass need it"
        )
        problems.warning("time step", text + more, scans=count, of=n)


def _report_centres(found: _Findings, centres: Path, problems: Problems) -> None:
    try:
        rows = len(read_centres(centres))
    except UserError as error:
        problems.error("parcel coordinates", str(error))
        return
    if text := parcels_problem(found.shapes, rows, centres.name):
        problems.error("parcel coordinates", text, rows=rows)


def _grouped(groups: dict[str, list[str]]) -> tuple[int, str]:
    """How many files, and the reasons with a few names each."""
    reasons = named(f"{reason} [{len(files)}: {named(files)}]" for reason, files in groups.items())
    return sum(map(len, groups.values())), reasons


def _report(found: _Findings, n: int, n_read: int, problems: Problems) -> None:
    if found.unreadable:
        count, reasons = _grouped(found.unreadable)
        add = problems.error if count == n else problems.warning
        add("unreadable scans", f"{count} of {n} scans cannot be used: {reasons}{LEFT_OUT}", scans=count, of=n)
    if found.broken:
        count, reasons = _grouped(found.broken)
        others = f"; of the {n - n_read} others only the header was read (most_scans=null reads all)"
        text = f"{count} of the {n_read} scans that were read to the end cannot be used: {reasons}{LEFT_OUT}"
        add = problems.error if count == n_read else problems.warning
        add("unreadable values", text + others * (n > n_read), scans=count, of=n_read)
    if found.time_step:
        count, reasons = _grouped(found.time_step)
        problems.error("time step", f"{count} of {n} scans have no usable time step: {reasons}", scans=count, of=n)
    widths: Counter[int] = Counter()
    for (_, width), count in found.shapes.items():
        widths[width] += count
    if len(widths) > 1:
        counts = ", ".join(f"{width} parcels in {count}" for width, count in sorted(widths.items()))
        problems.error("parcels differ", f"scans have different numbers of parcels: {counts}", widths=len(widths))
    twice = [people for people in found.contents.values() if len(people) > 1]
    if twice:
        problems.error(
            "one scan, several people",
            f"{sum(map(len, twice))} people share {len(twice)} scan(s) that have exactly the same values: "
            f"{named('='.join(sorted(people)[:3]) for people in twice)}",
            people=sum(map(len, twice)),
            scans=len(twice),
        )
    if len(found.steps) > 1:
        counts = ", ".join(f"{step:g} s in {count}" for step, count in sorted(found.steps.items())[:5])
        problems.warning(
            "mixed time steps",
            f"scans have {len(found.steps)} different time steps ({counts}); features that compare neighbouring "
            "frames would differ by scanner, so resample to one step or stratify by it",
            steps=len(found.steps),
        )
    if found.short:
        problems.warning(
            "short scans",
            f"{len(found.short)} of {n} scans are shorter than {SHORT_SECONDS / 60:g} minutes ({named(found.short)}); "
            "connectivity from so few frames is unreliable",
            scans=len(found.short),
            of=n,
        )
    if found.not_finite:
        problems.warning(
            "non-finite voxels",
            f"{len(found.not_finite)} of {n_read} scans read to the end have voxels that are not finite "
            f"({named(found.not_finite)}); parcels are averaged over the others",
            scans=len(found.not_finite),
        )
    if found.flawed:
        problems.warning(
            "flawed parcels",
            f"{len(found.flawed)} of {n_read} scans read to the end have constant or non-finite parcels "
            f"({found.n_flawed_parcels} in all; {named(found.flawed)}); those parcels are masked",
            scans=len(found.flawed),
            parcels=found.n_flawed_parcels,
        )
