"""Vectors of the windows of stored scans, by a frozen encoder or as correlations, for embeddings without a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.connectome.correlation import CorrelationRows
from genebrain.brain.encoders.cache import SHELF, ScanShape
from genebrain.brain.encoders.embed import embed_windows, embeddings_folder, say_encoder
from genebrain.brain.store.store import ScanStore
from genebrain.brain.windows.bank import WindowBank
from genebrain.brain.windows.policy import Window
from genebrain.sides.scans import EncoderSide


class Vectors:
    """Vectors of the windows of every stored scan: ``windows`` (scan key -> what they are), ``width``, ``of(key)``."""

    stored: list[str]
    windows: dict[str, list[dict[str, Any]]]
    width: int
    description: dict[str, Any]

    def of(self, key: str) -> NDArray[np.float32]:
        """Vectors of the windows of one scan, float32 ``[windows, width]``."""
        raise NotImplementedError

    def lack(self, keys: list[str]) -> str:
        """Why stored scans have no window, in words."""
        raise NotImplementedError


class EncoderVectors(Vectors):
    """By a frozen encoder, stored per scan."""

    def __init__(
        self, brain: EncoderSide, shape: ScanShape, store: ScanStore, keys: list[str], cache: Path, *, progress: bool
    ) -> None:
        encoder = SHELF.get(brain.settings, **shape)
        bank = WindowBank(store, brain.windows, encoder.frames, encoder.tr, encoder.check_frames)
        planned = bank.plan(keys)
        say_encoder(encoder, bank)
        folder = embeddings_folder(cache, encoder, bank)
        self._vectors = embed_windows(
            encoder, bank, planned, folder, batch=brain.batch, device=brain.device, progress=progress
        )
        self.width, self.stored, self._bank = encoder.width, keys, bank
        self.windows = {key: [_facts(bank, key, w) for w in windows] for key, windows in planned.items()}
        self.description = {
            **encoder.description(),
            "fingerprint": encoder.fingerprint(),
            "windows": bank.describe(keys, planned),
        }

    def of(self, key: str) -> NDArray[np.float32]:
        """Vectors of the windows of one scan."""
        return self._vectors[key]

    def lack(self, keys: list[str]) -> str:
        """Lengths of a window and of the longest stretch."""
        return self._bank.lack(keys)


class CorrelationVectors(Vectors):
    """Correlations of the parcels over the whole scan, one window each."""

    def __init__(self, store: ScanStore, keys: list[str]) -> None:
        self._rows = CorrelationRows(store)
        self.width, self.stored = self._rows.width, keys
        self.windows = {
            key: [{"first_frame": 0, "frames": int(store.index["n_frames"][key]), "mirrored": 0}] for key in keys
        }
        self.description = {"encoder": "connectome", "kind": "correlation, Fisher z, upper triangle row by row"}

    def of(self, key: str) -> NDArray[np.float32]:
        """The correlations of one scan."""
        return self._rows.of(key)[None]


def _facts(bank: WindowBank, key: str, window: Window) -> dict[str, Any]:
    first = int(bank.store.frame_numbers(key)[window.first]) + window.start * bank.ratio(key)
    return {"first_frame": round(first, 3), "frames": window.frames, "mirrored": window.mirrored}
