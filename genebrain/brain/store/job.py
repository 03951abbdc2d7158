"""Job of one scan of a store: its file, the options of reading, and the record of the outcome.

:func:`process` never raises for a bad scan; it returns a record that says ``stored``, ``short`` or ``failed`` with
the reason, so that one damaged file does not end an ingest of ten thousand. Reasons hold no file names (they contain
ids). A store that cannot be written is no fault of a scan: it ends the ingest.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from genebrain.brain.images.motion import motion_facts
from genebrain.common.files import StorageError
from genebrain.common.types import UserError

Record = dict[str, Any]
"""JSON-ready facts about one scan; ``status`` is ``stored``, ``short`` or ``failed``."""

LONGEST_S = 3 * 3600.0
"""Nobody lies in a scanner for three hours: a longer recording has a wrong time step."""
NOT_STATED = re.compile(r"\W*n/a\W*", re.IGNORECASE)
"""The word of BIDS tables for no value, which is no path."""
LIMITS = ("min_frames", "min_seconds", "keep_short")


@dataclass(frozen=True)
class ScanJob:
    """One row of the scan table, with the key it gets and the file it goes to."""

    key: str
    path: Path
    target: Path
    tr: float = math.nan
    mask: Path | None = None
    confounds: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ScanOptions(ABC):
    """How every scan of a store is read; part of the store's provenance.

    Attributes
    ----------
    min_frames, min_seconds, keep_short
        A scan below either limit is short, unless short ones are kept.
    """

    min_frames: int = 30
    min_seconds: float = 0.0
    keep_short: bool = False

    @abstractmethod
    def read(self, job: ScanJob) -> Record:
        """Read one scan, write it to ``job.target``, and say what became of it; raises for a bad scan."""

    def check(self, table: pd.DataFrame) -> None:
        """Raise a UserError, before any scan is read, for what its table and these settings tell already."""
        return

    def describe(self) -> dict[str, Any]:
        """What must agree between two runs into one folder, JSON-ready; the limits on length may be changed."""
        return {name: value for name, value in asdict(self).items() if name not in LIMITS}

    @property
    def slow_tables(self) -> bool:
        """Whether even a small table of parcel series is worth a process of its own."""
        return False

    def too_short(self, n_frames: int, tr: float, when: str = "") -> str | None:
        """Why a scan is too short (None: it is not).

        Raises
        ------
        UserError
            A duration cannot be judged because the time step is unknown, or is longer than any scan.
        """
        if n_frames * tr > LONGEST_S:
            raise UserError(
                f"{n_frames} frames of {tr:g} s would be {n_frames * tr / 3600:.1f} hours: the time step is wrong; "
                "state tr (seconds) in the scan table"
            )
        if self.min_seconds > 0 and math.isnan(tr):
            raise UserError("the time step is unknown, but a shortest duration is asked for: add tr to the table")
        if self.keep_short:
            return None
        if n_frames < self.min_frames:
            return f"fewer than {self.min_frames} frames{when}"
        if self.min_seconds > 0 and n_frames * tr < self.min_seconds:
            return f"shorter than {self.min_seconds:g} s"
        return None

    def still_long_enough(self, record: Record) -> bool:
        """Whether a stored scan meets the limits on length (which may differ from those it was stored under)."""
        if self.keep_short:
            return True
        duration = 0.0 if record["tr"] is None else record["n_frames"] * record["tr"]
        return record["n_frames"] >= self.min_frames and bool(duration >= self.min_seconds)


def process(job: ScanJob, options: ScanOptions) -> Record:
    """Read one scan and write it to ``job.target``; a failure becomes a record with its reason.

    Raises
    ------
    StorageError
        The store cannot be written, which says nothing of the scan.
    """
    try:
        record = options.read(job) | motion_facts(job.confounds)
    except StorageError:
        raise
    except (UserError, ValueError, OSError) as error:
        record = {"key": job.key, "status": "failed", "reason": without_names(error, job.path)}
    except Exception as error:  # the last net: what one file holds must not end the reading of ten thousand
        reason = f"cannot be read ({type(error).__name__}: {without_names(error, job.path)})"
        record = {"key": job.key, "status": "failed", "reason": reason}
    return record | {"source": source_stamp(job)}


def without_names(error: Exception, path: Path) -> str:
    """What went wrong with a file, without names of files and folders: these carry ids, and reasons reach reports."""
    words = re.split(r"(\s+)", str(error))
    text = "".join(
        "<file>" if re.search(r"/|sub-", word) and not NOT_STATED.fullmatch(word) else word for word in words
    )
    return text.replace(path.name, "<file>")


def source_stamp(job: ScanJob) -> list[Any]:
    """Stated time step, size and time of the files of a scan: when one changes, the scan is read again."""
    facts: list[Any] = [None if math.isnan(job.tr) else job.tr]
    for path in (job.path, job.mask, job.confounds):
        if path is not None and path.is_file():
            facts += [path.stat().st_size, path.stat().st_mtime_ns]
        else:
            facts += [None, None]
    return facts


def short_record(key: str, n_frames: int, tr: float, why: str) -> Record:
    """The record of a scan that is too short."""
    return {"key": key, "status": "short", "reason": why, "n_frames": n_frames, "tr": None if math.isnan(tr) else tr}
