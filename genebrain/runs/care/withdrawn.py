"""A run after people withdrew: how many of each side, and how the others are read as they were before.

Coordinates of genomes are a basis of the chunks that a cohort has (:mod:`genebrain.sides.compact`). Without some people
it would be another one; the run kept the basis of its fit, and the others are written in that.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genebrain.common.reading import read_record
from genebrain.common.tensor_files import read_arrays
from genebrain.common.types import FloatArray, UserError

if TYPE_CHECKING:
    from genebrain.alignment.closed_form.columns import WindowColumns
    from genebrain.alignment.model import AlignmentModel
    from genebrain.runs.fit import Experiment
    from genebrain.sides.workspace import Workspace

WITHDRAWN = "withdrawn.json"
LEARNED_FROM = ("train", "validation")


def withdrawn_from(run: Path, experiment: Experiment) -> int:
    """People that a run has learned from and who withdrew since.

    Raises
    ------
    UserError
        The model cannot be read without them.
    """
    if not (run / WITHDRAWN).exists():
        return 0
    if reason := tied_to_people(experiment):
        raise UserError(
            f"people of {run} withdrew, and its model reads nobody without them ({reason}): fit again in another "
            "folder (run=), then delete this one"
        )
    counts = read_counts(run)
    return sum(counts[part] for part in LEARNED_FROM)


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


def blocks_of_then(run: Path, experiment: Experiment, workspace: Workspace, model: AlignmentModel) -> list[FloatArray]:
    """Pooled genomes of those who are left, in the coordinates of the fit, gaps filled with its means."""
    from genebrain.runs.transfer import BASES

    path = run / "checkpoints" / BASES
    bases = read_arrays(path)["bases"] if path.is_file() else None
    blocks, _ = workspace.blocks_in(experiment.genetics, experiment.pooling, bases)
    return [_filled(block, model.closed_form.columns, window) for window, block in enumerate(blocks)]


def _filled(block: FloatArray, columns: WindowColumns, window: int) -> FloatArray:
    """Windows that a person lacks get the mean that the model knows."""
    missing = np.asarray(np.isnan(block).any(axis=1))
    if not missing.any():
        return block
    mean = np.zeros(block.shape[1])
    for values, _, selected in columns.pieces[window]:
        mean[selected] = values
    return np.where(missing[:, None], mean, block).astype(np.float32)
