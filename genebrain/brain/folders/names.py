"""File names of BIDS and its derivatives: entities, labels, and which file of several is wanted.

``sub-01_ses-1_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz``: every part before the last underscore is a
``key-label`` pair, and a label is all that stands between its hyphen and the next underscore.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from genebrain.common.types import UserError

IDENTITY = ("sub", "ses", "task", "acq", "dir", "run")
"""Entities that tell one recording from another; any other entity names a version of the same recording."""
NUMBERED = ("run", "echo")
"""Entities whose labels are indices: ``run-1`` and ``run-01`` are the same run."""
NONE = "none"

_END = re.compile(r"(?:\.(?:dtseries|ptseries))?\.(?:nii|nii\.gz|tsv|csv|json|npy)$")
_PAIR = re.compile(r"([A-Za-z0-9]+)-([^_]+)")


def entities(name: str) -> dict[str, str]:
    """``sub-01_ses-1_task-rest_bold`` -> ``{"sub": "01", "ses": "1", "task": "rest"}``; hyphens of labels are kept."""
    stem = _END.sub("", name)
    return {pair[1]: pair[2] for part in stem.split("_") if (pair := _PAIR.fullmatch(part))}


def comparable(key: str, label: str) -> str:
    """A label as it is compared: indices without leading zeros."""
    return str(int(label)) if key in NUMBERED and label.isascii() and label.isdigit() else label


def recording(own: Mapping[str, str]) -> tuple[str, ...]:
    """Which recording a file belongs to: its labels of :data:`IDENTITY`, empty where it has none."""
    return tuple(comparable(key, own.get(key, "")) for key in IDENTITY)


def read_choice(text: str | Iterable[str] | None) -> dict[str, str]:
    """``space-MNI_res-2`` or a list of such -> ``{"space": "MNI", "res": "2"}``; ``none`` is a file without the entity.

    A word without a hyphen is the kind of file: ``{"kind": "ptseries"}``.

    Raises
    ------
    UserError
        Not of this form, or one entity twice.
    """
    if text is None:
        return {}
    words = [text] if isinstance(text, str) else [str(word) for word in text]
    chosen: dict[str, str] = {}
    for part in (part for word in words for part in re.split(r"[_\s,;]+", word.strip()) if part):
        pair = _PAIR.fullmatch(part)
        key, label = pair.groups() if pair else ("kind", part)
        if chosen.setdefault(key, label) != label:
            raise UserError(f"choose={'_'.join(words)} names {key} twice ({chosen[key]} and {label}); choose one")
    return chosen
