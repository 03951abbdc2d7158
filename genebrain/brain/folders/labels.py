"""Labels of people and sessions in file names, against the folders that the files lie in."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from genebrain.brain.folders.names import entities
from genebrain.common.types import UserError
from genebrain.common.words import counted

SHOWN = 3


def refuse_labels(folder: Path, files: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse names from which it cannot be told whose scan a file is.

    Parameters
    ----------
    folder
        Named in the message.
    files
        Path below the folder, with slashes -> entities of the file's name.

    Raises
    ------
    UserError
        A label that is not that of the folder around the file, people who differ in capital letters, leading zeros or
        the way in which Unicode writes a letter only, people with and without sessions in their names; all together.
    """
    problems = []
    if strange := [name for name, own in files.items() if not _fits(name, own)]:
        problems.append(
            f"{counted(len(strange), 'scan')} whose name has another sub- or ses- than the folder around it "
            f"({some(strange)}); a label ends at the next underscore"
        )
    people: dict[str, set[str]] = defaultdict(set)
    sessions: dict[str, set[bool]] = defaultdict(set)
    for own in files.values():
        people[re.sub(r"(?<!\d)0+(?=\d)", "", unicodedata.normalize("NFKC", own["sub"]).lower())].add(own["sub"])
        sessions[own["sub"]].add("ses" in own)
    if alike := [
        " and ".join(f"sub-{label}" for label in sorted(labels)) for labels in people.values() if len(labels) > 1
    ]:
        problems.append(
            f"labels that differ in capitals, zeros or the form of their letters only ({some(alike)}): one person "
            "or two?"
        )
    if both := [f"sub-{label}" for label, kinds in sessions.items() if len(kinds) > 1]:
        problems.append(
            f"scans with and without ses- of one person ({some(both)}): is one a copy, or a session without name?"
        )
    if problems:
        raise UserError(f"{folder}: {'; '.join(problems)}. Rename the files, or list the scans in a table")


def _fits(name: str, own: Mapping[str, str]) -> bool:
    """Whether the folders around a file that name a person or a session name those of the file."""
    for part in name.split("/")[:-1]:
        if re.match(r"(?:sub|ses)-", part):
            around = entities(part)
            whole = "_".join(f"{key}-{label}" for key, label in around.items()) == part
            if not whole or any(own.get(key) != around[key] for key in ("sub", "ses") if key in around):
                return False
    return True


def some(names: list[str], most: int = SHOWN) -> str:
    """The first few of a list."""
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")
