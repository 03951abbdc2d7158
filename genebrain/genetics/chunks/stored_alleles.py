"""Counted alleles and everybody's dosages as a file, so that a study reads its genotypes once.

The file lies in the folder of the chunks that were cut by it: whoever deletes these (a pruned store, people who
withdrew) deletes it too. Its name says what was counted, on whom.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genebrain.common.reading import contents_of
from genebrain.common.types import UserError
from genebrain.genetics.haplotypes.common_alleles import UNKNOWN, Allele, AlleleTable
from genebrain.genetics.store.table_files import read_array, write_tensors

AGAIN = "delete this file: the alleles are counted again"


def alleles_file(folder: Path, name: str) -> Path:
    """File of the alleles that were counted under a name, in a folder of chunks."""
    return folder / f"alleles-{name}.safetensors"


def save_alleles(path: Path, table: AlleleTable) -> None:
    """Write a table; private, as it tells what people carry."""
    blocks = [np.where(np.isnan(block), UNKNOWN, block).astype(np.int8) for block in table.dosages]
    facts = json.dumps({"name": path.stem, "n_seen": table.n_seen, "alleles": table.alleles}).encode()
    tensors: dict[str, NDArray[Any]] = {
        "facts": np.frombuffer(facts, np.uint8),
        "dosages": np.concatenate(blocks, axis=1),
        "rare": table.rare,
    }
    write_tensors(path, tensors)


def load_alleles(path: Path) -> AlleleTable:
    """Read a table.

    Raises
    ------
    UserError
        The file is damaged, or was written under another name: of other genotypes, or counted on other people.
    """
    with contents_of(path, AGAIN):
        facts = json.loads(_read(path, "facts").tobytes())
        if facts.get("name", path.stem) != path.stem:  # the first of these files did not say it
            raise UserError(f"{path} was written as {facts['name']}, of other alleles or people; {AGAIN}")
        alleles = [[Allele(*one) for one in window] for window in facts["alleles"]]
        stored = _read(path, "dosages")
        places = np.cumsum([len(window) for window in alleles])[:-1]
        return AlleleTable(alleles, np.split(stored, places, axis=1), int(facts["n_seen"]), _read(path, "rare"))


def _read(path: Path, name: str) -> NDArray[Any]:
    try:
        return read_array(path, name)
    except UserError as error:
        raise UserError(f"{error}; {AGAIN}") from error
