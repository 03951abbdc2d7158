"""Weights of any scan encoder from a file or folder, and back into a folder that needs no guessing.

The family is told from the keys; ``config.json`` beside the weights or ``hyper_parameters`` inside give the sizes;
every key is checked by the reader of its family. :func:`save_encoder` writes ``model.safetensors``, ``config.json``
and, for encoders of parcels, ``contract.safetensors`` (parcels, scaling), all for the owner's eyes: weights that
were trained on scans of people are individual-level data.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.encoders.families import Config, Size
from genebrain.brain.encoders.published import SCAN_ENCODERS
from genebrain.brain.models.brainlm.weights import read_weights
from genebrain.brain.models.swift.weights import read_checkpoint
from genebrain.brain.models.weight_files import WEIGHTS, file_in
from genebrain.common.checksums import CHECKSUMS, compare_files
from genebrain.common.files import make_private, write_private
from genebrain.common.hashing import content_digest
from genebrain.common.reading import contents_of, read_record, refuse_endless
from genebrain.common.tensor_files import read_arrays, write_tensors
from genebrain.common.types import UserError, number, whole

CONFIG, CONTRACT, SEEN = "config.json", "contract.safetensors", "seen_scans.txt"
ENCODER = "encoder"
"""Folder of a run (of ``pretrain``, or of ``fit`` with an encoder in training) that holds the whole trained encoder."""
OWN = "genebrain"
ALIGNED = "trained inside an alignment"
"""Words of an origin, also of what was trained further from there, that say that genotypes were learned from."""
MOST_FRAMES = 2**20
"""Of a window, and seconds between two frames: no encoder comes near."""


@dataclasses.dataclass(frozen=True)
class LoadedEncoder:
    """A module with its weights, and what its file says about its input."""

    name: str
    module: nn.Module
    size: Size
    origin: str
    contract: dict[str, np.ndarray[Any, Any]] | None


def weights_file(path: Path) -> Path:
    """The file of weights: ``path`` itself, or the one in the folder ``path``.

    Raises
    ------
    UserError
        There is none.
    """
    trained = _encoder_of_run(path)
    if not path.exists():
        advice = trained or "; name a file or folder of weights of a scan encoder"
        raise UserError(f"brain.path={path} does not exist{advice}")
    return file_in(path, trained)


def _encoder_of_run(path: Path) -> str:
    """Advice where ``path`` is, or lies in, the folder of a run that left a whole encoder; else empty."""
    own = path if path.is_dir() else path.parent
    for run in (own, *own.parents):
        encoder = run / ENCODER
        if encoder != own and (encoder / WEIGHTS[0]).is_file() and (run / "checkpoints").is_dir():
            return f"; the encoder that was trained in the run {run.name} lies in brain.path={encoder}"
    return ""


def detect(keys: Iterable[str]) -> str | None:
    """Name of the encoder whose weights have these keys; None if it is none that is known, or several."""
    listed = list(keys)
    signs = {name: family.sign for name, family in SCAN_ENCODERS.items() if family.sign is not None}
    found = [name for name, sign in signs.items() if any(sign in key for key in listed)]
    return found[0] if len(found) == 1 else None


def read_encoder(path: Path | str, wanted: str) -> LoadedEncoder:
    """Module and facts of a checkpoint, in evaluation mode, float32 on the CPU.

    A file of a run folder that is no whole encoder is answered with where the run has one.

    Parameters
    ----------
    path : path
        A published checkpoint (safetensors, ``pytorch_model.bin``, Lightning ``.ckpt``) or a folder.
    wanted : str
        Name of the encoder that is asked for.

    Raises
    ------
    UserError
        Not readable, of another encoder (named), no sizes to be had, or keys that do not fit (all listed).
    """
    file = weights_file(Path(path))
    if wanted not in SCAN_ENCODERS:
        raise UserError(f"encoder {wanted} is none of {', '.join(SCAN_ENCODERS)}")
    try:
        return _read_encoder(file, wanted)
    except UserError as error:
        if advice := _encoder_of_run(file):
            raise UserError(f"{error}{advice}") from error
        raise


def _read_encoder(file: Path, wanted: str) -> LoadedEncoder:
    if (file.parent / CHECKSUMS).is_file() and (file.parent / CONFIG).is_file():
        compare_files(file.parent, "restore it from a copy, or train it again")
    weights, hyper_parameters = _peek(file)
    name = detect(weights) or (wanted if SCAN_ENCODERS[wanted].sign is None else None)
    if name is None:
        shown = ", ".join(sorted(weights)[:5])
        raise UserError(
            f"{file} holds no weights of {', '.join(SCAN_ENCODERS)}: {len(weights)} keys, the first are {shown}"
        )
    if name != wanted:
        raise UserError(f"{file} holds weights of {name}, not of {wanted}: use brain={name}")
    values = _read_json(file.parent / CONFIG)
    kind = SCAN_ENCODERS[name].model_type or name
    if values is not None and values.get("model_type", kind) != kind:
        raise UserError(f"{file} holds weights of {name}, but {CONFIG} beside it is of {values['model_type']!r}")
    for given in (values, hyper_parameters):
        refuse_endless(given, len(weights), file)
    with contents_of(file.parent / CONFIG if values is not None else file, "is the download or the copy complete?"):
        module, config = _load(name, file, values, hyper_parameters)
        size = SCAN_ENCODERS[name].size_of(config)
        own = (values or {}).get(OWN)
        if own is not None:
            size = _own_size(config, own)
    contract = file.parent / CONTRACT
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    origin = f"weights of {file.name} (sha256 {digest})"
    if own is not None:
        origin = f"{origin}; {own['origin']}"
    arrays = read_arrays(contract) if own is not None and contract.is_file() else None
    return LoadedEncoder(name, module, size, origin, arrays)


def save_encoder(encoder: WindowEncoder, folder: Path | str, origin: str | None = None) -> Path:
    """Write an encoder so that :func:`read_encoder` gives it back with its input contract.

    Parameters
    ----------
    encoder : WindowEncoder
    folder : path
        Made if it does not exist, with private mode.
    origin : str, optional
        Where these weights come from, in words; by default what the encoder says.
    """
    folder = Path(folder)
    make_private(folder)
    own = {
        "frames": encoder.frames,
        "tr": encoder.tr,
        "published": encoder.published,
        "origin": origin or encoder.origin,
    }
    if contract := encoder.contract_state():
        write_tensors(folder / CONTRACT, contract)
    _write(folder, encoder.name, encoder.size.config, encoder.encoder, own)
    return folder


def convert(path: Path, name: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Read weights strictly and write them as safetensors with their sizes; returns the folder and what they are."""
    loaded = read_encoder(path, name)
    make_private(folder)
    own = {"frames": loaded.size.frames, "tr": loaded.size.tr, "published": loaded.size.published}
    _write(folder, name, loaded.size.config, loaded.module, own | {"origin": loaded.origin})
    facts = {"encoder": name, "weights": loaded.origin, **own}
    return folder, facts | {"parameters": sum(p.numel() for p in loaded.module.parameters())}


