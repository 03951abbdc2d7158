"""Windows through a frozen encoder, each scan once: what is stored is found again by its content.

One float32 array ``[windows, hidden]`` per scan, in a folder that encoder and window policy name, under a hash of
the scan's content: another scan store, another cohort or another name of the same data finds it. A scan is encoded
alone, so its numbers do not depend on which others were done before or beside it, and an interrupted run goes on to
the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.encoders.plain import check_window_encoder
from genebrain.brain.windows.bank import WindowBank
from genebrain.brain.windows.policy import Window
from genebrain.common.files import ArrayWriter, make_private, mark_used, write_private
from genebrain.common.reading import read_npy, read_text
from genebrain.common.types import UserError
from genebrain.common.words import counted, no_bar
from genebrain.engines.run import current, run_shares
from genebrain.engines.share import Share, name_of

log = logging.getLogger(__name__)

DESCRIPTION, OWNERS = "description.json", "owners.tsv"
"""Beside the embeddings: what they were made with, and which scan of a store each file belongs to."""
SCANS_OF_A_SHARE = 8


class Embeddings(Mapping[str, NDArray[np.float32]]):
    """Vectors of the windows of every scan, float32 ``[windows, hidden]`` by its key, read when they are asked for.

    The vectors of all scans of a cohort together may be larger than memory (``summary=connectivity``).
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)

    def __getitem__(self, key: str) -> NDArray[np.float32]:
        """Read those of one scan."""
        advice = "delete that file and run the same command again: the scan is encoded anew"
        return read_npy(self._files[key], advice)

    def __contains__(self, key: object) -> bool:
        """Whether the scan has windows; reads nothing."""
        return key in self._files

    def __iter__(self) -> Iterator[str]:
        """Keys of the scans."""
        return iter(self._files)

    def __len__(self) -> int:
        """Number of scans."""
        return len(self._files)


def embeddings_folder(root: Path, encoder: WindowEncoder, bank: WindowBank) -> Path:
    """Folder of the embeddings of this encoder under this window policy; made with a description inside."""
    folder = root / embeddings_name(encoder, bank)
    make_private(folder)
    if not (folder / DESCRIPTION).is_file():
        content = {"encoder": encoder.description(), "windows": _policy(bank)}
        write_private(folder / DESCRIPTION, json.dumps(content, indent=1, default=str).encode())
    mark_used(folder)
    return folder


def embeddings_name(encoder: WindowEncoder, bank: WindowBank) -> str:
    """Name of that folder: encoder, its weights and the window policy."""
    choice = hashlib.blake2b(json.dumps(_policy(bank), sort_keys=True).encode(), digest_size=6).hexdigest()
    return f"{encoder.name}-{encoder.fingerprint()[:16]}-{choice}"


def embed_windows(
    encoder: WindowEncoder,
    bank: WindowBank,
    planned: Mapping[str, list[Window]],
    folder: Path,
    *,
    batch: int = 16,
    device: str = "auto",
    progress: bool = True,
) -> Embeddings:
    """Embeddings of the windows of every planned scan; what is in the folder is not computed again.

    Parameters
    ----------
    encoder : WindowEncoder
    bank : WindowBank
    planned : mapping
        Scan key -> windows, as :meth:`WindowBank.plan` gives it.
    folder : Path
        Of :func:`embeddings_folder`.
    batch : int
        Windows of a scan that pass the encoder at a time.
    device : str
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda``.

    Returns
    -------
    Embeddings
        Scan key -> float32 ``[windows, hidden]``, on disk.

    Raises
    ------
    UserError
        Embeddings that are not finite, with the number of scans; the finite ones are kept.
    """
    targets = {key: folder / _name(bank, key, windows) for key, windows in planned.items()}
    _note_owners(folder, targets)
    todo = [key for key, target in targets.items() if not target.is_file()]
    bad = 0
    if todo and (current().is_dask or current().is_array):
        bad = _spread(encoder, bank, planned, targets, folder, batch, device, progress)
    elif todo:
        where, home = _device(device), next(encoder.parameters(), torch.empty(0)).device
        encoder = encoder.to(where).eval()
        if not encoder.proven:
            check_window_encoder(encoder, torch.from_numpy(bank.stack(todo[0], planned[todo[0]][:1])).to(where))
        with (
            torch.inference_mode(),
            tqdm(
                total=sum(len(planned[key]) for key in todo), desc=encoder.name, unit="window", disable=no_bar(progress)
            ) as bar,
        ):
            for key in todo:
                bad += not _stored(encoder, bank, key, planned[key], targets[key], batch, where)
                bar.update(len(planned[key]))
        encoder.to(home)  # whoever keeps it does not keep the memory of the GPU
    if bad:
        raise UserError(
            f"{encoder.name} gave numbers that are not finite for {bad} of {len(planned)} scans: look at these scans "
            "with 'genebrain check', or at the weights"
        )
    return Embeddings(targets)


