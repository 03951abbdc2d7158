"""Scan encoders in a folder that can be given away: ``config.json``, ``model.safetensors`` and a card, ``README.md``.

What was pretrained on scans is written. What learned from genotypes inside an alignment is refused unless the user says
that it may be shared: weights can tell of the people that they were fitted on.
"""

from __future__ import annotations

import json
from pathlib import Path

from genebrain.brain.encoders.base import WindowEncoder
from genebrain.brain.encoders.build import build_encoder
from genebrain.brain.encoders.files import (
    ALIGNED,
    CONFIG,
    CONTRACT,
    ENCODER,
    OWN,
    SEEN,
    LoadedEncoder,
    detect,
    read_encoder,
    weights_file,
)
from genebrain.brain.encoders.settings import EncoderSettings
from genebrain.brain.models.brainlm.weights import read_weights
from genebrain.brain.models.parcel_input import ParcelInput
from genebrain.brain.models.scaling import CohortScaling
from genebrain.brain.models.weight_files import WEIGHTS
from genebrain.common.checksums import CHECKSUMS
from genebrain.common.files import make_private, write_private
from genebrain.common.reading import read_record
from genebrain.common.text_lines import text_lines
from genebrain.common.types import UserError
from genebrain.common.words import counted

CARD = "README.md"


def save_pretrained(
    source: Path | str, out: Path | str, *, licence: str = "", data: str = "", sharing_allowed: bool = False
) -> Path:
    """Write the encoder of a run of ``pretrain`` as a folder in the hub's form; nothing is sent anywhere.

    Parameters
    ----------
    source : path
        A run folder, or the folder of an encoder.
    out : path
        Folder to write: ``config.json``, ``model.safetensors``, ``README.md``; of encoders of parcels also
        ``contract.safetensors`` (parcels, scaling); ``seen_scans.txt``, marks of the scans that were learned from, by
        which ``fit`` refuses to be judged on them. The bytes are those of ``source``.
    licence, data : str
        For the card: under which licence the weights may be used; on which scans they were trained.
    sharing_allowed : bool
        That what learned from genotypes may be shared, by consent and by the terms of the data.

    Raises
    ------
    UserError
        No encoder of this package's form; one that learned from genotypes, without ``sharing_allowed``; files in
        ``out``.
    """
    folder, out = Path(source), Path(out)
    folder = folder / ENCODER if (folder / ENCODER / WEIGHTS[0]).is_file() else folder
    values = read_record(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    if OWN not in values or not (folder / WEIGHTS[0]).is_file():
        raise UserError(
            f"{source} holds no encoder of genebrain's form ({CONFIG} and {WEIGHTS[0]}): name a run of 'genebrain "
            "pretrain', or make it one with 'genebrain convert-scan-encoder'. A run of 'genebrain fit' with frozen "
            "encoders trained none"
        )
    origin = str(values[OWN]["origin"])
    if ALIGNED in origin and not sharing_allowed:
        raise UserError(
            f"{source} was {ALIGNED}, so it derives from people's genotypes, which weights can give away; it is "
            "written for others only with sharing_allowed=True: that consent and the terms of the data "
            "allow it"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"out={out} {'holds files already' if out.is_dir() else 'is a file'}: name an empty folder")
    loaded = read_encoder(folder, _name(folder))  # checksums, keys and sizes, before anything is given away
    card = _card(loaded, _one_line(origin), _one_line(licence), _one_line(data), folder / SEEN)
    make_private(out)
    for name in (CONFIG, CONTRACT, SEEN, CHECKSUMS, WEIGHTS[0]):
        if (folder / name).is_file():
            write_private(out / name, (folder / name).read_bytes())
    write_private(out / CARD, card.encode())
    return out


def from_pretrained(folder: Path | str) -> WindowEncoder:
    """The encoder of a folder of :func:`save_pretrained`, with its input contract, in evaluation mode.

    Raises
    ------
    UserError
        No such folder, damaged files, keys that do not fit.
    """
    name = _name(Path(folder))
    loaded = read_encoder(folder, name)
    if loaded.contract is None:
        if EncoderSettings(name).reads == "parcels":
            raise UserError(
                f"{folder} has no {CONTRACT}, which says what parcels are read: copy the whole folder again"
            )
        size = getattr(loaded.size.config, "img_size", None) or (1, 1, 1)  # of the scans: told by the weights
        return build_encoder(EncoderSettings(name, str(folder)), grid=tuple(size)[:3], loaded=loaded)
    contract = ParcelInput.from_state(loaded.contract)
    settings = EncoderSettings(
        name, str(folder), formula=contract.formula,
        scaling="cohort" if isinstance(contract.scaling, CohortScaling) else "window",
    )  # fmt: skip
    return build_encoder(settings, n_parcels=contract.n_parcels, coordinates=contract.coordinates, loaded=loaded)


def _name(folder: Path) -> str:
    file = weights_file(folder)
    name = detect(read_weights(file))
    if name is None:
        raise UserError(f"{file} holds no weights of a scan encoder that is known")
    return name


def _one_line(text: str) -> str:
    """Words in one line, as headings and rules of their own would be read as the card's."""
    return " ".join(text.encode(errors="replace").decode().split())


def _card(loaded: LoadedEncoder, origin: str, licence: str, data: str, seen: Path) -> str:
    """The card, with the front matter that the hub reads."""
    size, marks = loaded.size, len(list(text_lines(seen))) if seen.is_file() else 0
    terms = json.dumps(licence) if licence else "other"
    front = f"license: {terms}\nlibrary_name: genebrain\ntags:\n- fmri\n- {loaded.name}\n"
    window = f"{counted(size.frames, 'frame')}" + (f" of {size.tr:g} s" if size.tr else "")
    lines = [
        f"Weights of {loaded.name}, a scan encoder: windows of {window} in, vectors out.",
        f"Origin: {origin}.",
        f"Trained on: {data or 'not said'}.",
        f"Licence: {licence or 'not said: ask before you use it'}.",
    ]
    if ALIGNED in origin:
        lines.append("It learned from people's genotypes; who wrote it says that sharing is allowed.")
    if marks:
        lines.append(
            f"`{SEEN}` holds {marks} marks of scans that it has seen: hashes, by which genebrain refuses to judge it "
            "on them. Who has one of these scans can tell that it was among them."
        )
    use = (
        'Read it with `genebrain.from_pretrained("FOLDER")`, or on the command line with '
        f"`brain={loaded.name} brain.path=FOLDER`.\n"
    )
    return f"---\n{front}---\n\n# {loaded.name}\n\n" + "\n\n".join(lines) + f"\n\n{use}"
