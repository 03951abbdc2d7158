"""A fitted alignment in one file, for whoever takes the model and not its run folder.

The file is safetensors: closed form and towers as tensors, settings as text in the header. It holds statistics and
weights derived from individual-level data, as a run's ``checkpoints`` folder does.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from genebrain.alignment.model import AlignmentModel
from genebrain.common.files import write_private
from genebrain.common.tensor_files import read_arrays, read_metadata, write_tensors
from genebrain.common.types import UserError

HEADER, DIGEST, FILES = "genebrain.model", "genebrain.digest", ("closed_form.safetensors", "towers.safetensors")


def save_model(model: AlignmentModel, path: Path | str) -> Path:
    """Write a fitted model into one private file.

    Raises
    ------
    UserError
        An encoder or a pooling was trained with it: they need their run folder. Or ``path`` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as made:
        folder = Path(made)
        model.save(folder)
        try:
            AlignmentModel.load(folder)
        except (UserError, RuntimeError) as error:
            raise UserError(
                "an encoder or a pooling was trained with this model, which one file does not hold: keep the run folder"
            ) from error
        tensors = {
            f"{name}/{key}": values
            for name in FILES
            if (folder / name).exists()
            for key, values in read_arrays(folder / name).items()
        }
        about = (folder / "model.json").read_text()
        write_tensors(path, tensors, metadata={HEADER: about, DIGEST: _digest(tensors, about)})
    return path


def load_model(path: Path | str) -> AlignmentModel:
    """Read a model written by :func:`save_model`; ``.towers`` is the Lightning module, where one was trained.

    Raises
    ------
    UserError
        No such file, not one of ours, or one that was changed.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder: a file of save_model is wanted; genebrain.load_run reads a run")
    tensors, header = read_arrays(path), read_metadata(path)
    if HEADER not in header:
        raise UserError(f"{path} holds no fitted model; write one with genebrain.save_model(run.model, FILE)")
    if header.get(DIGEST) != _digest(tensors, header[HEADER]):
        raise UserError(f"{path} is damaged (its checksum differs); restore a copy, or write it anew from its run")
    with TemporaryDirectory() as made:
        folder = Path(made)
        for name in FILES:
            own = {key.removeprefix(f"{name}/"): one for key, one in tensors.items() if key.startswith(f"{name}/")}
            if own:
                write_tensors(folder / name, own)
        write_private(folder / "model.json", header[HEADER].encode())
        return AlignmentModel.load(folder)


def _digest(tensors: Mapping[str, Any], about: str) -> str:
    """Checksum of the settings and of every tensor with its name and form, 32 hex digits."""
    found = blake2b(about.encode(), digest_size=16)
    for name, values in sorted(tensors.items()):
        found.update(f"{name} {values.dtype} {values.shape}".encode())
        found.update(values.tobytes())
    return found.hexdigest()
