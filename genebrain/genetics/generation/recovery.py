"""Can the model continue real sequence? Greedy continuations against the truth, per type of sequence.

The recovery benchmark of GENERator, with intervals and chance levels. The published rules for prompt and accuracy;
the table says how many sequences each number rests on, and what chance and the commonest base would reach.

Source: sequence-recovery script of GenerTeam/GENERator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from genebrain.common.types import FloatArray, UserError
from genebrain.evaluation.intervals import FamilyBootstrap, rate_interval
from genebrain.genetics.genome.gene_windows import SHOWN
from genebrain.genetics.model.tokenizer import SixMerTokenizer
from genebrain.genetics.sequences.files import SequenceFile
from genebrain.genetics.sequences.hygiene import HygieneReport, Uracil

OVERALL = "overall"
CHANCE = 0.25
"""Expected share of matches of bases drawn uniformly."""


def matching_share(prediction: str, label: str, n_bp: int) -> float:
    """Share of the first ``n_bp`` positions at which two strings agree, case included.

    Divided by ``n_bp`` even when a string is shorter, as in the published script.
    """
    return sum(a == b for a, b in zip(prediction[:n_bp], label[:n_bp], strict=False)) / n_bp


@dataclass(frozen=True)
class RecoverySet:
    """Sequences with what follows them.

    Attributes
    ----------
    ids, sequences, labels, types : list of str
        One entry per sequence; all types are ``OVERALL`` when the file names none.
    hygiene : HygieneReport
        What was done to the letters of the sequences.
    """

    ids: list[str]
    sequences: list[str]
    labels: list[str]
    types: list[str]
    hygiene: HygieneReport


def read_recovery_set(
    path: Path,
    n_bp: int,
    *,
    column: str | None = None,
    label_column: str = "label",
    type_column: str | None = None,
    uracil: Uracil = "error",
) -> RecoverySet:
    """Read prompts, the letters that truly follow them, and the type of each.

    Parameters
    ----------
    path : Path
        A table, see :class:`SequenceFile`.
    n_bp : int
        Letters that are compared; shorter labels are refused.
    column, label_column, type_column : str, optional
        Columns of the prompt, of what follows it, and of its type; by default ``type`` if there is one.
    uracil : {"error", "to_t"}
        RNA letters U: refuse them, or write T.

    Raises
    ------
    UserError
        Columns that are absent, and all labels that are too short or no DNA.
    """
    batch, hygiene = SequenceFile(path, column=column, uracil=uracil).read()
    table = batch.table
    wanted = [label_column, *([type_column] if type_column else [])]
    if absent := [name for name in wanted if name not in table.columns]:
        raise UserError(
            f"{path} has no column {', '.join(map(repr, absent))} beside the sequences; columns present: "
            f"{', '.join(map(str, table.columns)) or 'none'}. Recovery compares with the letters that follow: name "
            "their column with label=..., and the groups with type=..."
        )
    type_column = type_column or ("type" if "type" in table.columns else None)
    types = [OVERALL] * len(batch) if type_column is None else table[type_column].astype(str).tolist()
    labels, bad = [], []
    for row, value in zip(batch.rows, table[label_column], strict=True):
        try:
            label, _ = SixMerTokenizer.clean(value if isinstance(value, str) else "", uracil)
            if len(label) < n_bp:
                bad.append(f"row {row}: {len(label)} bases")
        except UserError as error:
            label = ""
            bad.append(f"row {row}: {error}")
        labels.append(label)
    if bad:
        raise UserError(
            f"{path}: {len(bad)} of {len(labels)} labels in {label_column!r} are not {n_bp} or more letters of DNA: "
            f"{'; '.join(bad[:SHOWN])}{' ...' if len(bad) > SHOWN else ''}"
        )
    return RecoverySet(batch.ids, batch.sequences, labels, types, hygiene)


def accuracy_table(accuracy: FloatArray, baseline: FloatArray, types: Sequence[str], n_bp: int) -> pd.DataFrame:
    """Mean accuracy per type, then over all sequences, with intervals and chance levels.

    Parameters
    ----------
    accuracy, baseline : float ``[sequences]``
        Share of recovered bases, and the share that :func:`most_frequent_base` would recover.
    types : list of str
    n_bp : int
        Bases compared per sequence.

    Returns
    -------
    DataFrame
        Columns ``type``, ``sequences``, ``accuracy``, ``low``, ``high`` (95 %, sequences drawn with replacement,
        Wilson's form), ``chance`` (bases drawn uniformly) and ``most_frequent_base``.
    """
    labels = np.asarray(types)
    groups = sorted(set(types) - {OVERALL})
    rows = []
    for name in [*groups, OVERALL]:
        chosen = labels == name if name in groups else np.ones(len(labels), bool)
        values = np.asarray(accuracy, np.float64)[chosen]
        bootstrap = FamilyBootstrap(np.arange(len(values)))
        mean, draws = bootstrap.means(bootstrap.sums(values[None]))
        low, high = rate_interval(mean, draws, n_subjects=len(values) * n_bp, n_families=len(values))
        rows.append((name, len(values), mean[0], low[0], high[0], CHANCE, float(np.mean(baseline[chosen]))))
    columns = ["type", "sequences", "accuracy", "low", "high", "chance", "most_frequent_base"]
    return pd.DataFrame(rows, columns=columns)


def most_frequent_base(prompt: str) -> str:
    """The known base that a prompt holds most often: the best guess of a predictor that cannot read order."""
    counts = Counter(letter for letter in prompt if letter in "ACGT")
    return min(counts, key=lambda letter: (-counts[letter], letter)) if counts else "A"
