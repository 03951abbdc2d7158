"""Needs of a run: the parts of its store, written by ``fit``, and by ``evaluate`` where it is not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genebrain.common.reading import read_record
from genebrain.common.run_folder import write_json
from genebrain.common.types import UserError
from genebrain.sides.connectome import ConnectomeSide
from genebrain.sides.genome import GeneSide
from genebrain.sides.person_vectors import ready_encoder
from genebrain.sides.scans import EncoderSide
from genebrain.sides.workspace import Workspace

if TYPE_CHECKING:
    from genebrain.common.types import IntArray
    from genebrain.runs.fit import Experiment

NEEDS = "needs.json"
CHUNK_INDEX, CHUNKS, SCAN_EMBEDDINGS = "chunk_index", "chunks", "scan_embeddings"
"""Folders of a store that hold one folder per choice of options."""


def write_needs(run: Path, experiment: Experiment, workspace: Workspace, training: IntArray) -> None:
    """Write the parts of the store that a run reads, as paths within the store."""
    write_json(run / NEEDS, {"store": needed(experiment, workspace, training)})


def read_needs(run: Path) -> set[str]:
    """Parts of the store that a run reads.

    Raises
    ------
    UserError
        The run does not say: it is not finished, or was made by an older version.
    """
    if not (run / NEEDS).is_file():
        finished = (run / "provenance.json").exists()
        raise UserError(
            f"{run} does not say what it needs of the store: "
            + ("judge it once (genebrain evaluate), which notes it" if finished else "its fit is not finished")
        )
    found = read_record(run / NEEDS).get("store")
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UserError(f"{run / NEEDS} is damaged; delete it and judge the run again, which writes it")
    return set(found)


def needed(experiment: Experiment, workspace: Workspace, training: IntArray) -> list[str]:
    """Parts of the store that an experiment reads, as paths within the store.

    Parameters
    ----------
    workspace : Workspace
        After the scans were brought in: rows mean the people with a usable scan.
    training : int array
        Rows that what is scaled by the cohort is scaled by, and whose alleles are counted.
    """
    found: list[str] = []
    if isinstance(experiment.genetics, GeneSide):
        found += _of_genomes(experiment.genetics, workspace, training)
    if isinstance(experiment.brain, ConnectomeSide):
        found.append(experiment.brain.folder(workspace.store).name)
    elif isinstance(experiment.brain, EncoderSide):
        found += _of_scans(experiment.brain, workspace, training)
    return sorted(found)


def _of_genomes(gene: GeneSide, workspace: Workspace, training: IntArray) -> list[str]:
    from genebrain.genetics.chunks.build import content_fingerprint
    from genebrain.genetics.encoders.options import table_name

    sides = [side for side in workspace.masked(gene, training) if isinstance(side, GeneSide)]
    found = {f"{CHUNK_INDEX}/{content_fingerprint(**side.chunk_inputs(workspace.cohort))}" for side in sides}
    if "embeddings" in gene.families:
        found.add(f"{CHUNKS}/{table_name(gene.frozen.reader().identity())}")
    return sorted(found)


def _of_scans(side: EncoderSide, workspace: Workspace, training: IntArray) -> list[str]:
    from genebrain.brain.encoders.embed import embeddings_name

    cohort, store = workspace.cohort, workspace.store
    name = embeddings_name(*ready_encoder(side, cohort, store, training))
    return [side.folder(side.options(cohort)), f"{SCAN_EMBEDDINGS}/{name}"]
