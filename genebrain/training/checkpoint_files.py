"""Checkpoints of a training on disk: whole or not there, private, and compared with their checksums when read.

Lightning's own writer goes through the folder of temporary files and moves from there, which on another file system is
a copy that a full disk cuts. Torch writes a CRC-32 beside every tensor, but does not look at it when it reads.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from genebrain.common.files import replacing
from genebrain.common.types import UserError

_UNREADABLE = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class WholeCheckpoints(TorchCheckpointIO):
    """How the training loop writes and reads its checkpoints."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write beside the place and rename: what stood there before stands until the new one is whole."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(path) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(
        self, path: Any, map_location: Any = lambda storage, _: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read, always without unpickling objects; ``UserError`` for a damaged file."""
        return read_training(Path(path), map_location)


def read_training(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint of a training.

    Raises
    ------
    UserError
        The file is missing, cut, or does not have its checksums; with what to do.
    """
    try:
        with zipfile.ZipFile(path) as whole:
            if (damaged := whole.testzip()) is not None:
                raise ValueError(f"{Path(damaged).name} does not have its checksum")
        content = torch.load(path, map_location=map_location, weights_only=True)
        if not isinstance(content, dict):
            raise TypeError("no checkpoint of a training")
        return content
    except Exception as error:
        if not isinstance(error, _UNREADABLE) and type(error).__name__ != "UnpicklingError":
            raise
        words = " ".join(str(error).split())[:150]
        raise UserError(
            f"{path} is damaged ({words}): delete the folder {path.parent} (this training starts anew; what is "
            "embedded is kept) and run the same command again"
        ) from error
