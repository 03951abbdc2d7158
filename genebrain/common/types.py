"""The contracts between rooms: pure typing, shapes documented once, nothing imported from the rooms.

Shapes are written in brackets everywhere in the project: ``[subjects, haplotypes, windows, chunks]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

Metrics = dict[str, Any]
"""One nested, JSON-ready dictionary of numbers, as in ``metrics.json``."""


class UserError(Exception):
    """Something the user can mend: bad input, a wrong option, a file that is not what it should be.

    The command line prints the message (no traceback) and exits with code 2. A message says what was wrong,
    which file, key or count, both numbers where two disagree, and what to do. Problems of one kind are
    collected and reported together.
    """