def _write(folder: Path, name: str, config: Config, module: nn.Module, own: dict[str, Any]) -> None:
    family = SCAN_ENCODERS[name]
    values = {"model_type": family.model_type or name, **dataclasses.asdict(config), OWN: own}
    write_private(folder / CONFIG, json.dumps(values, indent=1).encode())
    # Last: a folder with weights is a whole one.
    write_tensors(folder / WEIGHTS[0], {family.key_prefix + key: value for key, value in module.state_dict().items()})
    there = [one for one in (CONFIG, CONTRACT, SEEN, WEIGHTS[0]) if (folder / one).is_file()]
    write_private(folder / CHECKSUMS, json.dumps({one: content_digest(folder / one) for one in there}).encode())


def _peek(file: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Tensors by key, unwrapped by any of the conventions, and ``hyper_parameters`` where there are some."""
    if file.suffix == ".ckpt":
        return read_checkpoint(file)
    return read_weights(file), None


def _load(
    name: str, file: Path, values: dict[str, Any] | None, hyper_parameters: dict[str, Any] | None
) -> tuple[nn.Module, Config]:
    family = SCAN_ENCODERS[name]
    if family.load is not None:
        return family.load(file, values, hyper_parameters)
    if values is None:
        raise UserError(f"{file} says nothing of its sizes: put a {CONFIG} with the fields of its config beside it")
    known = {f.name for f in dataclasses.fields(family.config)}
    config = family.config(**{k: v for k, v in values.items() if k in known})
    module = family.module(config)
    try:
        module.load_state_dict(read_weights(file), strict=True)
    except RuntimeError as error:
        raise UserError(f"{file} does not fit the module of {name}: {error}") from error
    return module.eval(), config


def _own_size(config: Config, own: dict[str, Any]) -> Size:
    """Window and time step that an encoder of this package was saved with."""
    frames, tr = own["frames"], own["tr"]
    if not (whole(frames) and 0 < frames < MOST_FRAMES):
        raise ValueError(f"windows of {str(frames)[:50]} frames")
    if not (tr is None or (number(tr) and 0 < tr < MOST_FRAMES)):
        raise ValueError(f"a time step of {str(tr)[:50]} seconds")
    if not isinstance(own["origin"], str) or not isinstance(own["published"], bool):
        raise ValueError("no origin")
    return Size(config, frames, tr, own["published"])


def _read_json(path: Path) -> dict[str, Any] | None:
    return read_record(path, "is the download or the copy complete?") if path.is_file() else None
