"""The parts of a store: one folder per choice of options, with its size, its last use and its options in words."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genebrain.brain.encoders.embed import DESCRIPTION
from genebrain.brain.store.journal import INDEX, SETTINGS, read_records
from genebrain.common.files import last_used
from genebrain.common.reading import contents_of, read_record
from genebrain.common.types import UserError
from genebrain.common.words import counted
from genebrain.genetics.store.table_files import ShardIndex
from genebrain.runs.care.needs import CHUNK_INDEX, CHUNKS, SCAN_EMBEDDINGS

INDEXES, TABLES, SCANS, EMBEDDINGS = "letters of genomes", "embeddings of DNA", "scans", "embeddings of scans"
"""Kinds of parts."""
KNOWN_BY = {INDEXES: "report.json", TABLES: "provenance.json", SCANS: SETTINGS, EMBEDDINGS: DESCRIPTION}
"""A file that every part of a kind has."""


@dataclass(frozen=True)
class Part:
    """One part of a store.

    Attributes
    ----------
    name : str
        Path within the store.
    kind : str
    path : Path
    size, files : int
        Bytes and files.
    used : float
        Seconds since 1970 of the last use.
    """

    name: str
    kind: str
    path: Path
    size: int
    files: int
    used: float

    def options(self) -> str:
        """What it was made with, in words; says so where that cannot be read."""
        try:
            with contents_of(self.path / KNOWN_BY[self.kind]):
                return _ABOUT[self.kind](self.path)
        except UserError:
            return "cannot be read: genebrain store verify says what is damaged"


def parts_of(store: Path) -> list[Part]:
    """All parts of a store, sorted by name; other files and folders are left alone.

    Raises
    ------
    UserError
        There is no such folder.
    """
    if not store.is_dir():
        raise UserError(f"there is no store at {store}: name its folder (store=), or the cohort it belongs to")
    found = []
    for path in sorted(store.iterdir()):
        if path.is_symlink() or not path.is_dir():
            continue
        kind = {CHUNK_INDEX: INDEXES, CHUNKS: TABLES, SCAN_EMBEDDINGS: EMBEDDINGS}.get(path.name)
        folders = [(path, SCANS)] if kind is None else [(inner, kind) for inner in sorted(path.iterdir())]
        found += [_part(store, folder, kind) for folder, kind in folders if _is_part(folder, kind)]
    return found


def size_in_words(size: int) -> str:
    """``3.2 MB`` (10^6 bytes)."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def _is_part(folder: Path, kind: str) -> bool:
    return not folder.is_symlink() and folder.is_dir() and (folder / KNOWN_BY[kind]).is_file()


def _part(store: Path, folder: Path, kind: str) -> Part:
    size = files = 0
    for place, _, names in os.walk(folder):
        for name in names:
            size += (Path(place) / name).lstat().st_size
            files += not name.startswith(".")
    return Part(folder.relative_to(store).as_posix(), kind, folder, size, files, last_used(folder))


def _about_index(folder: Path) -> str:
    report: dict[str, Any] = read_record(folder / "report.json")["report"]
    settings = report["settings"]
    masked = report["counts"].get("rare_alleles_masked", 0)
    policies = ", ".join(f"{name}={value}" for name, value in settings["policies"].items() if name == "unphased")
    return (
        f"{report['genotypes']}, {report['n_subjects']:,} people, "
        f"{counted(report['n_windows'], 'window')}, chunks of {settings['chunk_bp']} bp from the "
        f"{settings['cut_origin']}, {policies}" + (f", {masked:,} kinds of rare alleles masked" if masked else "")
    )


def _about_table(folder: Path) -> str:
    facts = read_record(folder / "provenance.json")
    rows = len(ShardIndex.read(folder).names)
    shares = len(list(folder.glob("part-*-of-*")))
    waiting = f", {counted(shares, 'share')} not merged" if shares else ""
    return (
        f"{facts['model_name']}, {counted(rows, 'chunk')}, {facts['hidden_size']} numbers each, "
        f"{'/'.join(facts.get('poolings', []))}{waiting}"
    )


def _about_scans(folder: Path) -> str:
    settings = read_record(folder / SETTINGS)
    if not (folder / INDEX).is_file():
        return "being filled: no whole index yet"
    n = sum(record["status"] == "stored" for record in read_records(folder / INDEX))
    return f"{counted(n, 'scan')}, {settings.get('kind', 'parcels')} (min_frames={settings.get('min_frames')})"


def _about_embeddings(folder: Path) -> str:
    content = read_record(folder / DESCRIPTION)
    windows = content["windows"]
    length = f"{windows['seconds']} s" if windows.get("seconds") else f"{windows['frames']} frames"
    n = sum(1 for _ in folder.glob("??/*.npy"))
    return f"{folder.name.split('-')[0]}, {counted(n, 'scan')}, windows of {length}"


_ABOUT: dict[str, Callable[[Path], str]] = {
    INDEXES: _about_index, TABLES: _about_table, SCANS: _about_scans, EMBEDDINGS: _about_embeddings,
}  # fmt: skip
