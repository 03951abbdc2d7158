"""Messages of the package on the terminal: what it does on the output stream, what needs a look on the error stream.

Every module speaks to ``logging.getLogger(__name__)``; only the command line shows it. A program that calls genebrain
decides itself: ``logging.getLogger("genebrain").setLevel("INFO")``.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

# Of several ranks the first speaks. Tasks of one `srun` may also be shards, whose warnings differ.
RANKS = {"stdout": ("RANK", "LOCAL_RANK", "SLURM_PROCID"), "stderr": ("RANK", "LOCAL_RANK")}


class _Terminal(logging.Handler):
    """Lines of a span of levels, on the stream of the moment (streams are exchanged by notebooks and tests)."""

    def __init__(self, stream: str, lowest: int, highest: int) -> None:
        super().__init__(lowest)
        self.stream, self.highest = stream, highest

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno <= self.highest and first_rank(self.stream)

    def emit(self, record: logging.LogRecord) -> None:
        stream: TextIO = getattr(sys, self.stream)
        stream.write(self.format(record) + "\n")
        stream.flush()


def first_rank(stream: str = "stderr") -> bool:
    """Whether this process speaks for all ranks of a distributed run (``stdout``: for all tasks of one srun too)."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS[stream])


def show_messages() -> None:
    """Show the messages of the package, plain lines as a verb prints them; a second call changes nothing."""
    log = logging.getLogger("genebrain")
    if any(isinstance(handler, _Terminal) for handler in log.handlers):
        return
    log.setLevel(logging.INFO)
    log.propagate = False  # Hydra gives the root logger handlers of its own in a sweep: every line would come twice
    log.addHandler(_Terminal("stdout", logging.INFO, logging.INFO))
    log.addHandler(_Terminal("stderr", logging.WARNING, logging.CRITICAL))