def encode_scans(shared: tuple[WindowEncoder, WindowBank, int, str], scans: list[tuple[str, list[Window], str]]) -> int:
    """One share: encode the windows of some scans into their files; returns how many gave non-finite numbers."""
    encoder, bank, batch, device = shared
    where = _device(device)
    encoder = encoder.to(where).eval()
    with torch.inference_mode():
        return sum(
            not _stored(encoder, bank, key, windows, Path(target), batch, where)
            for key, windows, target in scans
            if not Path(target).is_file()
        )


def _spread(
    encoder: WindowEncoder,
    bank: WindowBank,
    planned: Mapping[str, list[Window]],
    targets: Mapping[str, Path],
    folder: Path,
    batch: int,
    device: str,
    progress: bool,
) -> int:
    """Let the engine in use encode the scans, some per share."""
    listed = [(key, planned[key], str(targets[key].absolute())) for key in sorted(planned)]
    shares, known = [], {}
    for start in range(0, len(listed), SCANS_OF_A_SHARE):
        scans = listed[start : start + SCANS_OF_A_SHARE]
        share = Share(name_of(*(target for _, _, target in scans)), (scans,), len(scans))
        if all(Path(target).is_file() for _, _, target in scans):
            known[share.key] = 0
        shares.append(share)
    done = run_shares(
        encode_scans, shares, folder, shared=(encoder, bank, batch, device), what=encoder.name, unit="scan",
        known=known, progress=progress,
    )  # fmt: skip
    return sum(int(bad) for _, bad in done)


def _stored(
    encoder: WindowEncoder,
    bank: WindowBank,
    key: str,
    windows: list[Window],
    target: Path,
    batch: int,
    where: torch.device,
) -> bool:
    """Encode a scan into its file; False for numbers that are not finite, which are never stored."""
    vectors = _encode(encoder, bank, key, windows, batch, where)
    if not np.isfinite(vectors).all():
        return False
    target.parent.mkdir(exist_ok=True, mode=0o700)
    with ArrayWriter(target, vectors.shape, np.float32, sealed=True) as array:
        array.add(vectors)
    return True


def say_encoder(encoder: WindowEncoder, bank: WindowBank) -> None:
    """Say where the weights come from, and what was done to time steps, once windows are planned."""
    log.info(f"{encoder.name}: {encoder.origin}")
    if words := bank.time_steps():
        log.info(words)


def _encode(
    encoder: WindowEncoder, bank: WindowBank, key: str, windows: list[Window], batch: int, device: torch.device
) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(windows), batch):
        values = torch.from_numpy(bank.stack(key, windows[start : start + batch])).to(device)
        parts.append(encoder(values).float().cpu().numpy())
    return np.concatenate(parts)


def _name(bank: WindowBank, key: str, windows: list[Window]) -> Path:
    """File of a scan: a hash of its frames, their places in time and the windows."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(str(bank.store.index["sha256"][key]).encode())
    digest.update(np.ascontiguousarray(bank.store.frame_numbers(key)).tobytes())
    digest.update(json.dumps([[w.first, w.last, w.start, w.frames, w.mirrored] for w in windows]).encode())
    digest.update(str(bank.own_step(key)).encode())
    name = digest.hexdigest()
    return Path(name[:2]) / f"{name}.npy"


def read_owners(folder: Path) -> set[tuple[str, str]]:
    """Scan key and file of all embeddings of a folder that say whose they are."""
    if not (folder / OWNERS).is_file():
        return set()
    lines = [line.split("\t") for line in read_text(folder / OWNERS).splitlines()]
    return {(line[0], line[1]) for line in lines if len(line) == 2}


def write_owners(folder: Path, owners: set[tuple[str, str]]) -> None:
    """Write whose embeddings these are."""
    write_private(folder / OWNERS, "".join(f"{key}\t{name}\n" for key, name in sorted(owners)).encode())


def _note_owners(folder: Path, targets: Mapping[str, Path]) -> None:
    """Before anything is encoded, so that every file has an owner."""
    known = read_owners(folder)
    owners = known | {(key, target.relative_to(folder).as_posix()) for key, target in targets.items()}
    if owners != known:
        write_owners(folder, owners)


def _policy(bank: WindowBank) -> dict[str, Any]:
    return {**asdict(bank.policy), "frames": bank.frames, "tr": bank.tr}


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device={name} is none of auto, cpu, cuda") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = counted(torch.cuda.device_count(), "CUDA GPU")
        raise UserError(f"device={name}: this machine shows {found}; use device=auto")
    return device
