"""A fitted alignment in one file, for whoever takes the model and not its run folder.

The file is safetensors: closed form and towers as tensors, settings as text in the header. It holds statistics and
weights derived from individual-level data, as a run's ``checkpoints`` folder does.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from genebrain.alignment.model import AlignmentModel
from genebrain.common.files import write_private
from genebrain.common.tensor_files import read_arrays, read_metadata, write_tensors
from genebrain.common.types import UserError

HEADER, FILES = "genebrain.model", ("closed_form.safetensors", "towers.safetensors")


def save_model(model: AlignmentModel, path: Path | str) -> Path:
    """Write a fitted model into one private file.

    Raises
    ------
    UserError
        An encoder or a pooling was trained with it: they need their run folder.
    """
    path = Path(path)
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
        write_tensors(path, tensors, metadata={HEADER: (folder / "model.json").read_text()})
    return path


def load_model(path: Path | str) -> AlignmentModel:
    """Read a model written by :func:`save_model`; ``.towers`` is the Lightning module, where one was trained.

    Raises
    ------
    UserError
        No such file, or not one of ours.
    """
    path = Path(path)
    tensors, header = read_arrays(path), read_metadata(path)
    if HEADER not in header:
        raise UserError(f"{path} holds no fitted model; write one with genebrain.save_model(run.model, FILE)")
    with TemporaryDirectory() as made:
        folder = Path(made)
        for name in FILES:
            own = {key.removeprefix(f"{name}/"): one for key, one in tensors.items() if key.startswith(f"{name}/")}
            if own:
                write_tensors(folder / name, own)
        write_private(folder / "model.json", header[HEADER].encode())
        return AlignmentModel.load(folder)
