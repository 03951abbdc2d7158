"""One stage of the work with its time and disk, and the table of all stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """A stage of the work.

    Attributes
    ----------
    name : str
    core_seconds : float, optional
        Of one core like those of this machine; None: nobody knows, ``basis`` says why.
    shared : bool
        Whether workers share it out; else it runs on one machine.
    disk : float
        Bytes that it leaves in the store or the run.
    basis : str
        What the numbers come from.
    """

    name: str
    core_seconds: float | None
    shared: bool
    disk: float
    basis: str

    def seconds(self, cores: int) -> float:
        """On so many cores, 0 where nobody knows; what is not shared out took two cores when it was measured."""
        if self.core_seconds is None:
            return 0.0
        return self.core_seconds / (cores if self.shared else min(cores, 2))


def summary(stages: Sequence[Stage], cores: int, workers: int | None) -> dict[str, Any]:
    """Hours of every stage here and on workers, disk, and which stage dominates; JSON-ready."""
    rows = [
        {
            "stage": stage.name,
            "hours_here": None if stage.core_seconds is None else stage.seconds(cores) / 3600,
            "hours_on_workers": None
            if stage.core_seconds is None or workers is None
            else stage.seconds(workers if stage.shared else cores) / 3600,
            "disk_gb": stage.disk / 1e9,
            "basis": stage.basis,
        }
        for stage in stages
    ]
    longest = max(stages, key=lambda stage: stage.seconds(cores), default=None)
    return {
        "cores": cores,
        "workers": workers,
        "stages": rows,
        "hours_here": sum(row["hours_here"] or 0.0 for row in rows),
        "hours_on_workers": None if workers is None else sum(row["hours_on_workers"] or 0.0 for row in rows),
        "disk_gb": sum(row["disk_gb"] for row in rows),
        "dominating": None if longest is None else longest.name,
        "unknown": [stage.name for stage in stages if stage.core_seconds is None],
    }


def table(costs: dict[str, Any]) -> str:
    """The same as lines for people."""
    workers = costs["workers"]
    head = ["stage", f"here ({costs['cores']} cores)", *([f"{workers} workers"] if workers else []), "disk", "from"]
    rows = [head]
    for row in costs["stages"]:
        times = [_time(row["hours_here"]), *([_time(row["hours_on_workers"])] if workers else [])]
        rows.append([row["stage"], *times, _size(row["disk_gb"]), row["basis"]])
    totals = [_time(costs["hours_here"]), *([_time(costs["hours_on_workers"])] if workers else [])]
    rows.append(["all", *totals, _size(costs["disk_gb"]), ""])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if costs["dominating"] is not None and costs["hours_here"]:
        share = next(r["hours_here"] for r in costs["stages"] if r["stage"] == costs["dominating"])
        lines.append(f"most of it: {costs['dominating']} ({share / costs['hours_here']:.0%} of the time here)")
    if costs["unknown"]:
        lines.append(f"not in the sums: {', '.join(costs['unknown'])}")
    return "\n".join(lines)


def _time(hours: float | None) -> str:
    if hours is None:
        return "?"
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:,.1f} h"


def _size(gigabytes: float) -> str:
    return f"{gigabytes * 1000:.0f} MB" if gigabytes < 1 else f"{gigabytes:,.1f} GB"
