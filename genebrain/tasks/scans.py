"""Verbs of scans alone: embed-scans, convert-scan-encoder, scan-report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from genebrain.brain.images.cleaning import Cleaning
from genebrain.common.types import Metrics, UserError
from genebrain.common.words import counted
from genebrain.engines.settings import EngineSettings
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.scans import BrainSide


def embed_scans(
    input: Path | str,
    out: Path | str,
    brain: BrainSide | None = None,
    atlas: Path | str | None = None,
    parcel_coordinates: Path | str | None = None,
    space: str | None = None,
    task: str | None = None,
    choose: str | None = None,
    cleaning: Cleaning | None = None,
    report: bool = False,
    unreadable: Literal["error", "skip"] = "error",
    progress: bool = True,
    shard: str | None = None,
    engine: EngineSettings | None = None,
) -> Metrics:
    """Embed a folder or table of scans; see :func:`genebrain.runs.embed_scans.embed_scans`.

    ``shard`` (``3/64``, ``next``, ``auto``) reads and embeds that share of the scans; when all are stored, the same
    call without it writes the vectors.

    Raises
    ------
    UserError
        Scans that cannot be read, unless ``unreadable="skip"``: when all others are embedded and written, so that a
        broken file costs no work and no script takes a part for the whole.
    """
    from genebrain.brain.store.report import worth_telling
    from genebrain.engines.run import using
    from genebrain.engines.shard import Shard
    from genebrain.engines.share import Waiting
    from genebrain.runs.embed_scans import ScanSource
    from genebrain.runs.embed_scans import embed_scans as embed

    if unreadable not in ("error", "skip"):
        raise UserError(f"unreadable={unreadable} is none of error, skip")
    for option, usual in (("aggregate", "mean"), ("positives", "people"), ("tuning", "frozen")):
        if (value := getattr(brain, option, usual)) != usual:
            print(f"note: brain.{option}={value} changes nothing here: rows are plain means over windows")
    source = ScanSource(
        Path(input), _path(atlas), _path(parcel_coordinates), space, task, choose, cleaning or Cleaning()
    )
    share = Shard.parse(shard)
    with using(engine, share):
        try:
            counts = embed(source, brain or ConnectomeSide(), Path(out), report_page=report, progress=progress)
        except Waiting as others:
            print(others)
            return {"waits_for": str(others)}
    if share.partial:
        print(f"all shares are stored; the same command without shard writes the vectors into {out}")
        return counts
    done = counts["embedded"]
    print(
        f"embedded {counted(done['windows'], 'window')} of {counted(done['scans'], 'scan')} of "
        f"{counted(done['subjects'], 'subject')}, {done['width']} numbers each: {out}"
    )
    if report:
        print(f"look at the scans first: {Path(out) / 'scans.html'}")
    for words in worth_telling(counts):
        print(words)
    for reason, n in done["left_out"].items():
        print(f"left out: {counted(n, 'scan')} ({reason})")
    broken = counts["quarantine"]["n"]
    if broken and unreadable == "error":
        raise UserError(
            f"{broken} of {counted(counts['n_scans'], 'scan')} could not be read (reasons above, rows in "
            f"{Path(out) / 'index.tsv'}); the others are embedded and complete. Mend or replace the broken files and "
            "run the same command again, or accept the loss with unreadable=skip"
        )
    return counts


def convert_scan_encoder(path: Path | str, encoder: str, out: Path | str) -> Path:
    """Check published weights of a scan encoder and write them as safetensors with their sizes."""
    from genebrain.brain.encoders.files import convert

    folder, facts = convert(Path(path), encoder, Path(out))
    print(json.dumps(facts, indent=1))
    print(f"wrote {folder}; use it with: brain={facts['encoder']} brain.path={folder}")
    return folder


def _path(value: Any) -> Path | None:
    return None if value is None else Path(value)


def scan_report(
    store: Path | str,
    input: Path | str | None = None,
    atlas: Path | str | None = None,
    out: Path | str | None = None,
    space: str | None = None,
    task: str | None = None,
    choose: str | None = None,
    n_carpets: int = 3,
) -> Path:
    """Write one page about the scans of a store; see :mod:`genebrain.brain.quality.page`.

    Returns
    -------
    Path
        The page; beside the store by default.
    """
    from genebrain.brain.quality.page import write_scan_report
    from genebrain.brain.store.scan_table import read_scan_table

    folder = Path(store)
    table = None if input is None else read_scan_table(input, space=space, task=task, choose=choose)
    page = Path(out) if out is not None else folder.parent / f"{folder.name}.html"
    path = write_scan_report(folder, page, table=table, atlas=atlas, n_carpets=n_carpets)
    print(f"wrote {path}")
    return path
