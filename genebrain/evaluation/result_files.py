"""Names of what a judgement leaves in a run folder: one set of files for each side of the split that was judged.

The test people have the plain names (``metrics.json``, ``figures``, ``report.html``), the validation people names of
their own (``metrics.validation.json``), so that no answer takes the place of one to another question.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from genebrain.common.reading import read_record
from genebrain.common.types import UserError

log = logging.getLogger(__name__)

SPLITS = ("test", "validation")


def result_path(run: Path, name: str, split: str) -> Path:
    """Path of ``metrics.json``, ``figures`` or ``report.html`` for one side of the split.

    Raises
    ------
    UserError
        No such side.
    """
    if split not in SPLITS:
        raise UserError(f"split={split}: use test, or validation while choosing")
    plain = run / name
    return plain if split == "test" else plain.with_name(f"{plain.stem}.{split}{plain.suffix}")


def set_aside(metrics: Path, question: dict[str, Any]) -> None:
    """Rename a metrics file that answers another question (gallery, comparisons, ...), and say so.

    A file that cannot be read, or says nothing of its question, is set aside too.
    """
    if not metrics.exists():
        return
    try:
        before = read_record(metrics).get("question", {})
    except UserError:
        before = {}
    if before == json.loads(json.dumps(question)):
        return
    mark = hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()[:8]
    kept = metrics.replace(metrics.with_name(f"{metrics.stem}.{mark}{metrics.suffix}"))
    log.warning(f"note: {metrics.name} answered another question (other settings, or another version): now {kept.name}")
