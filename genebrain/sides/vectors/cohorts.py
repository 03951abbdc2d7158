"""Cohort of two sides: ``cohort.yaml`` with vectors in the place of some of its files, or vectors alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from genebrain.cohort.participants import Cohort, load_cohort
from genebrain.common.files import make_private, write_private
from genebrain.common.types import UserError
from genebrain.sides.vectors.brains import VectorBrain
from genebrain.sides.vectors.genes import VectorGenes


def vector_files(genetics: Any, brain: Any) -> dict[str, Path]:
    """Files of vectors that the sides name, by their key in ``cohort.yaml``."""
    files = {}
    if isinstance(genetics, VectorGenes) and genetics.path is not None:
        files["gene_vectors"] = Path(genetics.path)
    if isinstance(brain, VectorBrain) and brain.path is not None:
        files["brain_vectors"] = Path(brain.path)
    return files


def without_file(side: Any) -> Any:
    """The side for another cohort: a file of vectors that it names belongs to the cohort of the run."""
    return replace(side, path=None) if isinstance(side, VectorGenes | VectorBrain) else side


def open_cohort(path: Path | str, genetics: Any, brain: Any) -> Cohort:
    """Read a cohort as two sides mean it.

    Raises
    ------
    UserError
        The cohort cannot be read, or holds vectors where a side wants files, or the other way round.
    """
    cohort = load_cohort(path, vector_files(genetics, brain))
    check_sides(cohort, genetics, brain)
    return cohort


def check_sides(cohort: Cohort, genetics: Any = None, brain: Any = None) -> None:
    """Refuse a side that cannot read what the cohort holds."""
    problems = []
    if genetics is not None and isinstance(genetics, VectorGenes) != (cohort.gene_vectors is not None):
        problems.append(
            f"cohort {cohort.name} holds vectors of genomes and no genotypes: use genetics=vectors"
            if cohort.gene_vectors is not None
            else f"genetics=vectors: cohort {cohort.name} names no file of vectors; give genetics.path=FILE, or "
            "`gene_vectors: FILE` in cohort.yaml"
        )
    if brain is not None and isinstance(brain, VectorBrain) != (cohort.brain_vectors is not None):
        problems.append(
            f"cohort {cohort.name} holds vectors of scans and no scans: use brain=vectors"
            if cohort.brain_vectors is not None
            else f"brain=vectors: cohort {cohort.name} names no file of vectors; give brain.path=FILE, or "
            "`brain_vectors: FILE` in cohort.yaml"
        )
    if problems:
        raise UserError("; ".join(problems))


def write_vector_cohort(folder: Path, genes: Path | None, brains: Path | None, participants: Path | None) -> Path:
    """Write a ``cohort.yaml`` that names files of vectors; returns its path. The same words leave the file as it is."""
    missing = [key for key, file in (("genes", genes), ("brains", brains)) if file is None]
    if missing:
        raise UserError(f"give {' and '.join(f'{key}=FILE' for key in missing)} too, or a cohort (cohort.path=...)")
    named = {"gene_vectors": genes, "brain_vectors": brains, "participants": participants}
    content = {"name": "vectors"} | {key: str(Path(file).absolute()) for key, file in named.items() if file is not None}
    absent = [str(file) for file in named.values() if file is not None and not Path(file).is_file()]
    if absent:
        raise UserError(f"no such file: {', '.join(absent)}")
    text = yaml.safe_dump(content, sort_keys=False)
    make_private(folder.parent)
    make_private(folder)
    path = folder / "cohort.yaml"
    if (folder.parent / "settings.json").exists() and (not path.is_file() or path.read_text(encoding="utf-8") != text):
        raise UserError(
            f"run folder {folder.parent} holds another experiment (of other vectors or another cohort); choose "
            "another run=, or delete the folder"
        )
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_private(path, text.encode("utf-8"))
    return path
