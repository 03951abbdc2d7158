"""Match the names of people in two files, and say by which rule it was done.

Cohorts write one person as ``0042`` in a table, ``sub-0042`` in a BIDS folder and ``FAM7_0042`` in a genotype
file. One rule is chosen for a whole file, never one per person, and only when it is unambiguous: it keeps
every exact match, finds more of them, and makes no two names of a file equal. Knows names only, no files.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from genebrain.common.types import IntArray

Rename = Callable[[str], str]


@dataclass(frozen=True)
class Match:
    """Where each wanted name stands in the other file.

    Attributes
    ----------
    rows : int array ``[wanted]``
        Row of the other file, -1 without a partner.
    rule : str
        Empty when names are equal as written, else what had to be removed, in words.
    n_exact : int
        Names that are equal as written.
    hint : str
        Empty, or a rule that would match more but is not applied, and why not.
    """

    rows: IntArray
    rule: str
    n_exact: int
    hint: str

    @property
    def n_matched(self) -> int:
        """Wanted names that have a partner."""
        return int((self.rows >= 0).sum())


def _without_sub(name: str) -> str:
    return name.removeprefix("sub-")


def _individual_id(name: str) -> str:
    """``IID`` of a name that PLINK wrote as ``FID_IID``; ``A_1_A_1`` (FID equal to IID) gives ``A_1``."""
    half, odd = divmod(len(name), 2)
    if odd and name[half] == "_" and name[:half] == name[half + 1 :]:
        return name[:half]
    return name.partition("_")[2] or name


def _same(name: str) -> str:
    return name


def _number(name: str) -> str:
    return name.lstrip("0") or "0"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _whole(name: str) -> str:
    return name.removesuffix(".0")


RULES: tuple[tuple[str, Rename, Rename], ...] = (
    ("letters with marks are one sign in one file and two in the other", _composed, _composed),
    ("the `sub-` prefix was ignored", _without_sub, _without_sub),
    ("genotype names are FID_IID, IID was used", _same, _individual_id),
    ("table ids are FID_IID, IID was used", _individual_id, _same),
    (
        "`sub-` was ignored and genotype names are FID_IID, IID was used",
        _without_sub,
        lambda name: _without_sub(_individual_id(name)),
    ),
)
HINTS: tuple[tuple[str, Rename, Rename], ...] = (
    ("leading zeros differ (an id column was read as a number somewhere)", _number, _number),
    ("one file has .0 behind each number (an id column was read as a number somewhere)", _whole, _whole),
    ("upper and lower case differ", str.lower, str.lower),
)


def _rows(wanted: Sequence[str], available: Sequence[str]) -> IntArray:
    position = {name: row for row, name in reversed(list(enumerate(available)))}
    return np.array([position.get(name, -1) for name in wanted], dtype=np.int64)


def match_names(wanted: Sequence[str], available: Sequence[str]) -> Match:
    """Find each of ``wanted`` among ``available`` (both without duplicates) under the best unambiguous rule.

    Examples
    --------
    >>> match_names(["01", "02"], ["sub-02", "sub-01"]).rows.tolist()
    [1, 0]
    """
    exact = _rows(wanted, available)
    best, rule, hint = exact, "", ""
    n_exact = int((exact >= 0).sum())
    for words, left, right in (*RULES, *HINTS):
        lefts, rights = [left(name) for name in wanted], [right(name) for name in available]
        rows = _rows(lefts, rights)
        n_rows = int((rows >= 0).sum())
        if n_rows <= int((best >= 0).sum()):
            continue
        ambiguous = len(set(lefts)) < len(set(wanted)) or len(set(rights)) < len(set(available))
        changes_exact = bool((rows != exact)[exact >= 0].any())
        if ambiguous or changes_exact or (words, left, right) in HINTS:
            hint = hint or f"{n_rows} instead of {n_exact} would match if {words}; mend one of the files"
        else:
            best, rule = rows, words
    return Match(best, rule, n_exact, hint)


def natural(name: str) -> tuple[str, str]:
    """Sorts ids with numbers as people do: row2 before row10."""
    return re.sub(r"\d+", lambda number: number[0].zfill(20), name), name
