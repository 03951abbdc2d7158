"""The fitted brain features of a run, read back as they were fitted, from runs of older versions too.

Runs of format 1 hold the autoregression ``phi`` of innovation features transposed: it was in memory column by column,
and was written as if row by row. Which of the two is the fitted one is shown by the closed form of the same run, which
knows the mean of the features of its training people.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from genebrain.alignment.closed_form.fit import ClosedForm
from genebrain.brain.connectome.side_by_side import SideBySide
from genebrain.brain.connectome.stored_moments import ManyScans, values_of
from genebrain.common.reading import contents_of
from genebrain.common.run_folder import run_format
from genebrain.common.tensor_files import read_arrays
from genebrain.common.types import FloatArray, IntArray, UserError
from genebrain.sides.scans import BrainSide

log = logging.getLogger(__name__)

FEATURES = "brain_features.safetensors"
"""In the folder of the checkpoints."""
TURNED = "phi"
"""What runs of format 1 hold transposed."""
DRAW_ERRORS = 3.0
"""Standard errors by which the mean of some training people may lie apart from that of all."""
ROUNDING = 0.01
"""Largest distance, in standard deviations of a feature, that another machine may put between two means."""


def read_features(
    run: Path,
    side: BrainSide,
    inputs: Any,
    closed: ClosedForm,
    training: IntArray,
    withdrawn: int = 0,
    unpaired: Mapping[str, FloatArray] = MappingProxyType({}),
    of: IntArray | None = None,
    learners: IntArray | None = None,
) -> dict[str, FloatArray]:
    """Values of the chosen brain features of a finished run by name (of a stack: its parts), ``[people, features]``.

    Parameters
    ----------
    inputs : tuple or ManyScans
        What the features are made of, for everybody.
    closed : ClosedForm
        Of the run.
    training : int array
        Rows that it was fitted on.
    withdrawn : int
        People that it was fitted on and that are not there any more.
    unpaired : mapping
        Features of people without a genome whom the components of the first part were fitted on too.
    of : int array, optional
        People whose values are wanted of a large cohort, those of others are NaN; None: everybody.
    learners : int array, optional
        Training people among them, whose means are compared with those of all that the model was fitted on.

    Raises
    ------
    UserError
        The file is missing or damaged, or these are not the features that the run was fitted with.
    """
    people = of if isinstance(inputs, ManyScans) else None
    looked_at = training if people is None or learners is None else learners
    name, state = str(closed.chosen["brain"]), read_arrays(run / "checkpoints" / FEATURES)
    with contents_of(run / "checkpoints" / FEATURES):
        values = _values(side, name, state, inputs, people)
        found = _distance(values, closed, looked_at, len(training), unpaired)
    if run_format(run) < 2 and np.any(state.get(TURNED, 0)):
        turned = _values(side, name, {**state, TURNED: np.ascontiguousarray(state[TURNED].T)}, inputs, people)
        mended = _distance(turned, closed, looked_at, len(training), unpaired)
        if mended < found:
            log.warning(
                f"note: {run} is of an older version, which saved a part of its brain features transposed; mended"
            )
            values, found = turned, mended
    drawn = DRAW_ERRORS * np.sqrt(1 / len(looked_at) - 1 / len(training))
    gone = 10 * withdrawn / len(training)  # a person lies a few standard deviations from the mean
    if found > ROUNDING + gone + drawn:
        raise UserError(
            f"the brain features of {run} are not those that its model was fitted with (their means over the training "
            f"people lie {found:.2g} standard deviations apart): {FEATURES} was changed, or the scans were processed "
            "anew after the fit; fit again in another folder (run=)"
        )
    return values


def _values(
    side: BrainSide, name: str, state: dict[str, np.ndarray[Any, Any]], inputs: Any, people: IntArray | None
) -> dict[str, FloatArray]:
    restored = side.restore(name, state)
    parts = restored.parts if isinstance(restored, SideBySide) else {name: restored}
    found = values_of(parts, inputs, people)
    rows = slice(None) if people is None else people
    if not all(np.isfinite(values[rows]).all() for values in found.values()):
        raise ValueError("features are not finite")
    return found


def _distance(
    values: dict[str, FloatArray],
    closed: ClosedForm,
    looked_at: IntArray,
    n_training: int,
    unpaired: Mapping[str, FloatArray],
) -> float:
    """How far the mean of the people learned from lies from the one that the closed form was fitted with."""
    rows = {name: part[looked_at].astype(np.float64) for name, part in values.items()}
    spread = float(np.sqrt(np.concatenate([part.var(axis=0) for part in rows.values()]).mean()))
    means = {name: part.mean(axis=0) for name, part in rows.items()}
    if (first := next(iter(means))) in unpaired:
        more = unpaired[first].astype(np.float64)
        means[first] = (n_training * means[first] + more.sum(axis=0)) / (n_training + len(more))
    mean = np.concatenate(list(means.values()))
    return float(np.sqrt(np.mean((mean - closed.brain_mean) ** 2))) / max(spread, 1e-12)
