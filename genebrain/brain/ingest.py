"""Filling a scan store: every scan of the table is stored, too short, or in quarantine with a reason.

Contract: can be interrupted and run again, finished scans are not read twice; one damaged file never ends the
run, but a run in which nothing could be read is an error. Work is spread over scans, one process each:
decompression takes most of the time.

What it does NOT know: genomes, splits, what features are made of the scans.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from genebrain.brain.cleaning import Cleaning
from genebrain.brain.parcellation import Strategy
from genebrain.brain.scan_job import Record, ScanJob, ScanOptions, process
from genebrain.brain.scan_journal import Journal, array_path, claim_folder, scan_keys
from genebrain.brain.scan_reader import ReadingOptions
from genebrain.brain.scans import IMAGE_SUFFIXES
from genebrain.brain.words import counted, told
from genebrain.file_writing import make_private, write_private
from genebrain.types import UserError

SMALL_FILE = 4 * 2**20  # bytes; a table below it is read in less time than a worker takes to start


@dataclass(frozen=True)
class IngestReport:
    """What became of every scan of the table.

    Attributes
    ----------
    n_scans, n_stored, n_reused
        Rows of the table, scans in the store now, and how many of those an earlier run had finished.
    quarantine, short
        Scans that failed, and scans left out as too short: ``{"row": row of the table, "key", "reason"}``.
    time_steps
        Seconds (or "unknown") -> number of scans. More than one entry: frames of different scans are not the
        same length.
    shape, n_parcels
        Of a stored frame; its width when the store holds parcels, else 0.
    n_with_invalid_parcels, n_with_gaps
        Stored scans with at least one invalid parcel; stored scans with frames dropped.
    n_frames, n_dropped
        Frames of the recordings of stored scans, and how many of them were dropped.
    notes
        What was done that a reader should know -> number of scans.
    """

    n_scans: int
    n_stored: int
    n_reused: int
    quarantine: list[dict[str, Any]]
    short: list[dict[str, Any]]
    time_steps: dict[str, int]
    n_parcels: int
    n_with_invalid_parcels: int
    n_with_gaps: int
    n_frames: int = 0
    n_dropped: int = 0
    shape: list[int] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """JSON-ready counts without rows and keys, for aggregate reports."""
        counts = asdict(self) | {"mixed_time_steps": len(self.time_steps) > 1}
        for name, entries in (("quarantine", self.quarantine), ("short", self.short)):
            counts[name] = {"n": len(entries), "reasons": _reasons(entries)}
        return counts


def ingest_scans(
    table: pd.DataFrame,
    out_folder: Path | str,
    *,
    atlas: Path | str | None = None,
    cleaning: Cleaning | None = None,
    strategy: Strategy = "mean",
    use_masks: bool = False,
    largest_loss: float = 0.05,
    min_frames: int = 30,
    min_seconds: float = 0.0,
    short: Literal["error", "skip", "keep"] = "error",
    jobs: int = 2,
    progress: bool = True,
) -> IngestReport:
    """Read every scan of a table into a store.

    Parameters
    ----------
    table
        As :func:`genebrain.brain.scans.read_scan_table` returns it.
    out_folder
        Made if it does not exist. May hold an interrupted or an older ingest with the same settings.
    atlas
        Label image; needed as soon as the table lists images.
    cleaning, strategy, use_masks, largest_loss
        See :class:`~genebrain.brain.cleaning.Cleaning` and :class:`~genebrain.brain.parcellation.Atlas`.
    min_frames, min_seconds, short
        A scan below either limit is an error at the end, left out and reported, or kept.
    jobs
        Worker processes. Small tables of parcel series are read in this process.
    progress
        Whether to show a bar with rate and time left.

    Raises
    ------
    UserError
        See :func:`fill_store`.
    """
    options = ReadingOptions(
        atlas=None if atlas is None else Path(atlas),
        strategy=strategy,
        largest_loss=largest_loss,
        use_masks=use_masks,
        cleaning=cleaning or Cleaning(),
        min_frames=min_frames,
        min_seconds=min_seconds,
    )
    return fill_store(table, out_folder, options, short=short, jobs=jobs, progress=progress)


def fill_store(
    table: pd.DataFrame,
    out_folder: Path | str,
    options: ScanOptions,
    *,
    short: Literal["error", "skip", "keep"] = "error",
    jobs: int = 2,
    progress: bool = True,
) -> IngestReport:
    """Read every scan of a table into a store of parcel series or of volumes.

    Parameters
    ----------
    table, out_folder, short, jobs, progress
        See :func:`ingest_scans`.
    options
        :class:`~genebrain.brain.scan_reader.ReadingOptions` for parcels,
        :class:`~genebrain.brain.volume_reader.VolumeOptions` for volumes.

    Raises
    ------
    UserError
        No scan can be used; short scans with ``short="error"``; other settings than the folder was made with;
        two scans that cannot be told apart; no shape that most scans share.
    """
    if short not in ("error", "skip", "keep"):
        raise ValueError(f"short must be error, skip or keep, got {short!r}")
    folder = Path(out_folder)
    make_private(folder)
    options = replace(options, keep_short=short == "keep")
    options.check()
    settings = options.describe()
    claim_folder(folder, settings)
    keys = scan_keys(folder, table, create=True)
    with Journal(folder) as journal:
        listed = [
            ScanJob(key, Path(row["path"]), array_path(folder, key), row["tr"], row["mask"], row["confounds"])
            for key, row in zip(keys, table.to_dict("records"), strict=True)
        ]
        todo = [job for job in listed if not journal.done(job, options)]
        for prefix in {job.key[:2] for job in todo}:
            make_private(folder / prefix)
        results = _processed(todo, options, jobs)
        for record in tqdm(results, total=len(todo), desc="scans", unit="scan", disable=not (progress and todo)):
            journal.add(record)
        records = [journal.records[key] for key in keys]
        _quarantine_odd_shapes(records)
        report = _report(records, n_reused=len(keys) - len(todo))
        if not report.n_stored and not (report.short and short == "error"):
            reasons = told(_reasons(report.quarantine + report.short))
            raise UserError(f"none of {counted(len(keys), 'scan')} can be used: {reasons}{_longest(records)}")
        if report.short and short == "error":
            raise UserError(
                f"{len(report.short)} of {counted(len(keys), 'scan')}: too short ({told(_reasons(report.short))}), "
                f"the shortest has {min(r['n_frames'] for r in records if r['status'] == 'short')} frames; "
                "leave them out with short=skip, or keep them with short=keep"
            )
        journal.complete()
    write_private(folder / "provenance.json", _provenance(settings, report))
    return report


def _processed(todo: list[ScanJob], options: ScanOptions, jobs: int) -> Iterable[Record]:
    """Records in the order in which scans are done."""
    small = all(
        not job.path.name.endswith(IMAGE_SUFFIXES) and job.path.stat().st_size < SMALL_FILE
        for job in todo
        if job.path.is_file()
    )
    if jobs == 1 or len(todo) < 2 or (small and not options.slow_tables):
        return (process(job, options) for job in todo)
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered")
    return pool(delayed(process)(job, options) for job in todo)


def _quarantine_odd_shapes(records: list[Record]) -> None:
    """All frames of a store have one shape; scans that differ from most are failed, with both shapes."""
    shapes = Counter(_named(record["shape"]) for record in records if record["status"] == "stored")
    if len(shapes) < 2:
        return
    (common, n), (_, second) = shapes.most_common(2)
    if n == second:
        raise UserError(f"scans have different shapes, and none is the commonest: {dict(shapes)}")
    for record in records:
        if record["status"] == "stored" and (own := _named(record["shape"])) != common:
            record["status"] = "failed"
            record["reason"] = f"{own}, most scans have {common}"


def _named(shape: list[int]) -> str:
    """``424 parcels`` or ``96 x 96 x 96 voxels``."""
    return " x ".join(map(str, shape)) + (" parcels" if len(shape) == 1 else " voxels")


def _report(records: list[Record], n_reused: int) -> IngestReport:
    stored = [record for record in records if record["status"] == "stored"]
    by_status = {
        status: [
            {"row": row, "key": record["key"], "reason": record["reason"]}
            for row, record in enumerate(records)
            if record["status"] == status
        ]
        for status in ("failed", "short")
    }
    steps = Counter("unknown" if record["tr"] is None else f"{record['tr']:g}" for record in stored)
    return IngestReport(
        n_scans=len(records),
        n_stored=len(stored),
        n_reused=n_reused,
        quarantine=by_status["failed"],
        short=by_status["short"],
        time_steps=dict(steps.most_common()),
        n_parcels=stored[0].get("n_parcels", 0) if stored else 0,
        n_with_invalid_parcels=sum(bool(record.get("invalid")) for record in stored),
        n_with_gaps=sum(bool(record["dropped"]) for record in stored),
        n_frames=sum(record["recorded"] for record in stored),
        n_dropped=sum(len(record["dropped"]) for record in stored),
        shape=stored[0]["shape"] if stored else [],
        notes=dict(Counter(note for record in stored for note in record.get("notes", ()))),
    )


def dropped_frames(summary: Mapping[str, Any]) -> str | None:
    """How many frames of a :meth:`~IngestReport.summary` were dropped, in words; None: none."""
    if not summary["n_dropped"]:
        return None
    return (
        f"left out: {summary['n_dropped']:,} of {counted(summary['n_frames'], 'frame')}, in "
        f"{summary['n_with_gaps']:,} of {counted(summary['n_stored'], 'scan')} (cleaning, or no values); no window "
        "crosses a gap"
    )


def _reasons(entries: list[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(entry["reason"] for entry in entries).most_common(5))


def _longest(records: list[Record]) -> str:
    """What is known about scans that are too short, for an error."""
    frames = [record["n_frames"] for record in records if record["status"] == "short"]
    return f" (the longest has {max(frames)} frames; brain.min_frames is the limit)" if frames else ""


def _provenance(settings: dict[str, Any], report: IngestReport) -> bytes:
    packages = {name: version(name) for name in ("genebrain", "numpy", "nibabel", "nilearn", "scipy")}
    content = {"settings": settings, "report": report.summary(), "packages": packages}
    return json.dumps(content, indent=1, default=str).encode()
