"""Scans of a store as shares: which are read together, by whichever engine, and how jobs of an array meet."""

from __future__ import annotations

import json
from pathlib import Path

from genebrain.brain.store.job import Record, ScanJob, ScanOptions, process, source_stamp
from genebrain.brain.store.journal import Journal, known_records
from genebrain.brain.store.scan_table import IMAGE_SUFFIXES
from genebrain.common.files import make_private
from genebrain.engines.run import current, run_shares
from genebrain.engines.share import Share, name_of

SMALL_FILE = 4 * 2**20  # bytes; a table below it is read in less time than a worker takes to start
MANY = 2_000
"""So many small tables are worth jobs of an array."""
TOGETHER = {"images": 4, "tables": 64}
"""Scans of a share that leaves this machine: seconds of work, so that a lost worker costs little."""


def process_block(options: ScanOptions, jobs: list[ScanJob]) -> list[Record]:
    """Read some scans; a StorageError ends all."""
    for prefix in {job.target.parent for job in jobs}:
        make_private(prefix)
    return [process(job, options) for job in jobs]


def read_by_jobs(listed: list[ScanJob], options: ScanOptions, folder: Path, *, progress: bool) -> None:
    """Read the shares of the scans that are this job's, for an engine whose jobs know nothing of each other.

    Raises
    ------
    Waiting
        Scans of other jobs are not there yet.
    """
    small = _small(listed, options)
    if small and len(listed) < MANY:
        return  # the job that comes first reads them all, sooner than the others could begin
    shares = _blocks(listed, options, TOGETHER["tables" if small else "images"])
    records = known_records(folder)
    known = {}
    for share in shares:
        found = [records.get(job.key) for job in share.arguments[0]]
        if all(
            r is not None and r["source"] == source_stamp(j) for r, j in zip(found, share.arguments[0], strict=True)
        ):
            known[share.key] = found
    for _ in run_shares(process_block, shares, folder, shared=options, what="scans", unit="scan", known=known,
                        progress=progress):  # fmt: skip
        pass


def read_scans(
    todo: list[ScanJob], options: ScanOptions, journal: Journal, *, jobs: int | None, progress: bool
) -> None:
    """Read scans with the engine in use and note each in the journal as soon as it is done.

    Raises
    ------
    StorageError
        The store cannot be written; the scans that were under way then are noted.
    FailedSharesError
        Workers were lost with some scans in their hands again and again; all others are noted.
    """
    small, engine = _small(todo, options), current()
    if jobs is None and engine.is_dask and not (small and len(todo) < MANY):
        shares = _blocks(todo, options, TOGETHER["tables" if small else "images"])
    else:
        shares, jobs = _blocks(todo, options, 1), jobs or engine.settings.workers
        jobs = 1 if len(todo) < 2 or small else jobs
    results = run_shares(
        process_block, shares, journal.folder, shared=options, what="scans", unit="scan", progress=progress,
        workers=jobs,
    )  # fmt: skip
    for _, records in results:
        for record in records:
            journal.add(record)


def _blocks(listed: list[ScanJob], options: ScanOptions, together: int) -> list[Share]:
    rules = json.dumps(options.describe(), sort_keys=True, default=str)
    limits = options.min_frames, options.min_seconds, options.keep_short
    shares = []
    for start in range(0, len(listed), together):
        block = listed[start : start + together]
        facts = [(job.key, source_stamp(job)) for job in block]
        shares.append(Share(name_of(rules, limits, facts), (block,), len(block)))
    return shares


def _small(todo: list[ScanJob], options: ScanOptions) -> bool:
    """Whether all are small tables of parcel series."""
    return not options.slow_tables and all(
        not job.path.name.endswith(IMAGE_SUFFIXES) and job.path.stat().st_size < SMALL_FILE
        for job in todo
        if job.path.is_file()
    )
