"""``fit`` and ``evaluate`` with several folds: a run folder for each, and one judgement of all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from genebrain.cohort.splits.settings import SplitSettings
from genebrain.common.types import Metrics, UserError

log = logging.getLogger(__name__)


def fit_folds(fit: Callable[..., Path], run: Path, split: SplitSettings, **options: Any) -> Path:
    """Fit every fold into a run folder of its own below ``run``; finished ones are not fitted again.

    Raises
    ------
    UserError
        The folder holds a single run, or another number of folds.
    """
    from genebrain.common.files import make_private
    from genebrain.common.reading import read_record
    from genebrain.common.run_folder import write_json
    from genebrain.studies.folds import FILE, fold_folder

    if (run / "settings.json").exists():
        raise UserError(f"{run} holds a single run; choose another run= for split.folds={split.folds}")
    if (run / FILE).exists() and (found := read_record(run / FILE).get("folds")) != split.folds:
        raise UserError(f"{run} holds {found} folds, not {split.folds}; choose another run=")
    make_private(run)
    for number in range(int(split.folds or 0)):
        if options.get("progress"):
            log.info(f"fold {number + 1} of {split.folds}")
        fit(run=fold_folder(run, number), split=replace(split, fold=number), **{**options, "progress": False})
        if not (run / FILE).exists():  # not before: a number that cannot be must not claim the folder
            write_json(run / FILE, {"folds": split.folds})
    if options.get("progress"):
        log.info(f"fitted {run}; judge all folds together with: genebrain evaluate run={run}")
    return run


def evaluate_folds(run: Path, settings: Any, elsewhere: Any, progress: bool) -> Metrics:
    """Judge all folds together; see :func:`genebrain.studies.folds.judge_folds`."""
    from genebrain.evaluation.report.comparisons import terminal_table
    from genebrain.studies.folds import judge_folds

    if elsewhere is not None:
        raise UserError(f"{run} holds several fits: judge one of them on a second cohort (run={run}/fold-0)")
    metrics = judge_folds(run, settings)
    if progress:
        log.info(f"{terminal_table(metrics)}\n{metrics['verdict']}")
    return metrics
