"""Checksums of everything in a store: what is damaged, by name, and what has no checksum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from genebrain.brain.encoders.embed import DESCRIPTION
from genebrain.brain.store.journal import INDEX, array_path
from genebrain.brain.store.store import ScanStore
from genebrain.common.checksums import CHECKSUMS
from genebrain.common.reading import SEAL, read_npy, read_record
from genebrain.common.types import UserError
from genebrain.common.words import no_bar
from genebrain.genetics.chunks.chunk_set import ChunkSet
from genebrain.genetics.chunks.stored_alleles import load_alleles
from genebrain.genetics.store.shares import stored_poolings
from genebrain.genetics.store.table_files import read_array
from genebrain.runs.care.parts import EMBEDDINGS, INDEXES, SCANS, TABLES, Part


@dataclass
class Findings:
    """What was found in a store.

    Attributes
    ----------
    files : int
        Files that were read to their end.
    damaged : dict
        What is wrong, by the path of the file (or of the part) within the store.
    without : list of str
        Parts, or files, that have no checksum to compare: they were written by an older version.
    """

    files: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)

    def read(self, place: str, reader: Callable[[], object]) -> bool:
        """Read something; note what it says when it is damaged."""
        self.files += 1
        try:
            reader()
        except UserError as error:
            self.damaged[place] = str(error)
            return False
        return True


def verify_parts(parts: list[Part], *, progress: bool) -> Findings:
    """Read every file of these parts and compare its checksum."""
    found = Findings()
    check = {INDEXES: _index, TABLES: _table, SCANS: _scans, EMBEDDINGS: _embeddings}
    for part in tqdm(parts, "parts", disable=no_bar(progress)):
        check[part.kind](part, found)
    return found


def _index(part: Part, found: Findings) -> None:
    if not (part.path / CHECKSUMS).is_file():
        found.without.append(part.name)
    found.read(part.name, lambda: ChunkSet.load(part.path, note=False))
    for file in sorted(part.path.glob("alleles-*.safetensors")):
        found.read(f"{part.name}/{file.name}", partial(load_alleles, file))


def _table(part: Part, found: Findings) -> None:
    name = f"{part.name}/provenance.json"
    if not found.read(name, lambda: read_record(part.path / "provenance.json")):
        return
    poolings = stored_poolings(part.path)
    for shard in sorted((*part.path.glob("shard-*.safetensors"), *part.path.glob("part-*-of-*/shard-*.safetensors"))):
        place = f"{part.name}/{shard.relative_to(part.path).as_posix()}"
        found.read(place, partial(_whole_shard, shard, poolings))


def _whole_shard(shard: Path, poolings: tuple[str, ...]) -> None:
    for name in ("keys", *poolings):
        read_array(shard, name)


def _scans(part: Part, found: Findings) -> None:
    if not (part.path / INDEX).is_file():
        found.without.append(f"{part.name} (being filled)")
        return
    stores: list[ScanStore] = []
    if not found.read(f"{part.name}/{INDEX}", lambda: stores.append(ScanStore(part.path))):
        return
    found.files += len(stores[0])
    for key in stores[0].verify():
        path = array_path(part.path, key).relative_to(part.path).as_posix()
        found.damaged[f"{part.name}/{path}"] = "missing, or its checksum differs: delete it, and the scan is read again"


def _embeddings(part: Part, found: Findings) -> None:
    found.read(f"{part.name}/{DESCRIPTION}", lambda: read_record(part.path / DESCRIPTION))
    for file in sorted(part.path.glob("??/*.npy")):
        place = f"{part.name}/{file.relative_to(part.path).as_posix()}"
        if found.read(place, partial(read_npy, file)) and not _sealed(file):
            found.without.append(place)


def _sealed(file: Path) -> bool:
    length = len(SEAL) + 32
    with file.open("rb") as stream:
        stream.seek(-min(length, file.stat().st_size), 2)
        return stream.read(len(SEAL)) == SEAL
