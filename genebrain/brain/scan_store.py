"""The scan store: time-major float16 arrays with an index; filled by :func:`ingest_scans`, read by windows.

Contract: ``read`` gives float32 ``[frames, parcels]`` of any window without reading the rest of the scan; the
columns of invalid parcels are zero. A folder without ``index.jsonl`` is not a store. File names are keyed
hashes: whoever gets single files learns no ids from them.

What it does NOT know: genomes, splits, what features are made of the scans.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.brain.ingest import IngestReport, ingest_scans
from genebrain.brain.scan_journal import INDEX, array_path, read_records, scan_keys
from genebrain.brain.scan_reader import Record
from genebrain.types import BoolArray, UserError

__all__ = ["IngestReport", "ScanStore", "ingest_scans"]


class ScanStore:
    """Read access to a folder that :func:`ingest_scans` has filled.

    Parameters
    ----------
    folder
        The folder.

    Attributes
    ----------
    index
        DataFrame, one row per stored scan, indexed by scan key: ``n_frames, n_parcels, n_valid, n_lost,
        missing_voxels, tr`` (seconds, NaN = unknown), ``scale`` (what the series was divided by, in the
        scan's unit), ``recorded`` (frames of the recording), ``sha256``.

    Raises
    ------
    UserError
        The folder holds no finished store.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not (self.folder / INDEX).is_file():
            raise UserError(f"{self.folder} holds no finished scan store ({INDEX} is missing): run the ingest again")
        records = [r for r in read_records(self.folder / INDEX) if r["status"] == "stored"]
        self._records = {record["key"]: record for record in records}
        columns = ["n_frames", "n_parcels", "n_valid", "n_lost", "missing_voxels", "tr", "scale", "recorded"]
        table = pd.DataFrame(records, columns=["key", *columns, "sha256"]).rename(columns={"key": "scan_key"})
        self.index = table.astype({"tr": float}).set_index("scan_key")

    def __len__(self) -> int:
        return len(self._records)

    def keys(self, table: pd.DataFrame) -> list[str | None]:
        """Scan key of every row of a scan table; None where the scan is not in the store."""
        return [key if key in self._records else None for key in scan_keys(self.folder, table)]

    def read(self, scan_key: str, t0: int | None = None, t1: int | None = None) -> NDArray[np.float32]:
        """Frames ``t0`` to ``t1`` (not included) as float32 [frames, parcels].

        Raises
        ------
        UserError
            Unknown key or missing file.
        ValueError
            A window that is empty or reaches beyond the scan.
        """
        record = self._record(scan_key)
        first, last = 0 if t0 is None else t0, record["n_frames"] if t1 is None else t1
        if not 0 <= first < last <= record["n_frames"]:
            raise ValueError(f"frames {first}..{last} do not lie in a scan of {record['n_frames']} frames")
        path = array_path(self.folder, scan_key)
        if not path.is_file():
            raise UserError(f"the file of scan {scan_key} is missing from the store")
        return np.load(path, mmap_mode="r", allow_pickle=False)[first:last].astype(np.float32)

    def valid(self, scan_key: str) -> BoolArray:
        """Which parcels of a scan are usable, bool [parcels]."""
        record = self._record(scan_key)
        mask = np.ones(record["n_parcels"], bool)
        mask[record["invalid"]] = False
        return mask

    def frame_numbers(self, scan_key: str) -> NDArray[np.int64]:
        """Position of each stored frame in the recording, int64 [n_frames]; dropped frames leave gaps."""
        record = self._record(scan_key)
        return np.setdiff1d(np.arange(record["recorded"]), record["dropped"])

    def verify(self) -> list[str]:
        """Keys of the scans whose file is missing or does not have its checksum."""
        damaged = []
        for key, record in self._records.items():
            path = array_path(self.folder, key)
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
                damaged.append(key)
        return damaged

    def _record(self, scan_key: str) -> Record:
        if scan_key not in self._records:
            raise UserError(f"scan {scan_key} is not among the {len(self)} scans of the store")
        return self._records[scan_key]
