"""New people as a user gives them: genotypes, scans, a cohort or vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genebrain.cohort.participants import Cohort
from genebrain.common.types import FloatArray, UserError
from genebrain.common.vectors import table_of
from genebrain.runs.embed_scans import ScanSource
from genebrain.runs.new_people import genomes, scans, vectors
from genebrain.runs.new_people.genomes import NewGenomes, is_genotypes
from genebrain.runs.transfer import load_elsewhere
from genebrain.sides.vectors.brains import VectorBrain
from genebrain.sides.vectors.cohorts import open_cohort, without_file
from genebrain.sides.vectors.genes import VectorGenes
from genebrain.sides.workspace import Workspace

if TYPE_CHECKING:
    from genebrain.runs.run import Run


def embedded_genomes(run: Run, source: Any, ids: Sequence[str] | None, reference: Path | None) -> pd.DataFrame:
    """Score vectors of genomes; see :meth:`genebrain.runs.run.Run.embed_genomes`."""
    experiment = run.experiment
    if isinstance(experiment.genetics, VectorGenes) and not is_genotypes(source):
        if (path := cohort_path(source)) is not None:
            cohort = _of_vectors(experiment, path)
            table, values = experiment.genetics.read(cohort)
            source = pd.DataFrame(values, columns=table.columns, index=cohort.table["participant_id"])
        return vectors.genome_vectors(run.path, experiment, run.model, table_of(source, ids, "genome vectors"))
    path = cohort_path(source)
    if path is not None:
        people = NewGenomes.of_cohort(open_cohort(path, experiment.genetics, None))
    elif is_genotypes(source):
        people = NewGenomes.of_file(Path(source) if isinstance(source, str | Path) else source)
    else:
        raise UserError(
            f"{run.path} reads genotypes: give a .vcf.gz, .bcf or .pgen file, or a cohort.yaml (given: "
            f"{_shown(source)})"
        )
    if ids is not None:
        people = _picked(people, [str(one) for one in ids])
    return genomes.genome_vectors(
        run.path, experiment, run.model, people, reference=reference, store=run.store, progress=run.progress
    )


def embedded_scans(
    run: Run, source: Any, ids: Sequence[str] | None, atlas: Path | None, store: Path | None
) -> pd.DataFrame:
    """Score vectors of scans; see :meth:`genebrain.runs.run.Run.embed_scans`."""
    experiment, path = run.experiment, cohort_path(source)
    if isinstance(experiment.brain, VectorBrain):
        if path is not None:
            cohort = _of_vectors(experiment, path)
            (values,) = experiment.brain.inputs(cohort, Path(), cohort.table.index.to_numpy()[:0])
            columns = experiment.brain.read(cohort).columns
            source = pd.DataFrame(values, columns=columns, index=cohort.table["participant_id"])
        return vectors.scan_vectors(run.path, experiment, run.model, table_of(source, ids, "brain vectors"))
    if path is not None:
        people = open_cohort(path, None, experiment.brain)
        store = store or people.folder / "store"
    elif isinstance(source, str | Path):
        people = scans.people_of_scans(ScanSource(Path(source), atlas=atlas))
    else:
        raise UserError(
            f"{run.path} reads scans: give a scan table, a folder of scans or a cohort.yaml (given: {_shown(source)})"
        )
    return scans.scan_vectors(run.path, experiment, run.model, people, store=store, progress=run.progress)


def second_cohort(run: Run, path: Path, store: Path | str | None) -> tuple[list[str], FloatArray, FloatArray]:
    """Ids, and score vectors of both sides, of everybody of a second cohort; see :meth:`Run.vectors_of`."""
    workspace = Workspace(_of_vectors(run.experiment, path), store, progress=run.progress)
    fitted, subjects = load_elsewhere(run.path, run.experiment, workspace)
    ids = workspace.cohort.table["participant_id"].astype(str).tolist()
    return ids, *fitted.vectors(subjects, np.arange(len(ids)))


def cohort_path(source: Any) -> Path | None:
    """The ``cohort.yaml`` that is meant, or None for anything else."""
    if not isinstance(source, str | Path):
        return None
    path = Path(source)
    inside = path / "cohort.yaml"
    return inside if inside.is_file() else path if path.suffix in (".yaml", ".yml") else None


def _of_vectors(experiment: Any, path: Path) -> Cohort:
    return open_cohort(path, without_file(experiment.genetics), without_file(experiment.brain))


def _picked(people: NewGenomes, wanted: list[str]) -> NewGenomes:
    row = {name: number for number, name in enumerate(people.ids)}
    if absent := [name for name in wanted if name not in row]:
        raise UserError(
            f"{len(absent)} of {len(wanted)} ids are not among the {len(people.ids)} people of the genotypes "
            f"({', '.join(absent[:5])}); ids are written like {', '.join(people.ids[:2])}"
        )
    return replace(people, samples=[people.samples[row[name]] for name in wanted], ids=wanted)


def _shown(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else f"a {type(source).__name__}"
