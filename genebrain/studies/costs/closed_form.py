"""Cost of the closed form with many gene columns: the count of its work, and the pace of this machine.

The work that grows faster than people and columns: the sums of columns x columns over people, their reduction to a
band once per fit, and the sweeps of the sparse priors over them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from genebrain.alignment.closed_form.choice import ClosedFormSettings
from genebrain.alignment.closed_form.spectral import BlockTridiagonal

SETS = 5
"""Sets of gene columns that a fit tries, without the narrow one of rare alleles."""
SWEEPS = 35
"""Sweeps over all columns that row and entry take of one set."""
DIMENSIONS = 24
"""Latents in these sweeps."""
COLUMNS_PER_KB = 3.2
"""Of one set; 10,000 simulated people with 38 windows of 40 kb: 2.9 to 3.6."""
THIN = 3.0
"""A product with as few columns as there are latents takes this much longer per number than one of two tables."""
TRIED = 3000
"""Rows of the table that is tried: too large for most caches, as those of a cohort are."""


@dataclass(frozen=True)
class Pace:
    """Seconds of one core.

    Attributes
    ----------
    product : float
        Per entry and row of a product of tables: of ``X'X`` people x columns x columns.
    reduction : float
        Per third power of the rows of a table that is reduced.
    """

    product: float
    reduction: float

    @classmethod
    def measured(cls) -> Pace:
        """Of this machine, in about three seconds."""
        with threadpool_limits(1, user_api="blas"):
            x = np.random.default_rng(0).normal(size=(TRIED, TRIED))
            started = time.process_time()
            table = x.T @ x
            summed = time.process_time()
            BlockTridiagonal.of(table, np.float32)
            reduced = time.process_time()
        return cls((summed - started) / TRIED**3, (reduced - summed) / TRIED**3)


def columns_of(bases: int) -> int:
    """Columns that one set will have, from the bases of all windows."""
    return round(COLUMNS_PER_KB * bases / 1000)


def table_seconds(people: int, columns: int, pace: Pace) -> float:
    """Core seconds for the tables of a fit; with more columns than people its tables are of people x people."""
    fits = ClosedFormSettings().folds + 1
    side, other = min(people, columns), max(people, columns)
    sums = SETS * pace.product * other * side**2
    reductions = SETS * fits * pace.reduction * side**3
    sweeps = SETS * SWEEPS * DIMENSIONS * fits * THIN * pace.product * columns * side
    return sums + reductions + sweeps
