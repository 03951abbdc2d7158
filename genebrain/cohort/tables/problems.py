"""Problems with a cohort, collected so that all of them can be told at once.

A reader of the user's files adds to a :class:`Problems` list instead of raising at the first one; the caller decides
when to stop. Messages about the user's own tables may name at most five ids of one kind.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from genebrain.common.types import UserError

Severity = Literal["error", "warning"]
NAMED_AT_MOST = 5


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong (``error``: nothing can run) or doubtful (``warning``: it runs, read this
    first).

    ``kind`` is a short stable name to test for, ``counts`` holds the numbers of the message.
    """

    severity: Severity
    kind: str
    message: str
    counts: dict[str, float] = field(default_factory=dict)


class Problems(list[Problem]):
    """A list of problems with two short ways to add one."""

    def error(self, kind: str, message: str, **counts: float) -> None:
        """Add a problem that forbids any run."""
        self.append(Problem("error", kind, message, counts))

    def warning(self, kind: str, message: str, **counts: float) -> None:
        """Add a problem that the user should know before believing a result."""
        self.append(Problem("warning", kind, message, counts))

    @property
    def errors(self) -> list[Problem]:
        """The problems that forbid a run."""
        return [problem for problem in self if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """The problems that do not."""
        return [problem for problem in self if problem.severity == "warning"]

    def raise_errors(self, what: str) -> None:
        """Raise one :class:`~genebrain.common.types.UserError` that holds every error, or return."""
        if errors := self.errors:
            lines = "\n".join(f"  - {problem.message}" for problem in errors)
            raise UserError(f"{what}: {len(errors)} problem{'s' * (len(errors) > 1)}\n{lines}")


def named(ids: Iterable[object]) -> str:
    """First five of ``ids`` in order, and how many more there are."""
    all_ids = [str(i) for i in ids]
    more = len(all_ids) - NAMED_AT_MOST
    return ", ".join(all_ids[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean `x`?)``, or an empty string when nothing known is close to ``word``."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    return f" (did you mean `{by_lower[close[0]]}`?)" if close else ""
