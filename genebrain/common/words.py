"""Numbers with their nouns, for messages."""

from __future__ import annotations

from collections.abc import Mapping


def counted(n: int, noun: str) -> str:
    """``1 scan``, ``2,000 scans``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def told(reasons: Mapping[str, int]) -> str:
    """Reasons with their numbers of scans, in words."""
    return "; ".join(f"{counted(n, 'scan')}: {reason}" for reason, n in reasons.items())
