"""Filling a scan store: every scan of the table is stored, too short, or in quarantine with a reason.

Can be interrupted and run again, finished scans are not read twice; one damaged file never ends the run, but a run
in which nothing could be read is an error. A store that cannot be written (a full disk) ends the run: that is no
fault of the scan that was read then. Work is spread over scans (``spread.py``): decompression takes most of the time.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from genebrain.brain.store.job import Record, ScanJob, ScanOptions
from genebrain.brain.store.journal import Journal, array_path, claim_folder, scan_keys
from genebrain.brain.store.parcel_names import quarantine_other_names
from genebrain.brain.store.report import IngestReport, commonest_reasons, lasting, report_of
from genebrain.brain.store.spread import read_by_jobs, read_scans
from genebrain.common.alone import waiting_for
from genebrain.common.files import StorageError, make_private, write_private
from genebrain.common.types import UserError
from genebrain.common.words import counted, told
from genebrain.engines.run import CLAIMS, Engine, current


def fill_store(
    table: pd.DataFrame,
    out_folder: Path | str,
    options: ScanOptions,
    *,
    short: Literal["error", "skip", "keep"] = "error",
    jobs: int | None = None,
    progress: bool = True,
) -> IngestReport:
    """Read every scan of a table into a store of parcel series or of volumes.

    Parameters
    ----------
    table
        As :func:`genebrain.brain.store.scan_table.read_scan_table` returns it.
    out_folder
        Made if it does not exist. May hold an interrupted or an older ingest with the same settings.
    short
        A scan below the limits of ``options`` is an error at the end, left out and reported, or kept.
    jobs
        Worker processes of this machine; by default the engine in use reads (:mod:`genebrain.engines`). Small tables of
        parcel series are read in this process.
    progress
        Whether to show a bar with rate and time left.
    options
        :class:`~genebrain.brain.store.read_parcels.ReadingOptions` for parcels,
        :class:`~genebrain.brain.store.read_volumes.VolumeOptions` for volumes.

    Raises
    ------
    UserError
        No scan can be used; short scans with ``short="error"``; other settings than the folder was made with;
        two scans that cannot be told apart; no shape that most scans share.
    StorageError
        The store cannot be written. What was stored before is kept, and the same call goes on with the others.
    """
    if short not in ("error", "skip", "keep"):
        raise ValueError(f"short must be error, skip or keep, got {short!r}")
    folder = Path(out_folder)
    make_private(folder)
    options = replace(options, keep_short=short == "keep")
    options.check(table)
    settings = options.describe()
    engine = current()
    with _one_of_many(folder, engine):  # jobs of an array start at the same moment
        claim_folder(folder, settings)
        keys = scan_keys(folder, table, create=True)
    listed = [
        ScanJob(key, Path(row["path"]), array_path(folder, key), row["tr"], row["mask"], row["confounds"])
        for key, row in zip(keys, table.to_dict("records"), strict=True)
    ]
    with ExitStack() as held:
        if engine.is_array:
            read_by_jobs(listed, options, folder, progress=progress)
            held.enter_context(_one_of_many(folder, engine))
            jobs = engine.settings.workers
        journal = held.enter_context(Journal(folder))
        todo = [job for job in listed if not journal.done(job, options)]
        try:
            read_scans(todo, options, journal, jobs=jobs, progress=progress)
        except StorageError as error:
            n_done = sum(journal.done(job, options) for job in listed)
            raise StorageError(
                f"{error}. {n_done} of {counted(len(listed), 'scan')} are stored in {folder}; the same command goes "
                "on with the others"
            ) from error
        records = [journal.records[key] for key in keys]
        _quarantine_odd_shapes(records)
        quarantine_other_names(records)
        report = report_of(records, n_reused=len(keys) - len(todo))
        if not report.n_stored and not (report.short and short == "error"):
            reasons = told(commonest_reasons(report.quarantine + report.short))
            raise UserError(f"none of {counted(len(keys), 'scan')} can be used: {reasons}{_longest(records)}")
        if report.short and short == "error":
            reasons = told(commonest_reasons(report.short))
            raise UserError(
                f"{len(report.short)} of {counted(len(keys), 'scan')}: too short ({reasons}), "
                f"the shortest has {min(r['n_frames'] for r in records if r['status'] == 'short')} frames; "
                "leave them out with short=skip, or keep them with short=keep"
            )
        journal.complete()
    if not engine.is_array:  # other jobs still look there
        shutil.rmtree(folder / CLAIMS, ignore_errors=True)
    write_private(folder / "provenance.json", _provenance(settings, report))
    return report


def _one_of_many(folder: Path, engine: Engine) -> AbstractContextManager[None]:
    """Alone among the jobs of an array; of any other engine there is one process."""
    words = f"another job is at {folder}; waiting for it"
    return waiting_for(folder / ".jobs.lock", words) if engine.is_array else nullcontext()


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


def _longest(records: list[Record]) -> str:
    """What is known about scans that are too short, for an error."""
    frames = [record["n_frames"] for record in records if record["status"] == "short"]
    return f" (the longest has {max(frames)} frames; brain.min_frames is the limit)" if frames else ""


def _provenance(settings: dict[str, Any], report: IngestReport) -> bytes:
    packages = {name: version(name) for name in ("genebrain", "numpy", "nibabel", "nilearn", "scipy")}
    content = {"settings": settings, "report": lasting(report.summary()), "packages": packages}
    return json.dumps(content, indent=1, default=str).encode()
