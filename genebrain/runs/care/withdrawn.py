"""A run after people withdrew: how many of each side, and how the others are read as they were before.

Coordinates of genomes are a basis of the chunks that a cohort has (:mod:`genebrain.sides.compact`). Without some people
it would be another one; the run kept the basis of its fit, and the others are written in that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genebrain.alignment.closed_form.column_sets import GeneBlocks, SetColumns
from genebrain.alignment.closed_form.columns import WindowColumns
from genebrain.common.reading import read_record
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.runs.care.people import ALONE
from genebrain.sides.genes.elsewhere import ALLELES, PLAIN, embeddings_of_then, saved_alleles, saved_bases
from genebrain.sides.genes.readings import uses_sets
from genebrain.sides.genome import GeneSide

if TYPE_CHECKING:
    from genebrain.alignment.closed_form.column_sets import Blocks
    from genebrain.alignment.model import AlignmentModel
    from genebrain.cohort.splits.splits import Split
    from genebrain.runs.fit import Experiment
    from genebrain.sides.workspace import Workspace

WITHDRAWN = "withdrawn.json"
LEARNED_FROM = ("train", "validation")


def withdrawn_from(run: Path, experiment: Experiment, split: Split) -> int:
    """People that a run has learned from and who withdrew, or are gone from its cohort, since.

    Raises
    ------
    UserError
        The model cannot be read without them.
    """
    gone = split.gone or {}
    if not (run / WITHDRAWN).exists() and not sum(gone.values()):
        return 0
    if reason := tied_to_people(experiment):
        raise UserError(
            f"people of {run} withdrew or are gone, and its model reads nobody without them ({reason}): fit again in "
            "another folder (run=), then delete this one"
        )
    counts = read_counts(run)
    return sum(counts[part] + gone.get(part, 0) for part in LEARNED_FROM) + gone.get(ALONE, 0)


def read_counts(run: Path) -> dict[str, int]:
    """People who withdrew by side of the split; zeros for a run of which nobody did."""
    found = read_record(run / WITHDRAWN) if (run / WITHDRAWN).exists() else {}
    sides = (*LEARNED_FROM, "test", "left_out")
    counts = {part: found.get(part, 0) for part in sides}
    if not all(isinstance(n, int) and n >= 0 for n in counts.values()):
        raise UserError(f"{run / WITHDRAWN} is damaged: restore it from a copy, or fit again in another folder (run=)")
    return counts


def tied_to_people(experiment: Experiment) -> str:
    """Why a model of this experiment cannot do without its own people; empty where it can."""
    from genebrain.runs.transfer import not_transferable

    return not_transferable(experiment)


def take_alleles_of_then(run: Path, experiment: Experiment, workspace: Workspace, training: IntArray) -> None:
    """Mask rare alleles and read dosages by the alleles of the fit; without some people others would be common."""
    folder, gene = run / "checkpoints", experiment.genetics
    if isinstance(gene, GeneSide) and (folder / ALLELES).is_file():
        workspace.take_alleles(gene, training, saved_alleles(folder))


def blocks_of_then(
    run: Path, experiment: Experiment, workspace: Workspace, model: AlignmentModel, now: Blocks, training: IntArray
) -> Blocks:
    """Pooled genomes of those who are left, in the coordinates of the fit, gaps filled with its means.

    Parameters
    ----------
    now : blocks
        Of the same people; their dosages are taken as they are.
    """
    gene, pooling, folder = experiment.genetics, experiment.pooling, run / "checkpoints"
    columns = model.closed_form.columns
    if not isinstance(gene, GeneSide) or not uses_sets(gene):
        assert not isinstance(columns, SetColumns)
        blocks, _ = workspace.blocks_in(gene, pooling, saved_bases(folder).get(PLAIN))
        return _all_filled(blocks, columns)
    assert isinstance(now, GeneBlocks)
    parts: dict[str, WindowColumns] = {}
    if isinstance(columns, SetColumns):
        named = zip(columns.sets, columns.parts, strict=True)
        parts = {one.source: part for one, part in named if isinstance(part, WindowColumns)}
    found = embeddings_of_then(gene, pooling, workspace, training, folder)
    then = {source: _all_filled(blocks, parts.get(source)) for source, blocks in found.items()}
    return replace(now, sources={**now.sources, **then})


def _all_filled(blocks: Sequence[FloatArray], columns: WindowColumns | None) -> list[FloatArray]:
    return [_filled(block, columns, window) for window, block in enumerate(blocks)]


def _filled(block: FloatArray, columns: WindowColumns | None, window: int) -> FloatArray:
    """Windows that a person lacks get the mean that the model knows; as they are where it reads none of them."""
    missing: NDArray[np.bool_] = np.asarray(np.isnan(block).any(axis=1))
    if columns is None or not missing.any():
        return block
    mean = np.zeros(block.shape[1])
    for values, _, selected in columns.pieces[window]:
        mean[selected] = values
    return np.where(missing[:, None], mean, block).astype(np.float32)
