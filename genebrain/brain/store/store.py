"""The scan store: time-major float16 arrays with an index; filled by :func:`fill_store`, read by windows.

``read`` gives float32 ``[frames, parcels]`` or ``[frames, X, Y, Z]`` of any window without reading the rest of the
scan; the columns of invalid parcels are zero. A folder without ``index.jsonl`` is not a store. File names are keyed
hashes: whoever gets single files learns no ids from them.
"""

from __future__ import annotations

import copy
import resource
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genebrain.brain.store.fill import fill_store
from genebrain.brain.store.job import Record
from genebrain.brain.store.journal import INDEX, SETTINGS, array_path, matched_keys, read_records, scan_keys
from genebrain.brain.store.report import IngestReport
from genebrain.common.files import mark_used
from genebrain.common.hashing import sha256
from genebrain.common.reading import read_npy, read_record
from genebrain.common.types import BoolArray, UserError

__all__ = ["IngestReport", "ScanStore", "fill_store"]

COMMON = ("n_frames", "tr", "recorded", "missing_voxels", "mean_fd", "moved")
MOST_OPEN = {"parcels": 16_384, "volumes": 64}
"""Memory maps that stay open. Opening one takes longer than reading a window of parcels, and a tenth of the time of a
window of volumes, where many open maps fragment the heap (about 3 MB per scan)."""
LARGEST_COMPARED = 2**28
"""Bytes of the largest scan whose checksum is compared when it is first read; :meth:`ScanStore.verify` compares all."""
AGAIN = "restore it from a copy, or delete the folder: scans are then read again"
AGAIN_SCAN = "delete that file and run the same command again: the scan is read anew"
_COMPARED: set[tuple[str, int, int, str]] = set()
_STORES: weakref.WeakSet[ScanStore] = weakref.WeakSet()
"""Stores of this process that have maps open."""
OWN = {
    "parcels": ("n_parcels", "n_valid", "n_lost", "scale"),
    "volumes": ("mask_source", "stored_axes", "n_brain", "n_cut", "background"),
}


