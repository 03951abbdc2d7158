"""Lines that a user should read before believing a result, each told once per process.

Written to the error stream: what a verb prints as its result stays readable for programs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

log = logging.getLogger(__name__)


_told: set[str] = set()


def tell(lines: Iterable[str], title: str = "") -> None:
    """Write each line that was not written before; ``title`` stands in front of it."""
    for line in lines:
        text = f"{title}{line}"
        if text not in _told:
            _told.add(text)
            log.warning(text)
