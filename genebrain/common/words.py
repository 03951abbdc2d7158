"""Words and bars of progress: numbers with their nouns, did-you-mean."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Mapping


def counted(n: int, noun: str) -> str:
    """``1 scan``, ``2,000 scans``; ``1 person``, ``2 people``."""
    many = "people" if noun == "person" else f"{noun}s"
    return f"{n:,} {noun if n == 1 else many}"


def told(reasons: Mapping[str, int]) -> str:
    """Reasons with their numbers of scans, in words."""
    return "; ".join(f"{counted(n, 'scan')}: {reason}" for reason, n in reasons.items())


def no_bar(progress: object = True) -> bool:
    """Whether a progress bar is left out: not wanted, or neither terminal nor notebook, where it would fill a log.

    tqdm itself would read ``TQDM_DISABLE`` only where nothing else is said.
    """
    wanted = progress and os.environ.get("TQDM_DISABLE", "") in ("", "0")
    return not wanted or not (sys.stderr.isatty() or "ipykernel" in sys.modules)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean ...?' or an empty string."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=2, cutoff=0.6)
    if not close:
        leaf = word.rsplit(".", 1)[-1]
        close = [n for n in names if n.rsplit(".", 1)[-1] == leaf][:2] or difflib.get_close_matches(
            leaf, [n.rsplit(".", 1)[-1] for n in names], n=1, cutoff=0.6
        )
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def instead_of(text: str) -> str:
    """What to type in the place of a word that is no ``key=value``."""
    if text.startswith("--"):
        return f"; options have no dashes here: {text.strip('-').partition('=')[0] or 'key'}=VALUE"
    if "=" in text:
        key, _, value = text.partition("=")
        return f" (quote values with spaces, commas or = twice: '{key}=\"{value}\"')"
    return f"; a cohort is named by cohort.path={text}" if text.endswith((".yaml", ".yml")) else ""
