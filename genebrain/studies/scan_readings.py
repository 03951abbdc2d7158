"""Kinds of scan features beside the one in use: what each reaches in cross-validation, and when to doubt them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from genebrain.alignment.closed_form.column_sets import rows_of
from genebrain.alignment.closed_form.columns import ColumnSettings
from genebrain.alignment.closed_form.fit import ClosedFormSettings, fit_closed_form
from genebrain.alignment.closed_form.latents import JOINED, kind_of
from genebrain.alignment.model import AlignmentModel
from genebrain.brain.connectome.first_order import LIMIT, FirstOrderFit, first_order_fit
from genebrain.common.types import IntArray, Metrics
from genebrain.evaluation.verdict import number
from genebrain.sides.connectome import DEFAULT_KINDS, ConnectomeSide, person_scans
from genebrain.sides.estimators.side import EstimatorSide
from genebrain.sides.people import Subjects
from genebrain.sides.scans import BrainSide
from genebrain.sides.workspace import Workspace

LOOKED_AT = 60
"""Training scans that the tests of the series look at."""
CLEARLY = 0.05
"""Recall@1 by which another kind must be better before it is named."""


def scan_readings(
    side: BrainSide, workspace: Workspace, fitted: AlignmentModel, subjects: Subjects, training: IntArray
) -> Metrics | None:
    """What the kinds of scan features reach, tests of the series, and warnings in words; None for scan encoders.

    Kinds that the user did not ask for are tried by ridge on the training people.
    """
    if not isinstance(side, ConnectomeSide) or isinstance(side, EstimatorSide):
        return None
    chosen = fitted.closed_form.chosen
    race = chosen.get("race") or {"kinds": {}}
    reached = {**race["kinds"], **(chosen.get("kinds") or {})}
    if not set(DEFAULT_KINDS) <= set(side.kinds):
        wider = replace(side, kind=tuple(dict.fromkeys((*DEFAULT_KINDS, *side.kinds))), components=None, despike=None)
        reached = _tried(wider, workspace, subjects, training)
    series = _series(side, workspace, training)
    return {
        "configured": list(side.kinds),
        "used": chosen["brain"],
        "recall@1": reached,
        "residual_autocorrelation": series.autocorrelation,
        "excess_kurtosis": series.excess_kurtosis,
        "largest_step": series.largest_step,
        "warnings": warnings(side.kinds, str(chosen["brain"]), reached, series),
    }


def warnings(kinds: tuple[str, ...], used: str, reached: dict[str, float], series: FirstOrderFit) -> list[str]:
    """Sentences for whoever reads the verdict; empty where nothing is wrong."""
    found = []
    own = max((value for kind, value in reached.items() if kind in kinds), default=0.0)
    others = {kind: value for kind, value in reached.items() if kind not in kinds}
    best = max(others, key=lambda kind: others[kind], default=None)
    if best is not None and others[best] > own + CLEARLY:
        found.append(
            f"The scans are read by {', '.join(kinds)}, which reaches {number(own)} in cross-validation; {best} "
            f"reaches {number(others[best])}: fit again with brain.kind={best}, or without brain.kind to "
            "compare them all."
        )
    chance = 1 / ClosedFormSettings().gallery
    if reached and max(reached.values()) < 2 * chance:
        found.append(
            f"None of the kinds of scan features that were tried ({', '.join(reached)}) finds more than a little in "
            f"cross-validation (best {max(reached.values()):.2f}, chance {chance:.2f}). This is how no relation looks, "
            "and also one that neither these kinds nor the gene columns hold (products of variants, say). Events of a "
            "shape in time are looked for by 'genebrain pretrain experiment=learned_filters' and 'genebrain fit "
            "brain=filters brain.path=RUN/encoder'."
        )
    if not series.fits and "innovation" in {kind_of(part) for part in used.split(JOINED)}:
        lag = int(np.argmax(np.abs(series.autocorrelation)))
        found.append(
            "A first-order autoregression does not fit these scans (autocorrelation of its residuals "
            f"{series.autocorrelation[lag]:.2f} at lag {lag + 1}, limit {LIMIT}): innovation features may measure "
            "noise."
        )
    return found


def _tried(side: ConnectomeSide, workspace: Workspace, subjects: Subjects, training: IntArray) -> dict[str, float]:
    some = workspace.learners(side, training)
    model = fit_closed_form(
        rows_of(subjects.blocks, some),
        workspace.learners_features(side, training),
        subjects.family[some],
        genomes=subjects.genome[some],
        settings=ClosedFormSettings(
            columns=ColumnSettings(item_width=subjects.item_width), modes=("ridge",), stack=True
        ),
    )
    kinds: dict[str, float] = model.chosen.get("kinds", {})
    return kinds


def _series(side: ConnectomeSide, workspace: Workspace, training: IntArray) -> FirstOrderFit:
    store = side.scans(workspace.cohort, workspace.store)
    keys: list[Any] = person_scans(workspace.cohort, store)
    some = [keys[row][0] for row in training[:: max(1, len(training) // LOOKED_AT)]]
    return first_order_fit((store.read(key), store.valid(key), store.frame_numbers(key)) for key in some)
