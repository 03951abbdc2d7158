"""What a scan store writes down while it is filled, so that an interrupted ingest can go on.

One JSON line per scan in ``index.partial.jsonl`` as soon as it is done; ``index.jsonl`` appears, whole, only at the
end. A line cut by an interruption is ignored and its scan is read again. A scan counts as done while its source file
has the same size and time stamp and its array is there.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Self

import pandas as pd

from genebrain.brain.store.job import Record, ScanJob, ScanOptions, source_stamp
from genebrain.common.files import explained, write_private
from genebrain.common.types import UserError

INDEX, PARTIAL, SETTINGS, SECRET = "index.jsonl", "index.partial.jsonl", "settings.json", "secret"


def array_path(folder: Path, key: str) -> Path:
    """Where the array of a scan lies; spread over 256 folders, for file systems that dislike full ones."""
    return folder / key[:2] / f"{key}.npy"


def scan_keys(folder: Path, table: pd.DataFrame, *, create: bool = False) -> list[str]:
    """Keyed hashes of (participant, session, file name), one per row of a scan table.

    The secret lies in the store's folder, so that keys are stable there and mean nothing without it.

    Raises
    ------
    UserError
        Two scans of one participant with the same session and file name; a store without its secret.
    """
    path = folder / SECRET
    if create and not path.exists():
        write_private(path, os.urandom(32).hex().encode())
    if not path.is_file():
        raise UserError(f"{folder} has no file named {SECRET}: it is not a scan store, or it was copied in part")
    secret = bytes.fromhex(path.read_text())
    names = [
        "\0".join((str(participant), str(session), Path(scan).name))
        for participant, session, scan in zip(table.participant_id, table.session, table.path, strict=True)
    ]
    doubled = pd.Series(names).duplicated().sum()
    if doubled:
        raise UserError(
            f"{doubled} scans have the same participant, session and file name as another one: "
            "give them different sessions in the scan table"
        )
    return [hashlib.blake2b(name.encode(), key=secret, digest_size=12).hexdigest() for name in names]


def claim_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a new store, or refuse to mix two settings in an old one."""
    path = folder / SETTINGS
    settings = json.loads(json.dumps(settings, default=str))
    if not path.exists():
        write_private(path, json.dumps(settings, indent=1).encode())
        return
    before = json.loads(path.read_text())
    differing = sorted(k for k in settings.keys() | before.keys() if settings.get(k) != before.get(k))
    if differing:
        changes = "; ".join(f"{k}: {before.get(k)} then, {settings.get(k)} now" for k in differing)
        raise UserError(f"{folder} was filled with other settings ({changes}): use another folder")


class Journal:
    """The records of a store in the making; a context manager that keeps the partial index open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, Record] = {}
        for name in (INDEX, PARTIAL):
            self.records |= {record["key"]: record for record in read_records(folder / name)}
        with explained(folder):
            self._file = os.fdopen(os.open(folder / PARTIAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a")
        # After an interruption the last line may lack its end: the next record must not be glued to it.
        self._file.write("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with explained(self.folder):  # what could not be flushed is tried again here
            self._file.close()

    def done(self, job: ScanJob, options: ScanOptions) -> bool:
        """Whether this very scan is stored already, and long enough for the limits of this run."""
        record = self.records.get(job.key)
        return (
            record is not None
            and record["status"] == "stored"
            and record["source"] == source_stamp(job)
            and options.still_long_enough(record)
            and job.target.is_file()
        )

    def add(self, record: Record) -> None:
        """Note one finished scan, on disk before the next one is waited for."""
        self.records[record["key"]] = record
        with explained(self.folder):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()

    def complete(self) -> None:
        """Turn the partial index into the index."""
        lines = "".join(json.dumps(record) + "\n" for record in self.records.values())
        write_private(self.folder / INDEX, lines.encode())
        with explained(self.folder):
            self._file.close()
        (self.folder / PARTIAL).unlink()


def read_records(path: Path) -> list[Record]:
    """Records of an index; lines that are cut are left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    records = [record for record in records if isinstance(record, dict) and "key" in record]
    for record in records:
        if "n_parcels" in record:
            record.setdefault("shape", [record["n_parcels"]])  # stores of before there were volumes
    return records
