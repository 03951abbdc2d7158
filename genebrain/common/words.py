"""What is said while work goes on: numbers with their nouns, and whether there are bars."""

from __future__ import annotations

import sys
from collections.abc import Mapping


def counted(n: int, noun: str) -> str:
    """``1 scan``, ``2,000 scans``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def told(reasons: Mapping[str, int]) -> str:
    """Reasons with their numbers of scans, in words."""
    return "; ".join(f"{counted(n, 'scan')}: {reason}" for reason, n in reasons.items())


def no_bar(progress: object = True) -> bool:
    """Whether a progress bar is left out: not wanted, or neither terminal nor notebook, where it would fill a log."""
    return not progress or not (sys.stderr.isatty() or "ipykernel" in sys.modules)
