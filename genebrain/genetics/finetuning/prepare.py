"""Data of a fine-tuning run from a file: labels, token rows, folds, and a report of what was found.

Everything that can be wrong with the table is found here, before a model is loaded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genebrain.common.types import IntArray, UserError
from genebrain.genetics.finetuning.language import count_targets
from genebrain.genetics.finetuning.recipe import BaseModel, Recipe
from genebrain.genetics.finetuning.settings import FoldSettings, TableSettings, TokenSettings
from genebrain.genetics.finetuning.splits import (
    Fold,
    folds_as_given,
    given_parts,
    joined_groups,
    make_folds,
    sequence_groups,
)
from genebrain.genetics.finetuning.table import Labels, known_cells, labelled, read_labels, read_table
from genebrain.genetics.finetuning.tokens import TokenRow, tokenize
from genebrain.genetics.sequences.files import SequenceBatch, repeated_ids, repeated_ids_line

SPLIT = "split"


@dataclass(frozen=True)
class FinetuningSet:
    """A prepared table.

    Attributes
    ----------
    batch : SequenceBatch
        Ids, row numbers, sequences, other columns.
    labels : Labels
        For ``causal_lm`` the number of 6-mer targets of each row.
    rows : list of int64 [tokens]
    groups : int64 [rows]
        The same number for the same sequence or its reverse complement, and for one value of the group column.
    folds : list of Fold
    max_tokens : int
    report : dict
        Counts: sequences, hygiene, duplicates, truncated rows, sizes of the folds.
    """

    batch: SequenceBatch
    labels: Labels
    rows: list[TokenRow]
    groups: IntArray
    folds: list[Fold]
    max_tokens: int
    report: dict[str, Any]


def prepare(
    source: str | Path, table: TableSettings, tokens: TokenSettings, folds: FoldSettings, recipe: Recipe,
    base: BaseModel, seed: int,
) -> FinetuningSet:  # fmt: skip
    """Read a table, check its labels, cut its sequences into tokens and its rows into folds.

    Raises
    ------
    UserError
        The table, its labels or its split are not what the task needs; every problem of one kind together.
    """
    batch, hygiene = read_table(source, table)
    language = recipe.task == "causal_lm"
    n_read = len(batch)
    if table.unlabelled == "skip" and not language:
        batch = batch.only(labelled(batch, table.labels))
        if not len(batch):
            raise UserError(f"none of the {n_read} rows has a label in {', '.join(table.labels)}")
    max_tokens = _longest(tokens, recipe, base)
    rows, truncated = tokenize(batch.sequences, tokens, max_tokens, language=language)
    groups = distinct = sequence_groups(batch.sequences)
    if table.group is not None:
        _need(batch, table.group, "group")
        groups = joined_groups(distinct, batch.table[table.group].tolist())
    column = table.split or (SPLIT if SPLIT in batch.table else None)
    parts = _parts(batch, column, folds)
    if language:
        labels = Labels(count_targets(rows), ())
    else:
        train = None if parts is None else np.array([p == "train" for p in parts])
        labels = read_labels(recipe.task, batch, table.labels, train)
    strata, names = _strata(recipe.task, labels)
    dropped = 0
    if parts is None:
        made = make_folds(groups, strata, folds, seed, names)
    else:
        given, dropped = folds_as_given(parts, groups, strata, folds, seed)
        made = [given]
    report = {
        "sequences": len(rows),
        "left_out_without_label": n_read - len(rows),
        "repeated_ids": repeated_ids(batch.ids, batch.rows),
        "distinct_sequences": int(distinct.max()) + 1,
        "groups": len(np.unique(groups)),
        "rows_with_conflicting_labels": _conflicts(distinct, strata) if recipe.task == "classification" else 0,
        "hygiene": hygiene.as_dict(),
        "truncated": truncated,
        "tokens": int(sum(map(len, rows))),
        "split": f"column {column}" if column else f"{folds.folds} folds" if folds.folds else "drawn",
        "left_out_as_leaks": dropped,
        "folds": [{name: len(part) for name, part in asdict(fold).items()} for fold in made],
    }
    return FinetuningSet(batch, labels, rows, groups, made, max_tokens, report)


def notes(report: dict[str, Any]) -> list[str]:
    """What a reader of the command line must know of a prepared table, a line each; nothing to say gives none."""
    found = report["hygiene"]
    lines = [
        f"left out: {count:,} rows {words}"
        for count, words in (
            (report["left_out_without_label"], "without a label"),
            (found["too_short"], "shorter than one 6-mer"),
            (found["only_unknown"], "of N alone"),
            (report["left_out_as_leaks"], "whose sequence stands on a later side of the split too"),
        )
        if count
    ]
    if report["truncated"]:
        lines.append(f"cut: {report['truncated']:,} sequences are longer than the model and head take")
    if torn := report["rows_with_conflicting_labels"]:
        lines.append(f"warning: {torn:,} rows hold a sequence that stands in the table with another class too")
    return [*lines, *filter(None, [repeated_ids_line(report["repeated_ids"])])]


def _longest(tokens: TokenSettings, recipe: Recipe, base: BaseModel) -> int:
    of_model = base.max_tokens
    longest = of_model if recipe.task == "causal_lm" else recipe.head.max_tokens(of_model)
    if tokens.max_tokens is not None and tokens.max_tokens > longest:
        raise UserError(
            f"tokens.max_tokens={tokens.max_tokens}, but model and head take {longest}; shorten it, or use "
            "head.pooling=chunks with room for it"
        )
    return tokens.max_tokens or longest


def _parts(batch: SequenceBatch, column: str | None, folds: FoldSettings) -> list[str] | None:
    if column is None:
        return None
    _need(batch, column, "split")
    if folds.folds:
        raise UserError(
            f"folds.folds={folds.folds}, but the table gives a split in its column {column}: use one of them"
        )
    return given_parts(batch.table[column].tolist())


def _need(batch: SequenceBatch, column: str, what: str) -> None:
    if column not in batch.table:
        raise UserError(f"no {what} column {column}; the table has {', '.join(map(str, batch.table.columns))}")
    cells = batch.table[column]
    blank = known_cells(cells.to_frame())[column].isna().to_numpy()
    if blank.any():
        shown = ", ".join(str(row) for row, empty in zip(batch.rows, blank, strict=True) if empty)
        raise UserError(f"{blank.sum()} of {len(cells)} rows have an empty {what} column {column}: row {shown:.60}")


def _strata(task: str, labels: Labels) -> tuple[IntArray, tuple[str, ...]]:
    """What is spread evenly over the folds: classes, or fifths of the first number."""
    if task == "classification":
        return labels.values.numpy(), labels.names
    strata = np.zeros(len(labels.values), np.int64)
    if task == "regression" and len(strata) >= 50:
        order = torch.argsort(labels.values[:, 0], stable=True).numpy()
        strata[order] = np.arange(len(strata)) * 5 // len(strata)
    return strata, ()


def _conflicts(groups: IntArray, strata: IntArray) -> int:
    """Rows whose sequence also stands in the table with another class."""
    pairs = np.unique(np.column_stack([groups, strata]), axis=0)[:, 0]
    torn = np.flatnonzero(np.bincount(pairs) > 1)
    return int(np.isin(groups, torn).sum())
