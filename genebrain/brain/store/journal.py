"""Journal of a scan store while it is filled, so that an interrupted ingest can go on.

One JSON line per scan in ``index.partial.jsonl`` as soon as it is done; ``index.jsonl`` appears, whole, only at the
end. A line cut by an interruption is ignored and its scan is read again. A scan counts as done while its source file
has the same size and time stamp and its array is there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Collection, Container
from pathlib import Path
from typing import Any, Self

import pandas as pd

from genebrain.brain.store.job import Record, ScanJob, ScanOptions, source_stamp
from genebrain.common.files import explained, write_private
from genebrain.common.reading import contents_of, read_record, read_text
from genebrain.common.types import UserError
from genebrain.engines.claims import AGAIN
from genebrain.engines.run import CLAIMS

log = logging.getLogger(__name__)

CHECK = "check"
"""Checksum of a line of the index, in the line."""
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
    with contents_of(path, "restore it from a copy, or delete the folder: scans are then read again"):
        secret = bytes.fromhex(read_text(path, most=1000))
        if len(secret) != 32:
            raise ValueError(f"{len(secret)} bytes instead of 32")
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
    before = read_record(path, "restore it from a copy, or delete the folder: scans are then read again")
    differing = sorted(k for k in settings.keys() | before.keys() if settings.get(k) != before.get(k))
    if differing:
        changes = "; ".join(f"{k}: {before.get(k)} then, {settings.get(k)} now" for k in differing)
        raise UserError(f"{folder} was filled with other settings ({changes}): use another folder")


def known_records(folder: Path) -> dict[str, Record]:
    """Records of a store by scan key, finished or not, with those that jobs of an array have left."""
    records: dict[str, Record] = {}
    for name in (INDEX, PARTIAL):
        found, damaged = _records(folder / name)
        records |= {record["key"]: record for record in found}
        if damaged and name == INDEX:
            log.warning(f"note: {damaged} damaged lines of {folder / name}: these scans are read again")
    for path in _noted_by_jobs(folder):
        for record in read_record(path, AGAIN)["result"]:
            records[record["key"]] = record
    return records


class Journal:
    """The records of a store in the making; a context manager that keeps the partial index open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = known_records(folder)
        with explained(folder):
            if (folder / PARTIAL).is_symlink():
                raise UserError(f"{folder / PARTIAL} is a link, and nothing is written through links: delete it")
            if (folder / PARTIAL).exists() and not (folder / PARTIAL).is_file():
                raise UserError(f"{folder / PARTIAL} is no plain file: delete it")
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(folder / PARTIAL, flags, 0o600), "a")
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
            self._file.write(_line(record))
            self._file.flush()

    def complete(self) -> None:
        """Turn the partial index into the index."""
        write_private(self.folder / INDEX, "".join(map(_line, self.records.values())).encode())
        with explained(self.folder):
            self._file.close()
        (self.folder / PARTIAL).unlink()


def matched_keys(folder: Path, table: pd.DataFrame, known: Container[str]) -> list[str]:
    """Keys of the rows of a scan table by the rule for ids: as written, or, if none is known, without ``sub-``.

    The store of a cohort knows people by the ids of its participants table, a folder of scans by its own names.
    """
    keys = scan_keys(folder, table)
    if any(key in known for key in keys):
        return keys
    plain = table.assign(participant_id=[str(name).removeprefix("sub-") for name in table["participant_id"]])
    return scan_keys(folder, plain)


def read_records(path: Path) -> list[Record]:
    """Records of a finished index.

    Raises
    ------
    UserError
        Lines are damaged; filling the store again reads their scans again.
    """
    records, damaged = _records(path)
    if damaged:
        raise UserError(
            f"{damaged} lines of {path} are damaged: run the command that read the scans (fit, embed, ...) again, it "
            "reads these scans anew"
        )
    return records


def remove_scans(folder: Path, keys: Collection[str]) -> int:
    """Delete the arrays and records of some scans; returns how many arrays there were.

    Arrays go first: whoever is interrupted in between calls this again, or reads a scan that its index misses.
    """
    removed = 0
    for key in keys:
        path = array_path(folder, key)
        removed += path.is_file()
        path.unlink(missing_ok=True)
    for name in (INDEX, PARTIAL):
        records, _ = _records(folder / name)
        left = [record for record in records if record["key"] not in keys]
        if len(left) < len(records):
            write_private(folder / name, "".join(map(_line, left)).encode())
    for path in _noted_by_jobs(folder):
        found = read_record(path, AGAIN)["result"]
        left = [record for record in found if record["key"] not in keys]
        if len(left) < len(found):
            write_private(path, json.dumps({"result": left}).encode())
    return removed


def _noted_by_jobs(folder: Path) -> list[Path]:
    """Records that jobs of an array have left, share by share."""
    return sorted((folder / CLAIMS).glob("*.done.json"))


def _records(path: Path) -> tuple[list[Record], int]:
    """Records of an index, and how many lines are cut or do not have their checksum."""
    if not path.is_file():
        return [], 0
    records, damaged = [], 0
    for line in path.read_bytes().split(b"\n"):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            check = record.pop(CHECK, None)
            if check is not None and check != _check(record):  # older stores have none
                raise ValueError("another checksum")
            _whole(record)
        except (ValueError, RecursionError, AttributeError, LookupError, TypeError):
            damaged += 1
            continue
        records.append(record)
    return records, damaged


def _whole(record: Record) -> None:
    """Raise for what is no record of a scan."""
    if not (isinstance(record["key"], str) and re.fullmatch("[0-9a-f]+", record["key"])):
        raise ValueError("no key")
    if record["status"] == "stored":
        if "n_parcels" in record:
            record.setdefault("shape", [record["n_parcels"]])  # stores of before there were volumes
        for name in ("n_frames", "recorded", "sha256", "source", "tr", "dropped", "shape"):
            record[name]


def _line(record: Record) -> str:
    return json.dumps(record | {CHECK: _check(record)}) + "\n"


def _check(record: Record) -> str:
    """Checksum of a line, so that one changed digit does not go unnoticed."""
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=8).hexdigest()
