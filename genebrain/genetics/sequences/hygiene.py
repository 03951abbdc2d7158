"""Cleaning of letters before a tokenizer sees them, counted; all problems told at once.

One rule of cleaning for every file of sequences. Letters come out upper case, without blanks, with N for every
ambiguity code; a soft-masked genome gives the letters of its upper-case twin; nothing is changed without being
counted; problems are gathered over the whole file and told together, each kind once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from genebrain.common.types import UserError
from genebrain.genetics.model.tokenizer import K, SixMerTokenizer

Uracil = Literal["error", "to_t"]
Unreadable = Literal["error", "skip"]
SHOWN = 5
_EMPTY, _REFUSED, _SHORT, _UNKNOWN = (
    "without letters",
    "with letters that are refused",
    f"shorter than {K} letters",
    "of N alone",
)
# Verbs that answer every record (generate, recover) have no such option; finetune calls it table.unreadable.
_LEAVE_OUT = "remove them; where the verb has the option unreadable, its value skip leaves them out"
_ADVICE = {
    _EMPTY: "fill them in or remove the rows",
    _REFUSED: "correct them; of RNA, U is written as T with uracil=to_t",
    _SHORT: f"the model reads {K} letters a token; {_LEAVE_OUT}",
    _UNKNOWN: _LEAVE_OUT,
}


@dataclass
class HygieneReport:
    """Running totals of what was found in a file of sequences; counts of sequences, then of letters.

    Attributes
    ----------
    sequences : int
        Usable ones.
    too_short, only_unknown : int
        Left out: shorter than one 6-mer; nothing but N.
    letters, lower_case, uracil, ambiguous, blank, unknown : int
        Letters of the usable sequences, and what was changed in them: upper-cased, U written as T, ambiguity
        codes written as N, blanks dropped. ``unknown`` are the letters N in the end.
    six_mers, oov : int
        Whole 6-mers read from the first letter on, and those that hold an N (``<oov>``).
    """

    sequences: int = 0
    too_short: int = 0
    only_unknown: int = 0
    letters: int = 0
    lower_case: int = 0
    uracil: int = 0
    ambiguous: int = 0
    blank: int = 0
    unknown: int = 0
    six_mers: int = 0
    oov: int = 0

    @property
    def oov_share(self) -> float:
        """Share of the 6-mers that the model reads as ``<oov>``, 0..1."""
        return self.oov / self.six_mers if self.six_mers else 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready counts, with the ``<oov>`` share."""
        return {**vars(self), "oov_share": self.oov_share}


@dataclass
class SequenceCleaner:
    """Clean one sequence after another; gather what is wrong.

    Parameters
    ----------
    source : str
        File name for messages.
    uracil : {"error", "to_t"}
        RNA letters U: refuse them, or write T.
    unreadable : {"error", "skip"}
        Sequences shorter than six letters or made of N alone: refuse, or leave out and count.
    """

    source: str
    uracil: Uracil = "error"
    unreadable: Unreadable = "error"
    report: HygieneReport = field(default_factory=HygieneReport)
    _problems: dict[str, list[str]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choices(self.uracil, self.unreadable)

    def clean(self, sequence: str | None, row: int, name: str) -> str | None:
        """Clean letters, or None for a sequence that is left out (counted, or kept as a problem).

        ``row`` counts from 1; ``name`` is the id for messages.
        """
        place = f"row {row}" if name == str(row) else f"row {row} ({name})"
        if sequence is None or not sequence.strip():
            self._note(_EMPTY, place)
            return None
        try:
            letters, counts = SixMerTokenizer.clean(sequence, self.uracil)
        except UserError as error:
            self._note(_REFUSED, f"{place}: {error}")
            return None
        if len(letters) < K:
            self.report.too_short += 1
            self._skip(_SHORT, place)
            return None
        if counts.unknown == len(letters):
            self.report.only_unknown += 1
            self._skip(_UNKNOWN, place)
            return None
        total = self.report
        total.sequences += 1
        total.letters += counts.length
        total.lower_case += counts.lower_case
        total.uracil += counts.uracil
        total.ambiguous += counts.ambiguous
        total.blank += counts.blank
        total.unknown += counts.unknown
        total.six_mers += len(letters) // K
        total.oov += count_oov(letters) if counts.unknown else 0
        return letters

    def finish(self) -> HygieneReport:
        """Totals of the file.

        Raises
        ------
        UserError
            Every kind of problem, with its count, its first rows and what to do.
        """
        if self._problems:
            kinds = [
                f"{self._counts[kind]} sequences {kind}: {'; '.join(places)}"
                f"{'; ...' * (self._counts[kind] > len(places))} ({_ADVICE[kind]})"
                for kind, places in self._problems.items()
            ]
            raise UserError(f"{self.source}: " + "\n  ".join(kinds))
        if not self.report.sequences:
            raise UserError(
                f"{self.source}: no sequence is left of {self.report.too_short} shorter than {K} letters and "
                f"{self.report.only_unknown} of N alone"
            )
        return self.report

    def _skip(self, kind: str, place: str) -> None:
        if self.unreadable == "error":
            self._note(kind, place)

    def _note(self, kind: str, place: str) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._counts[kind] <= SHOWN:
            self._problems.setdefault(kind, []).append(place)


def count_oov(letters: str) -> int:
    """Whole 6-mers from the first letter on that hold an N, which the model reads as ``<oov>``."""
    whole = len(letters) // K * K
    return int((np.frombuffer(letters.encode("ascii"), np.uint8, whole).reshape(-1, K) == ord("N")).any(1).sum())


def check_choices(uracil: str, unreadable: str) -> None:
    """Refuse unknown words of the two policies."""
    for name, value, known in (
        ("uracil", uracil, get_args(Uracil)),
        ("unreadable", unreadable, get_args(Unreadable)),
    ):
        if value not in known:
            raise UserError(f"{name}={value!r}: use one of {', '.join(known)}")
