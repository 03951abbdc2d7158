"""People of the rows that ``embed-scans`` writes: arrays hold keyed names, and ``names.tsv`` says who they are."""

from __future__ import annotations

from pathlib import Path

from genebrain.common.text_lines import text_lines

NAMES = "names.tsv"
KEYS = ("scan", "subject")
"""Columns of keyed names."""


def people_of(folder: Path, keys: list[str]) -> list[str]:
    """Ids of people behind keyed names of scans or subjects; other ids as they are."""
    if not (folder / NAMES).is_file():
        return keys
    header, *rows = [line.rstrip("\r\n").split("\t") for line in text_lines(folder / NAMES)]
    if not {*KEYS, "participant_id"} <= {*header}:
        return keys
    person, places = header.index("participant_id"), [header.index(name) for name in KEYS]
    known = {row[place]: row[person] for row in rows if len(row) == len(header) for place in places}
    return [known.get(key, key) for key in keys]
