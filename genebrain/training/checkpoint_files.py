"""Checkpoints of a training on disk: whole or not there, private, and compared with their checksums when read.

Lightning's own writer goes through the folder of temporary files and moves from there, which on another file system is
a copy that a full disk cuts. Torch writes a CRC-32 beside every tensor, but does not look at it when it reads.
"""

from __future__ import annotations

import math
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from genebrain.common.files import replacing
from genebrain.common.types import UserError

HERE = "<folder>"
"""Stands for the folder of the checkpoints."""
_UNREADABLE = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Checkpoints(ModelCheckpoint):
    """Which epochs are kept; what it says of them holds no absolute path, which would name users.

    Parameters
    ----------
    seconds_between : float
        An epoch that ends sooner after the last one written is not written, unless it is the last: where epochs take
        a tenth of a second, writing each costs as much as training.
    **how
        Of Lightning's class.
    """

    def __init__(self, seconds_between: float = 0.0, **how: Any) -> None:
        super().__init__(**how)
        self._seconds_between = seconds_between
        self._written = -math.inf

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch if it is time; all ranks do as the first."""
        if self._seconds_between and not self._is_last(trainer):
            soon = time.monotonic() - self._written < self._seconds_between
            if trainer.strategy.broadcast(soon):
                return
        super().on_train_epoch_end(trainer, pl_module)
        self._written = time.monotonic()

    @staticmethod
    def _is_last(trainer: Trainer) -> bool:
        """Whether training ends with this epoch; Lightning asks those that write after those that stop."""
        return trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs

    @property
    def state_key(self) -> str:
        """As of Lightning's own class, whose state older trainings hold."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def state_dict(self) -> dict[str, Any]:
        """Give the state to the checkpoint, with paths relative to its folder."""
        return _moved(super().state_dict(), str(self.dirpath), HERE)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint, wherever the folder lay then."""
        super().load_state_dict(_moved(state_dict, HERE, str(self.dirpath)))


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


def _moved(value: Any, old: str, new: str) -> Any:
    """The same with another beginning of all paths."""
    if isinstance(value, dict):
        return {_moved(key, old, new): _moved(inner, old, new) for key, inner in value.items()}
    if isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
        return new + value[len(old) :]
    return value


def read_training(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint of a training.

    Raises
    ------
    UserError
        The file is missing, cut, or does not have its checksums; with what to do.
    """
    try:
        if not path.is_file():
            raise ValueError("it is missing" if not path.exists() else "no plain file")
        with zipfile.ZipFile(path) as whole:
            if any(one.compress_type != zipfile.ZIP_STORED for one in whole.infolist()):
                raise ValueError("compressed: torch writes plain files")  # a few bytes could become any number
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
