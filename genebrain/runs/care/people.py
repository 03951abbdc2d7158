"""People of a run, known again after the cohort changed: who is gone, who is new, whose scans or genomes are others.

A run keeps marks of its people for its owner's eyes: hashes of their ids, keyed with the fingerprint of the cohort, and
of what the store holds of them; never ids. Its split names rows of the cohort as it was; by the marks these rows are
found in the cohort as it is. Who is new belongs to no part and is left out.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genebrain.brain.store.store import ScanStore
from genebrain.common.reading import contents_of, read_record
from genebrain.common.run_folder import write_json
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.common.words import counted
from genebrain.sides.scans import BrainSide
from genebrain.sides.vectors.brains import VectorBrain
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.vectors.kinds import GenomeSide

if TYPE_CHECKING:
    from genebrain.runs.fit import Experiment
    from genebrain.sides.workspace import Workspace

log = logging.getLogger(__name__)

PEOPLE = Path("checkpoints") / "people.json"
ALONE = "alone"
NEW, GONE = "new since the fit", "in the fit, and gone since"


@dataclass(frozen=True)
class KnownPeople:
    """Marks of people by the hash of their id, in the order of the cohort's table.

    Attributes
    ----------
    key : str
        Of the hashes of ids.
    scans, genomes : dict
        Hashes of what the store holds of each person.
    alone : dict
        As ``scans``, of people without a genome whose scans were learned from.
    """

    key: str
    scans: dict[str, str]
    genomes: dict[str, str]
    alone: dict[str, str]

    def id_of(self, name: str) -> str:
        """Hash of an id."""
        return _hashed(self.key.encode(), str(name).encode())


def known_people(
    experiment: Experiment, workspace: Workspace, training: IntArray, key: str | None = None
) -> KnownPeople:
    """Marks of everybody of a cohort whose scans are read; genomes under the masks of the training people."""
    cohort = workspace.cohort
    scans, alone = scan_marks(experiment.brain, workspace), _alone_marks(experiment.brain, workspace)
    genomes = zip(cohort.table["participant_id"], _genome_marks(experiment.genetics, workspace, training), strict=True)
    known = KnownPeople(cohort.fingerprint if key is None else key, {}, {}, {})
    for found, marks in ((known.scans, scans), (known.genomes, genomes), (known.alone, alone)):
        found.update((known.id_of(name), mark) for name, mark in marks)
    return known


def write_people(run: Path, people: KnownPeople) -> None:
    """Write the marks beside the checkpoints, for the owner alone."""
    write_json(run / PEOPLE, asdict(people), private=True)


def read_people(run: Path) -> KnownPeople:
    """Marks that a run holds."""
    record = read_record(run / PEOPLE)
    with contents_of(run / PEOPLE):
        known = KnownPeople(str(record["key"]), *({**record[name]} for name in ("scans", "genomes", "alone")))
        if list(known.scans) != list(known.genomes):
            raise ValueError("scans and genomes of other people")
        return known


def rows_now(run: Path, workspace: Workspace) -> IntArray | None:
    """Row of the cohort that every row of the split has now, -1 for who is gone; None where nothing changed.

    Who is new is left out of the workspace, counted in its funnel and told. None also for a run of an older version,
    and where nobody is known.
    """
    cohort = workspace.cohort
    if not (run / PEOPLE).is_file() or read_record(run / "split.json").get("fingerprint") == cohort.fingerprint:
        return None
    known = read_people(run)
    kept = np.flatnonzero([known.id_of(name) in known.scans for name in cohort.table["participant_id"]])
    if not len(kept):
        return None
    if GONE not in cohort.funnel.get("dropped", {}) or len(kept) < len(cohort):
        more = cohort.unpaired_scans
        if known.alone and len(more):
            more = more[[known.id_of(name) in known.alone for name in more["participant_id"]]]
        counts = {GONE: len(known.scans) - len(kept), NEW: len(cohort) - len(kept)}
        counts["without a genome gone"] = alone_gone(run, workspace)
        workspace.keep_people(kept, NEW, replace(cohort, unpaired_scans=more))
        workspace.cohort.funnel["dropped"][GONE] = counts[GONE]
        what = (
            "; ".join(f"{counted(n, 'person')} {why}" for why, n in counts.items() if n) or "its files, not its people"
        )
        log.warning(f"note: the cohort of {run} changed since the fit ({what}); who is new takes no part")
    place = {known.id_of(name): row for row, name in enumerate(workspace.cohort.table["participant_id"])}
    return np.array([place.get(name, -1) for name in known.scans], np.int64)


def alone_gone(run: Path, workspace: Workspace) -> int:
    """People without a genome that a run has learned from and that the cohort lacks now."""
    known = read_people(run)
    return len(known.alone.keys() - {known.id_of(name) for name in workspace.cohort.alone})


def holds_most_people(run: Path, brain: BrainSide, workspace: Workspace) -> bool:
    """Whether a cohort, its scans read, holds more than half of the people of a run, by id and scans."""
    if not (run / PEOPLE).is_file():
        return False
    known = read_people(run)
    shared = sum(known.scans.get(known.id_of(name)) == mark for name, mark in scan_marks(brain, workspace))
    return 2 * shared > len(known.scans)


def refuse_changed(run: Path, experiment: Experiment, workspace: Workspace, training: IntArray) -> None:
    """Compare what the store holds of everybody who is left with the marks of a run.

    Raises
    ------
    UserError
        Of the same people there are other scans or other genomes.
    """
    known = read_people(run)
    now = known_people(experiment, workspace, training, known.key)
    changed = []
    for what, before, found in (
        ("scans", known.scans | known.alone, now.scans | now.alone), ("genomes", known.genomes, now.genomes)
    ):  # fmt: skip
        if other := sum(before.get(name) != mark for name, mark in found.items()):
            changed.append(f"the {what} of {other} of {len(found)} people")
    if changed:
        raise UserError(
            f"{' and '.join(changed)} of the cohort are not those that {run} was fitted on: other scans, letters or "
            "numbers under the same ids, or processed anew since. Fit again in another folder (run=), or bring back "
            "the files of then; other people are judged as a second cohort (cohort.path= and out=)"
        )


def scan_marks(brain: BrainSide, workspace: Workspace) -> Iterable[tuple[str, str]]:
    """Ids of everybody with a hash of what the store holds of their scans."""
    cohort = workspace.cohort
    if isinstance(brain, VectorBrain):
        (values,) = brain.inputs(cohort, workspace.store, np.empty(0, np.int64))
        return _of_vectors(cohort.table["participant_id"], values)
    return _stored(brain.scans(cohort, workspace.store), cohort.scans)


def _alone_marks(brain: BrainSide, workspace: Workspace) -> Iterable[tuple[str, str]]:
    """The same of people without a genome, where they are learned from."""
    table, unpaired = workspace.cohort.unpaired_scans, workspace.unpaired_inputs(brain)  # which brings them there
    if unpaired is None:
        return ()
    if isinstance(brain, VectorBrain):
        names = table.sort_values("person", kind="stable")["participant_id"].unique()
        return _of_vectors(names, unpaired[0])
    return _stored(brain.scans(workspace.cohort, workspace.store), table)


def _of_vectors(names: Iterable[str], values: FloatArray) -> Iterable[tuple[str, str]]:
    return ((name, _hashed(row.tobytes())) for name, row in zip(names, values, strict=True))


def _stored(store: ScanStore, table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Ids of a scan table, in its order, with a hash of the stored scans of each."""
    found: dict[str, list[str]] = {}
    for name, key in zip(table["participant_id"], store.keys(table), strict=True):
        found.setdefault(str(name), []).append("-" if key is None else str(store.index["sha256"][key]))
    return ((name, _hashed(" ".join(marks).encode())) for name, marks in found.items())


def _genome_marks(genetics: GenomeSide, workspace: Workspace, training: IntArray) -> list[str]:
    """Hash of everybody's genome: of the vectors, or of the chunks under each mask."""
    if isinstance(genetics, VectorGenes):
        return [_hashed(row.tobytes()) for row in genetics.read(workspace.cohort)[1]]
    hashes = [hashlib.blake2b(digest_size=12) for _ in range(len(workspace.cohort))]
    for side in workspace.masked(genetics, training):
        chunks = workspace.chunks(side)
        keys = chunks.keys if chunks.pairs is None else np.hstack([chunks.keys[pair] for pair in chunks.pairs.T])
        keys = np.concatenate([keys, np.zeros((1, keys.shape[1]), np.uint8)])  # row -1: nothing
        for mark, index in zip(hashes, chunks.index, strict=True):
            mark.update(keys[index].tobytes())
    return [mark.hexdigest() for mark in hashes]


def _hashed(*parts: bytes) -> str:
    return hashlib.blake2b(b" ".join(parts), digest_size=12).hexdigest()
