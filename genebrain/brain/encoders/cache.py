"""Cache of one scan encoder, so that a run reads weights of gigabytes once.

:meth:`EncoderShelf.get` gives an encoder that everybody shares and nobody changes; :meth:`EncoderShelf.take` gives
one to its caller alone, to be trained. Both come from :func:`~genebrain.brain.encoders.build.build_encoder` in
evaluation mode. One encoder is kept at a time; a file that has changed is read again.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.encoders.build import build_encoder
from genebrain.brain.encoders.families import Size, get_size
from genebrain.brain.encoders.files import CONFIG, CONTRACT, LoadedEncoder, read_encoder, weights_file
from genebrain.brain.encoders.settings import EncoderSettings
from genebrain.brain.images.volume_scaling import Box


class ScanShape(TypedDict, total=False):
    """What an encoder is built for, as :func:`~genebrain.brain.encoders.build.build_encoder` takes it."""

    n_parcels: int
    coordinates: NDArray[np.float32] | None
    grid: Box


class EncoderShelf:
    """Room for one encoder, and for facts about those that were here before."""

    def __init__(self) -> None:
        self._loaded: tuple[Hashable, LoadedEncoder] | None = None
        self._built: tuple[Hashable, WindowEncoder] | None = None
        self._sizes: dict[Hashable, Size] = {}
        self._facts: dict[Hashable, dict[str, Any]] = {}

    def size(self, settings: EncoderSettings) -> Size | None:
        """Size of the weights of ``path``, which are read strictly; None without a path.

        Raises
        ------
        UserError
            Weights that cannot be read.
        """
        if settings.path is None:
            return None
        source = _source(settings)
        if source not in self._sizes:
            loaded = read_encoder(settings.path, settings.encoder)
            self._loaded, self._built = (source, loaded), None
            self._sizes[source] = loaded.size
        return self._sizes[source]

    def expected(self, settings: EncoderSettings) -> Size:
        """Size with the lengths and the time step of an encoder; parcels and box of a tiny one are placeholders.

        Raises
        ------
        UserError
            Weights that cannot be read.
        """
        named = "tiny" if settings.size == "auto" else settings.size
        return self.size(settings) or get_size(settings.encoder, named, n_parcels=1, grid=(1, 1, 1))

    def get(self, settings: EncoderSettings, **scans: Unpack[ScanShape]) -> WindowEncoder:
        """An encoder for these scans that is shared: not to be trained, not to be changed."""
        key = _key(settings, scans)
        if self._built is None or self._built[0] != key:
            self._built = None  # room first
            loaded = None
            if self._loaded is not None and self._loaded[0] == _source(settings):
                # Handed on, not kept: an encoder changes what it is built around.
                loaded = self._loaded[1]
            self._loaded = None
            encoder = build_encoder(settings, loaded=loaded, **scans)
            self._built = key, encoder
        return self._built[1]

    def take(self, settings: EncoderSettings, **scans: Unpack[ScanShape]) -> WindowEncoder:
        """An encoder for these scans that belongs to the caller."""
        encoder = self.get(settings, **scans)
        self._built = None
        return encoder

    def facts(self, settings: EncoderSettings, **scans: Unpack[ScanShape]) -> dict[str, Any]:
        """Description and ``fingerprint`` of an encoder; known also when it has been taken away."""
        key = _key(settings, scans)
        if key not in self._facts:
            encoder = self.get(settings, **scans)
            self._facts[key] = {**encoder.description(), "fingerprint": encoder.fingerprint()}
        return dict(self._facts[key])


SHELF = EncoderShelf()
"""Of this process."""


def _source(settings: EncoderSettings) -> Hashable:
    """What weights these are: the file, and when it was written."""
    if settings.path is None:
        return None
    file = weights_file(Path(settings.path))
    return settings.encoder, *(_stamp(path) for path in (file, file.parent / CONFIG, file.parent / CONTRACT))


def _stamp(path: Path) -> Hashable:
    if not path.is_file():
        return None
    found = path.stat()
    return str(path.resolve()), found.st_size, found.st_mtime_ns


def _key(settings: EncoderSettings, scans: ScanShape) -> Hashable:
    coordinates = scans.get("coordinates")
    places = None if coordinates is None else np.asarray(coordinates, np.float32).tobytes()
    return settings, _source(settings), scans.get("n_parcels"), places, scans.get("grid")
