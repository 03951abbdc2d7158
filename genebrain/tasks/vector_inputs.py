"""Vectors as a user gives them: files, numpy arrays or data frames; as files of a cohort that a run can name.

Arrays and frames are written into the run folder (private), so that ``evaluate`` finds them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from genebrain.cohort.participants import Cohort
from genebrain.common.files import make_private, write_private
from genebrain.common.types import UserError
from genebrain.common.vectors import VectorInput, table_of, write_vectors
from genebrain.common.vectors.given import names_rows
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.scans import BrainSide
from genebrain.sides.vectors.brains import VectorBrain
from genebrain.sides.vectors.cohorts import open_cohort, write_vector_cohort
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.vectors.kinds import GenomeSide
from genebrain.simulation.source import CohortSource

FOLDER = "cohort"


@dataclass(frozen=True)
class Sources:
    """Where the people come from and how the two sides are read."""

    cohort: CohortSource | Path | str
    genetics: GenomeSide
    brain: BrainSide


def sources_of(
    cohort: CohortSource | Path | str | None,
    genetics: GenomeSide | None,
    brain: BrainSide | None,
    genes: VectorInput | None,
    brains: VectorInput | None,
    participants: VectorInput | None,
    run: Path,
    ids: Sequence[str] | None = None,
) -> Sources:
    """Sides and cohort that are meant; a cohort of vectors alone is described in ``run/cohort/cohort.yaml``.

    Raises
    ------
    UserError
        A side of vectors without a cohort for the other one, or inputs that are no table.
    """
    if ids is None:
        _same_rows(genes, brains)
    elif all(one is None or names_rows(one) for one in (genes, brains)):
        raise UserError("ids= names the rows of arrays; the frames and files that are given say themselves who is who")
    own_cohort = cohort is not None and not (isinstance(cohort, CohortSource) and cohort.path is None)
    folder = run / FOLDER
    gene_file = None if genes is None else _file(genes, folder, "genes", ids)
    brain_file = None if brains is None else _file(brains, folder, "brains", ids)
    if gene_file is not None:
        genetics = VectorGenes(str(gene_file.absolute()))
    if brain_file is not None:
        side = brain if isinstance(brain, VectorBrain) else VectorBrain()
        brain = replace(side, path=str(brain_file.absolute()))
    genetics, brain = _absolute(genetics or GeneSide()), _absolute(brain or ConnectomeSide())
    of_vectors = [side for side in (genetics, brain) if isinstance(side, VectorGenes | VectorBrain)]
    if own_cohort or not of_vectors:
        if participants is not None:
            raise UserError("participants= belongs to genes= and brains=; a cohort names its table in cohort.yaml")
        if cohort is None:
            raise UserError("give a cohort (cohort.path=...), or vectors of both sides (genes= and brains=)")
        return Sources(cohort, genetics, brain)
    gene_path = genetics.path if isinstance(genetics, VectorGenes) else None
    brain_path = brain.path if isinstance(brain, VectorBrain) else None
    path = write_vector_cohort(
        folder,
        None if gene_path is None else Path(gene_path),
        None if brain_path is None else Path(brain_path),
        None if participants is None else _table(participants, folder),
    )
    # The cohort names the files: sides that name none can be used on another cohort of vectors.
    return Sources(path, VectorGenes(), replace(brain, path=None))


def open_sources(path: Path, given: Sources) -> Cohort:
    """The cohort as the two sides mean it."""
    return open_cohort(path, given.genetics, given.brain)


def _same_rows(genes: Any, brains: Any) -> None:
    """Refuse arrays of different lengths: without ids, row i of both is one person."""
    if any(one is None or names_rows(one) for one in (genes, brains)):
        return
    if len(genes) != len(brains):
        raise UserError(
            f"genes has {len(genes):,} rows and brains {len(brains):,}: without ids, row i of both must be one person. "
            "Give data frames whose index says who each row is"
        )


def _absolute(side: Any) -> Any:
    """A side of vectors whose file is found from any working directory."""
    if isinstance(side, VectorGenes | VectorBrain) and side.path is not None:
        return replace(side, path=str(Path(side.path).expanduser().absolute()))
    return side


def _file(given: Any, folder: Path, name: str, ids: Sequence[str] | None) -> Path:
    """File of vectors: the one that was named, or one that holds an array or frame."""
    if isinstance(given, str | Path):
        return Path(given).expanduser()
    table = table_of(given, ids, name)
    make_private(folder.parent)
    make_private(folder)
    digest = hashlib.sha256(table.values.tobytes() + repr((table.ids, table.columns)).encode()).hexdigest()[:10]
    path = folder / f"{name}-{digest}.parquet"
    if not path.exists():
        write_vectors(path, table.ids, table.values, table.columns)
    return path


def _table(given: Any, folder: Path) -> Path:
    """File of the participants table."""
    if isinstance(given, str | Path):
        return Path(given).expanduser()
    if not isinstance(given, pd.DataFrame):
        raise UserError("participants: a file or a DataFrame with a column participant_id (or ids as index) is wanted")
    frame = given if "participant_id" in given.columns else given.rename_axis("participant_id").reset_index()
    text = frame.to_csv(sep="\t", index=False).encode("utf-8")
    make_private(folder.parent)
    make_private(folder)
    path = folder / f"participants-{hashlib.sha256(text).hexdigest()[:10]}.tsv"
    if not path.exists():
        write_private(path, text)
    return path
