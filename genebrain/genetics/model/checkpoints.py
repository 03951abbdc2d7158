"""The published GENERator checkpoints, and safe reading of one folder of weights.

Short names -> hub repositories at pinned revisions; a folder -> checked configuration, weights and fingerprint. Only
``config.json`` and safetensors files are read, never code, never a pickle; the network is touched only where the
caller says so.

Sources: hub revisions and sizes as pinned by public audits of GenerTeam/GENERator.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from genebrain.common.reading import contents_of, read_record
from genebrain.common.types import UserError
from genebrain.genetics.model.tokenizer import VOCAB_SIZE

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
TRAINED_TOKENS = 16_384
"""Positions of every published model."""
_SAMPLED_BLOCKS, _BLOCK_BYTES = 64, 1 << 16


@dataclass(frozen=True)
class Checkpoint:
    """One published model: hub id, pinned commit, and the sizes its ``config.json`` must show."""

    hub_id: str
    revision: str
    hidden_size: int
    layers: int
    closing_mark: bool
    """Whether the model card appends a closing ``<s>`` when it takes embeddings (v2 does, v1 does not)."""
    parameters: int
    """Numbers in the weights, output head included."""


def _published(name: str, revision: str, large: bool, closing_mark: bool) -> Checkpoint:
    hidden, layers, parameters = (3072, 30, 2_998_262_784) if large else (2048, 26, 1_162_061_824)
    return Checkpoint(f"GenerTeam/{name}-base", revision, hidden, layers, closing_mark, parameters)


CHECKPOINTS: dict[str, Checkpoint] = {
    "generator_v1_1.2b": _published(
        "GENERator-eukaryote-1.2b", "5e872c94264891f9adf59d8ea64e426bb68badb5", False, False
    ),
    "generator_v1_3b": _published("GENERator-eukaryote-3b", "7515b17659f092997335226c3fb6aafd06c0add9", True, False),
    "generator_v2_1.2b": _published(
        "GENERator-v2-eukaryote-1.2b", "c41b0018da9ee13b9e96ee54647de8da381ccd72", False, True
    ),
    "generator_v2_3b": _published("GENERator-v2-eukaryote-3b", "7dc01bccce5b65e15141170538afdc2ff09d8dde", True, True),
    "generator_v2_prokaryote_1.2b": _published(
        "GENERator-v2-prokaryote-1.2b", "8b2f768b0d293953518ff91d34600f9322ef1f94", False, True
    ),
    "generator_v2_prokaryote_3b": _published(
        "GENERator-v2-prokaryote-3b", "b18ac86df77359d894d7bc050cea78e2d0713021", True, True
    ),
}


def hub_folder(checkpoint: Checkpoint, revision: str | None, allow_download: bool) -> Path:
    """Folder of the cached checkpoint; fetched first only if ``allow_download`` (``HF_HUB_OFFLINE`` wins).

    Raises
    ------
    UserError
        If it is not cached and must not be, or can not be, downloaded.
    """
    import huggingface_hub as hub  # takes a second, and few need it
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    revision = revision or checkpoint.revision
    try:
        return Path(
            hub.snapshot_download(
                checkpoint.hub_id,
                revision=revision,
                allow_patterns=["config.json", "*.safetensors", INDEX],
                local_files_only=not allow_download,
            )
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError) as error:
        raise UserError(
            f"{checkpoint.hub_id} at revision {revision} is not in the local hub cache"
            f"{' and could not be downloaded' if allow_download else ''}. Give a folder with config.json and "
            f"{SINGLE} as genetics.path=FOLDER (in Python path=), or fetch it once with network: "
            f"hf download {checkpoint.hub_id} --revision {revision}"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a checkpoint folder, checked to be a plain Llama with GENERator's vocabulary.

    Raises
    ------
    UserError
        If the file is missing or unreadable, or names another architecture or vocabulary (both numbers
        given).
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"no config.json in {folder}; expected config.json and {SINGLE} (or {INDEX} and its shards)")
    try:
        config = read_record(path)
        found = config.get("model_type"), config.get("vocab_size")
    except UserError as error:
        raise UserError(f"{path} is not a JSON object: {error}") from error
    if found != ("llama", VOCAB_SIZE):
        raise UserError(
            f"{path}: model_type {found[0]!r} with vocab_size {found[1]}, but GENERator is 'llama' with "
            f"{VOCAB_SIZE} (32 control tokens + 4096 6-mers); this is not a GENERator checkpoint"
        )
    return config


def weight_files(folder: Path) -> list[Path]:
    """Safetensors files of a checkpoint, in name order: the shards of the index, or the single file.

    Raises
    ------
    UserError
        If none is there or shards of the index are missing (all are named); weights in pickle files are
        refused.
    """
    index = folder / INDEX
    if index.is_file():
        with contents_of(index, "is the download complete?"):
            names = sorted({str(name) for name in read_record(index)["weight_map"].values()})
        if outside := [name for name in names if Path(name).name != name]:
            raise UserError(f"{index} names files of other folders ({', '.join(outside[:3])}): they are not read")
    else:
        names = [SINGLE]
    if missing := [name for name in names if not (folder / name).is_file()]:
        pickled = sorted(p.name for p in folder.glob("*.bin")) + sorted(p.name for p in folder.glob("*.pt"))
        hint = f"; {pickled[0]} is a pickle and is not read: convert it to safetensors" if pickled else ""
        raise UserError(f"{len(missing)} of {len(names)} weight files missing in {folder}: {', '.join(missing)}{hint}")
    return [folder / name for name in names]


def backbone_key(name: str) -> str | None:
    """Key of the decoder alone for a stored name: with or without ``model.``; None for the output head."""
    plain = name.removeprefix("model.")
    return None if plain.startswith("lm_head.") else published_key(plain)


def published_key(name: str) -> str | None:
    """Key of the language model for a stored name: itself; None for rotary frequencies, which are no weights."""
    return None if name.endswith("rotary_emb.inv_freq") else name


def read_weights(
    files: list[Path],
    expected: Mapping[str, torch.Size],
    dtype: torch.dtype,
    key_of: Callable[[str], str | None] = backbone_key,
) -> dict[str, Tensor]:
    """Weights of a model, cast to ``dtype``, every key and shape checked first.

    Parameters
    ----------
    files : list of Path
        Safetensors files.
    expected : mapping
        Key -> shape of the model they must fit.
    dtype : torch.dtype
    key_of : callable
        Stored name -> key of the model, or None for what is not read.

    Raises
    ------
    UserError
        If keys are missing, left over, or differ in shape: counts, and the first five of each kind.
    """
    shapes = {key: shape for name, shape in stored_shapes(files).items() if (key := key_of(name)) is not None}
    wrong = [k for k in expected if k in shapes and shapes[k] != expected[k]]
    problems = [
        *_listed("missing keys", [k for k in expected if k not in shapes]),
        *_listed("unexpected keys", [k for k in shapes if k not in expected]),
        *_listed(
            "shapes that differ (file, model)",
            [f"{k} {shapes[k]} {tuple(expected[k])}" for k in wrong],
        ),
    ]
    if problems:
        names = ", ".join(f.name for f in files)
        raise UserError(f"{files[0].parent} ({names}) does not fit its config.json: " + "; ".join(problems))
    weights: dict[str, Tensor] = {}
    for file in files:
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 (a file handle, not a mapping)
                if (key := key_of(name)) is not None:
                    weights[key] = stored.get_tensor(name).to(dtype)
    return weights


def fingerprint_files(config: Mapping[str, Any], files: list[Path]) -> str:
    """Identity of a checkpoint, 32 hex digits: its configuration and its weights.

    Per file the size, the first 64 KiB (which hold the safetensors header, at least its beginning) and 64
    evenly spaced blocks of 64 KiB are hashed; files of up to 4 MiB are hashed whole. Two checkpoints of
    one shape that differ in a few hand-edited bytes between blocks of a large file are *not* told apart;
    any training step, which moves every weight, is.
    """
    digest = hashlib.blake2b(json.dumps(config, sort_keys=True).encode(), digest_size=16)
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        step = max(_BLOCK_BYTES, size // _SAMPLED_BLOCKS)
        with file.open("rb") as stream:
            for start in range(0, size, step):
                stream.seek(start)
                digest.update(stream.read(_BLOCK_BYTES))
    return digest.hexdigest()


def stored_shapes(files: list[Path]) -> dict[str, tuple[int, ...]]:
    """Name as stored -> shape, of all files; only headers are read. ``UserError`` if a file is not readable."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as stored:
                shapes |= {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise UserError(
                f"{file} is not a readable safetensors file ({error}); is the download complete?"
            ) from error
    return shapes


def _listed(title: str, items: list[str]) -> list[str]:
    return [f"{len(items)} {title}: {', '.join(items[:5])}"] if items else []