class ScanStore:
    """Read access to a folder that :func:`fill_store` has filled.

    Parameters
    ----------
    folder
        The folder.

    Attributes
    ----------
    index
        DataFrame, one row per stored scan, indexed by scan key: ``n_frames, tr`` (seconds, NaN = unknown),
        ``recorded`` (frames of the recording), ``missing_voxels``, ``mean_fd`` (mm) and ``moved`` (share of frames
        above 0.5 mm; NaN = no confounds), ``sha256``; for parcels also ``n_parcels, n_valid,
        n_lost, scale`` (what the series was divided by, in the scan's unit); for volumes ``mask_source``
        (given, zeros or computed), ``stored_axes`` (of the file), ``n_brain, n_cut, background`` (its stored value).
    kind
        ``parcels`` or ``volumes``.
    shape
        Of a frame: ``(parcels,)`` or ``(X, Y, Z)``.
    settings
        What the store was filled with: normalisation, box, axes, cleaning, ...

    Raises
    ------
    UserError
        The folder holds no finished store.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not (self.folder / INDEX).is_file():
            raise UserError(f"{self.folder} holds no finished scan store ({INDEX} is missing): run the ingest again")
        known = read_records(self.folder / INDEX)
        records = [record for record in known if record["status"] == "stored"]
        self._reasons = {record["key"]: str(record["reason"]) for record in known if record["status"] != "stored"}
        self._records = {record["key"]: record for record in records}
        self.settings: dict[str, Any] = read_record(self.folder / SETTINGS, AGAIN)
        mark_used(self.folder)
        self._opened: dict[str, NDArray[np.float16]] = {}
        self.kind = str(self.settings.get("kind", "parcels"))
        self.shape: tuple[int, ...] = tuple(records[0]["shape"]) if records else ()
        table = pd.DataFrame(records, columns=["key", *COMMON, *OWN[self.kind], "sha256"])
        self.index = (
            table.rename(columns={"key": "scan_key"})
            .astype({"tr": float, "mean_fd": float, "moved": float})
            .set_index("scan_key")
        )

    def __len__(self) -> int:
        return len(self._records)

    def keys(self, table: pd.DataFrame) -> list[str | None]:
        """Scan key of every row of a scan table; None where the scan is not in the store."""
        return [key if key in self._records else None for key in scan_keys(self.folder, table)]

    def reasons(self, table: pd.DataFrame) -> list[str | None]:
        """Why each row of a scan table is not in the store; None where it is, or was never asked for."""
        return [self._reasons.get(key) for key in matched_keys(self.folder, table, self._reasons)]

    def read(self, scan_key: str, t0: int | None = None, t1: int | None = None) -> NDArray[np.float32]:
        """Frames ``t0`` to ``t1`` (not included) as float32 [frames, parcels] or [frames, X, Y, Z].

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
        return np.asarray(self._open(scan_key)[first:last], np.float32)

    def valid(self, scan_key: str) -> BoolArray:
        """Which parcels of a scan are usable, bool [parcels].

        Raises
        ------
        ValueError
            The store holds volumes.
        """
        record = self._record(scan_key)
        if self.kind != "parcels":
            raise ValueError(f"a store of {self.kind} has no parcels")
        mask = np.ones(record["n_parcels"], bool)
        mask[record["invalid"]] = False
        return mask

    def frame_numbers(self, scan_key: str) -> NDArray[np.int64]:
        """Position of each stored frame in the recording, int64 [n_frames]; dropped frames leave gaps."""
        record = self._record(scan_key)
        return np.setdiff1d(np.arange(record["recorded"]), record["dropped"])

    def only(self, scan_keys: Iterable[str]) -> ScanStore:
        """The same store with these scans alone, for another process."""
        part = copy.copy(self)
        part._records = {key: self._record(key) for key in scan_keys}
        part._reasons, part._opened, part.index = {}, {}, self.index.loc[list(part._records)]
        return part

    def verify(self) -> list[str]:
        """Keys of the scans whose file is missing or does not have its checksum."""
        damaged = []
        for key, record in self._records.items():
            path = array_path(self.folder, key)
            if not path.is_file() or sha256(path) != record["sha256"]:
                damaged.append(key)
        return damaged

    def _open(self, scan_key: str) -> NDArray[np.float16]:
        """The memory map of a scan; opening one takes longer than reading a window of parcels, so some stay open."""
        array = self._opened.get(scan_key)
        if array is None:
            path = array_path(self.folder, scan_key)
            if not path.is_file():
                raise UserError(f"the file of scan {scan_key} is missing from the store")
            self._make_room()
            # A plain array over the map: slices of a memmap object carry Python bookkeeping of their own.
            array = read_npy(path, AGAIN_SCAN, mapped=True)
            self._compare(path, scan_key, array)
            self._opened[scan_key] = array
        return array

    def _compare(self, path: Path, scan_key: str, array: NDArray[Any]) -> None:
        """Compare the checksum of a scan, once per process and state of the file."""
        record, facts = self._records[scan_key], path.stat()
        if array.shape != (record["n_frames"], *record["shape"]) or array.dtype != np.float16:
            raise UserError(f"{path} is damaged ({array.dtype} {array.shape}); {AGAIN_SCAN}")
        seen = (str(path.absolute()), facts.st_size, facts.st_mtime_ns, record["sha256"])
        if facts.st_size > LARGEST_COMPARED or seen in _COMPARED:
            return
        if sha256(path) != record["sha256"]:
            raise UserError(f"{path} is damaged (its checksum differs); {AGAIN_SCAN}")
        _COMPARED.add(seen)

    def _make_room(self) -> None:
        """Close maps until one more may be open.

        Every map holds a file open, and a usual shell allows a process 1,024: all stores of the process share half of
        them, the rest is left to others.
        """
        _STORES.add(self)
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        shared = allowed // 2 if allowed != resource.RLIM_INFINITY else max(MOST_OPEN.values())
        while len(self._opened) >= MOST_OPEN[self.kind]:
            self._opened.pop(next(iter(self._opened)))
        while sum(len(store._opened) for store in _STORES) >= max(1, shared):
            fullest = max(_STORES, key=lambda store: len(store._opened))
            fullest._opened.pop(next(iter(fullest._opened)))

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens its own maps."""
        return self.__dict__ | {"_opened": {}}

    def _record(self, scan_key: str) -> Record:
        if scan_key not in self._records:
            raise UserError(f"scan {scan_key} is not among the {len(self)} scans of the store")
        return self._records[scan_key]
