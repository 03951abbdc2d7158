"""Training, validation and test rows that share no sequence.

K folds or one split, fixed by a seed, or the split that the table gives. A sequence and its reverse complement are
one thing and never stand on two sides; classes are spread evenly; a fold that could not be judged is an error with
its counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from genebrain.common.types import BoolArray, IntArray, UserError
from genebrain.genetics.finetuning.settings import FoldSettings
from genebrain.genetics.genome.reference import reverse_complement

PARTS = ("train", "validation", "test")
SYNONYMS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation",
            "val": "validation", "dev": "validation", "test": "test", "testing": "test"}  # fmt: skip


@dataclass(frozen=True)
class Fold:
    """Row numbers, sorted."""

    train: IntArray
    validation: IntArray
    test: IntArray


def sequence_groups(sequences: Sequence[str]) -> IntArray:
    """One number per distinct sequence, the same for its reverse complement: int64 [rows]."""
    keys = []
    for text in sequences:
        forward = text.encode("ascii")
        keys.append(hashlib.blake2b(min(forward, reverse_complement(forward)), digest_size=16).digest())
    return np.unique(np.array(keys, "S16"), return_inverse=True)[1].astype(np.int64)


def joined_groups(first: IntArray, second: Sequence[object]) -> IntArray:
    """Groups of rows that are linked by an equal number of the one or an equal value of the other: int64 [rows]."""
    codes = np.unique(np.asarray(second).astype(str), return_inverse=True)[1]
    n = int(first.max()) + 1
    links = coo_array((np.ones(len(first)), (first, n + codes)), shape=(n + codes.max() + 1,) * 2)
    return connected_components(links, directed=False)[1][first].astype(np.int64)


def given_parts(words: Sequence[object]) -> list[str]:
    """The words of a split column as train, validation or test. ``UserError`` names every unknown word."""
    folded = [str(word).strip().lower() for word in words]
    if unknown := sorted(set(folded) - SYNONYMS.keys()):
        raise UserError(f"the split column holds {', '.join(unknown[:10])}; use {', '.join(PARTS)}")
    return [SYNONYMS[word] for word in folded]


def make_folds(
    groups: IntArray, strata: IntArray, settings: FoldSettings, seed: int, names: Sequence[str] = ()
) -> list[Fold]:
    """Divide the rows at random, whole groups, stratum by stratum.

    Parameters
    ----------
    groups, strata : int [rows]
        The stratum of a group is that of its first row.
    names : sequence of str
        Names of the strata for messages.

    Raises
    ------
    UserError
        Strata with fewer distinct sequences than there are parts; all are named.
    """
    group_of_row, first = _compact(groups)
    needed = max(settings.folds, 3)
    pairs = np.unique(np.column_stack([group_of_row, strata]), axis=0)
    holding = {int(s): int((pairs[:, 1] == s).sum()) for s in np.unique(strata)}
    if small := {s: n for s, n in holding.items() if n < needed} if len(names) else {}:
        shown = ", ".join(f"{names[s]} ({n})" for s, n in list(small.items())[:10])
        raise UserError(
            f"{len(small)} class(es) with fewer distinct sequences (or groups) than {_wanted(settings)} need "
            f"({needed}): {shown}; add rows, leave these classes out, or use fewer folds"
        )
    if len(first) < needed:
        raise UserError(f"{len(first)} distinct sequences (or groups), but {_wanted(settings)} need {needed}")
    stratum = np.array(strata)[first]
    counts = {s: int((stratum == s).sum()) for s in np.unique(stratum)}
    stratum[np.isin(stratum, [s for s, n in counts.items() if n < needed])] = -1  # too few groups begin with it
    rng = np.random.default_rng([seed, 1])
    if not settings.folds:
        held = _held_out(stratum, np.ones(len(stratum), bool), settings.test, rng)
        made = [_with_validation(group_of_row, stratum, held, settings, rng)]
        _check_sides(made, strata, names)
        return made
    fold = np.empty(len(stratum), np.int64)
    offset = 0
    for s in np.unique(stratum):
        members = rng.permutation(np.flatnonzero(stratum == s))
        fold[members] = (offset + np.arange(len(members))) % settings.folds
        offset += len(members)
    made = [_with_validation(group_of_row, stratum, fold == k, settings, rng) for k in range(settings.folds)]
    _check_sides(made, strata, names)
    return made


def folds_as_given(
    parts: Sequence[str], groups: IntArray, strata: IntArray, settings: FoldSettings, seed: int
) -> tuple[Fold, int]:
    """The split of the table; validation or test rows that it lacks are cut off its training rows.

    Returns
    -------
    fold : Fold
    dropped : int
        Rows left out because their sequence also stands on a later side.

    Raises
    ------
    UserError
        Sequences on two sides (counts), unless ``leaks="drop"``; no training rows.
    """
    part = np.asarray(parts)
    if not (part == "train").any():
        raise UserError(f"the split column names no training row; it holds {', '.join(sorted(set(parts)))}")
    late = {name: set(groups[part == name].tolist()) for name in PARTS}
    leaked = np.array([
        (p == "train" and (g in late["validation"] or g in late["test"])) or (p == "validation" and g in late["test"])
        for p, g in zip(parts, groups.tolist(), strict=True)
    ])  # fmt: skip
    if leaked.any() and settings.leaks == "error":
        raise UserError(
            f"{leaked.sum()} of {len(part)} rows stand on two sides of the given split (the same sequence or its "
            "reverse complement); a test on them would be won by memory. Leave them out of the earlier side with "
            "folds.leaks=drop"
        )
    group_of_row, first = _compact(groups)
    stratum = np.asarray(strata)[first]
    train = (part == "train") & ~leaked
    rng = np.random.default_rng([seed, 1])
    found = {"validation": (part == "validation") & ~leaked, "test": part == "test"}
    for name, share in (("test", settings.test), ("validation", settings.validation)):
        if not found[name].any():
            free = np.zeros(len(first), bool)
            free[group_of_row[train]] = True
            found[name] = _held_out(stratum, free, share, rng)[group_of_row] & train
            train &= ~found[name]
    if not train.any() or not found["validation"].any():
        raise UserError(f"{train.sum()} training and {found['validation'].sum()} validation rows are left: too few")
    return Fold(*(np.flatnonzero(rows) for rows in (train, found["validation"], found["test"]))), int(leaked.sum())


def _wanted(settings: FoldSettings) -> str:
    return f"{settings.folds} folds" if settings.folds else "train, validation and test"


def _check_sides(folds: Sequence[Fold], strata: IntArray, names: Sequence[str]) -> None:
    """Refuse empty sides, and classes that a fold would have to tell without having seen one."""
    for number, fold in enumerate(folds):
        empty = [part for part in PARTS if not len(getattr(fold, part))]
        seen = set(strata[fold.train].tolist())
        unseen = [name for i, name in enumerate(names) if i not in seen]
        if empty or unseen:
            what = f"no rows for {' and '.join(empty)}" if empty else f"no training row of {', '.join(unseen)}"
            raise UserError(f"fold {number}: {what}; groups are too few or too large, use another seed or fewer folds")


def _with_validation(
    group_of_row: IntArray, stratum: IntArray, test: BoolArray, settings: FoldSettings, rng: np.random.Generator
) -> Fold:
    validation = _held_out(stratum, ~test, settings.validation, rng)
    return Fold(
        *(np.flatnonzero(groups[group_of_row]) for groups in (~test & ~validation, validation, test))
    )  # fmt: skip


def _held_out(stratum: IntArray, free: BoolArray, share: float, rng: np.random.Generator) -> BoolArray:
    """Groups drawn from the free ones, a share of each stratum, at least one if two are free."""
    drawn = np.zeros(len(stratum), bool)
    for s in np.unique(stratum[free]):
        members = np.flatnonzero(free & (stratum == s))
        count = min(max(1, round(share * len(members))), len(members) - 1)
        drawn[rng.permutation(members)[:count]] = True
    return drawn


def _compact(groups: IntArray) -> tuple[IntArray, IntArray]:
    """Group number of each row counted from 0, and the first row of each group."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    return number, first
