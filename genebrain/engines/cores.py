"""Cores shared with other programs: how threads of one computation wait for each other.

Threads of GNU OpenMP (PyTorch, scikit-learn) spin while they wait, some milliseconds each time. Where another program
has the core of one of them, the others burn theirs: training two projectors on two busy cores took 141 s (57 of the
processor), with a short spin 23 to 61 s (8 to 20). On idle cores the two differ by less than a tenth.
"""

from __future__ import annotations

import os

SPINS = "10000"  # of some 300,000


def wait_politely() -> None:
    """Shorten the spin, before a library with threads is loaded; what the user has set stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
