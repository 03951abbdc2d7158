"""Versions of one recording among the files of a folder: at most one is taken, and nobody guesses which."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from genebrain.brain.folders.labels import some
from genebrain.brain.folders.names import IDENTITY, NONE, comparable, recording
from genebrain.common.types import UserError
from genebrain.common.words import counted

EVERYWHERE = ("space", "task", "desc", "echo", "part", "hemi", "seg", "atlas", "stat")
"""Entities of which a whole folder must have one value: two templates, or two ways of denoising, do not compare."""
MOST_CHOICES = 4

Files = dict[str, dict[str, str]]


def keep_wanted(folder: Path, files: Files, wanted: dict[str, str]) -> tuple[Files, list[str]]:
    """Files that have the wanted labels, and a word about recordings of which none has.

    Raises
    ------
    UserError
        No file has them.
    """
    before = {recording(own) for own in files.values()}
    for key, label in wanted.items():
        present = _values(key, files.values())
        files = {name: own for name, own in files.items() if _value(key, own) == comparable(key, label)}
        if not files:
            raise UserError(f"no scan in {folder} has {key}-{label}; there are: {', '.join(present)}")
    left = before - {recording(own) for own in files.values()}
    asked = [(IDENTITY.index(key), comparable(key, label)) for key, label in wanted.items() if key in IDENTITY]
    left = {own for own in left if all(own[at] == label.replace(NONE, "") for at, label in asked)}
    if not left:
        return files, []
    names = "_".join(f"{key}-{label}" for key, label in wanted.items())
    return files, [f"{counted(len(left), 'recording')} without a version {names} left out"]


def one_of_twins(folder: Path, files: Files) -> tuple[Files, list[str]]:
    """Of one scan stored with and without compression, the compressed one; of two paths to one file, the first."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in files:
        by_stem[name.removesuffix(".gz")].append(name)
    # A link that points nowhere is taken only where there is nothing else.
    taken = [sorted(n, key=lambda n: (not (folder / n).is_file(), not n.endswith(".gz")))[0] for n in by_stem.values()]
    notes = []
    if twins := [name for name in taken if len(by_stem[name.removesuffix(".gz")]) > 1]:
        notes.append(f"{counted(len(twins), 'scan')} stored as .nii and as .nii.gz, one of them taken: {some(twins)}")
    first: dict[str, str] = {}
    linked = []
    for name in sorted(taken):
        target = os.path.realpath(folder / name) if (folder / name).is_file() else name
        if first.setdefault(target, name) != name:
            linked.append((name, first[target]))
    again = {name for name, other in linked if files[name] == files[other]}
    if again:
        notes.append(f"{counted(len(again), 'scan')} reached by links on two ways, taken once: {some(sorted(again))}")
    if shared := [f"{name} = {other}" for name, other in linked if name not in again]:
        notes.append(f"{counted(len(shared), 'scan')} are links to the file of another scan: {some(shared)}")
    return {name: files[name] for name in sorted(taken) if name not in again}, notes


def refuse_versions(folder: Path, files: Files) -> None:
    """Refuse a folder in which a recording has several files, or people have versions that do not compare.

    Raises
    ------
    UserError
        With the entities, their values, and what to type to choose.
    """
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, own in files.items():
        groups[recording(own)].append(name)
    keys = dict.fromkeys([*EVERYWHERE, *sorted({key for own in files.values() for key in own} - set(IDENTITY))])
    several = [
        key
        for key in keys
        if (key in EVERYWHERE and len(_values(key, files.values())) > 1)
        or any(len(_values(key, (files[name] for name in group))) > 1 for group in groups.values())
    ]
    if several:
        told = " and ".join(f"{key} ({', '.join(_values(key, files.values()))})" for key in several)
        versions = Counter("_".join(f"{key}-{_value(key, own)}" for key in several) for own in files.values())
        ways = [f"choose={name} ({counted(n, 'scan')})" for name, n in versions.most_common(MOST_CHOICES)]
        raise UserError(
            f"{folder} holds scans with several values of {told}: choose one, {' or '.join(ways)}"
            f"{' or another' if len(versions) > MOST_CHOICES else ''} (in cohort.yaml `choose: ...`); or list the "
            "scans in a table"
        )
    if twice := [group for group in groups.values() if len(group) > 1]:
        shown = some([" and ".join(group) for group in twice], 2)
        raise UserError(
            f"{folder}: {counted(len(twice), 'recording')} with several files that the entities of their names do not "
            f"tell apart ({shown}); keep one of each, name the folder that holds one, or list the scans in a table"
        )


def mixed(files: Files) -> list[str]:
    """A word about versions that differ between people and may still be meant."""
    keys = sorted({key for own in files.values() for key in own} - set(IDENTITY) - set(EVERYWHERE))
    counts = {key: Counter(_value(key, own) for own in files.values()) for key in keys}
    notes = [
        f"{key} differs between scans: " + ", ".join(f"{value} in {n}" for value, n in sorted(values.items()))
        for key, values in counts.items()
        if len(values) > 1
    ]
    people = {own["sub"]: "ses" in own for own in files.values()}
    if n := sum(people.values()) % len(people):
        notes.append(f"{n} of {len(people)} people have sessions in their names, the others have none")
    return notes


def _value(key: str, own: dict[str, str]) -> str:
    return comparable(key, own.get(key, NONE))


def _values(key: str, files: Iterable[dict[str, str]]) -> list[str]:
    return sorted({_value(key, own) for own in files}, key=lambda value: (value != NONE, value))
