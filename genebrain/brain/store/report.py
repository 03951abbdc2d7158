"""Report of an ingest: counts and reasons, to print and to keep.

Made of the records of a store; a summary names neither rows nor keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from genebrain.brain.store.job import Record
from genebrain.common.words import counted


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
    n_copies
        Stored scans that hold the very numbers of another one.
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
    n_copies: int = 0
    shape: list[int] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """JSON-ready counts without rows and keys, for aggregate reports."""
        counts = asdict(self) | {"mixed_time_steps": len(self.time_steps) > 1}
        for name, entries in (("quarantine", self.quarantine), ("short", self.short)):
            counts[name] = {"n": len(entries), "reasons": commonest_reasons(entries)}
        return counts


def report_of(records: list[Record], n_reused: int) -> IngestReport:
    """The report of a store that holds these records, in the order of its scan table."""
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
        n_copies=len(stored) - len({record["sha256"] for record in stored}),
        shape=stored[0]["shape"] if stored else [],
        notes=dict(Counter(note for record in stored for note in record.get("notes", ()))),
    )


def worth_telling(summary: Mapping[str, Any]) -> list[str]:
    """What a reader of a :meth:`~IngestReport.summary` must know, in words: dropped frames, copies."""
    found, scans = [], counted(summary["n_stored"], "scan")
    if summary["n_dropped"]:
        found.append(
            f"left out: {summary['n_dropped']:,} of {counted(summary['n_frames'], 'frame')}, in "
            f"{summary['n_with_gaps']:,} of {scans} (cleaning, or not measured); no window crosses a gap"
        )
    if summary["n_copies"]:
        found.append(
            f"{summary['n_copies']:,} of {scans} hold the very numbers of another one: is a file there under two names?"
        )
    return found


def lasting(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What of a :meth:`~IngestReport.summary` is the same whether or not the work was once interrupted."""
    return {name: value for name, value in summary.items() if name != "n_reused"}


def commonest_reasons(entries: list[dict[str, Any]]) -> dict[str, int]:
    """The five commonest reasons -> number of scans."""
    return dict(Counter(entry["reason"] for entry in entries).most_common(5))
