"""Parcels that a cohort shares, and values for the few that a subject lacks.

Everything is learned from training subjects. A parcel is used when at least ``min_present`` of the training subjects
have it; a subject that lacks some of the used parcels gets them from its other parcels by the group's regression, so
that an incomplete scan sits near the group mean in what it cannot know. How many parcels were dropped and how many
subjects were filled is counted, never silent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genebrain.common.types import BoolArray, FloatArray, UserError

Float64 = NDArray[np.float64]


class ParcelSums:
    """Sums over subjects of C0 and C1 [P, P], and how many subjects have each pair of parcels."""

    def __init__(self, n_parcels: int) -> None:
        self.n = 0
        self.C0, self.C1, self.pairs = (np.zeros((n_parcels, n_parcels)) for _ in range(3))

    def add(self, C0: FloatArray, C1: FloatArray) -> None:
        """Add a batch [m, P, P]; the rows of a missing parcel are zero and add nothing."""
        present = (np.diagonal(C0, axis1=1, axis2=2) > 0).astype(np.float64)
        self.n += len(C0)
        self.C0 += C0.sum(axis=0, dtype=np.float64)
        self.C1 += C1.sum(axis=0, dtype=np.float64)
        self.pairs += present.T @ present


@dataclass(frozen=True)
class SharedParcels:
    """Parcels used (bool [P]) and the training means (float64 [kept, kept]) that fill gaps."""

    used: BoolArray
    C0: Float64
    C1: Float64

    @classmethod
    def fit(cls, C0: FloatArray, C1: FloatArray, min_present: float = 0.95) -> SharedParcels:
        """Learn from training moments [n, P, P]; zero diagonals mark missing parcels."""
        sums = ParcelSums(C0.shape[-1])
        for start in range(0, len(C0), 64):  # no float64 copy of the whole cohort
            sums.add(C0[start : start + 64], C1[start : start + 64])
        return cls.from_sums(sums, min_present)

    @classmethod
    def from_sums(cls, sums: ParcelSums, min_present: float = 0.95) -> SharedParcels:
        """Learn from sums over training subjects, when their moments do not fit into memory together."""
        used = np.diagonal(sums.pairs) >= min_present * sums.n
        if used.sum() < 2:
            raise UserError(
                f"only {int(used.sum())} of {len(used)} parcels are valid in {min_present:.0%} "
                f"of the {sums.n} training subjects, at least 2 are needed: check atlas and coverage."
            )
        keep = np.flatnonzero(used)
        pairs = np.maximum(sums.pairs[np.ix_(keep, keep)], 1)
        return cls(used, sums.C0[np.ix_(keep, keep)] / pairs, sums.C1[np.ix_(keep, keep)] / pairs)

    def apply(
        self, C0: FloatArray, C1: FloatArray, edges: FloatArray | None
    ) -> tuple[Float64, Float64, Float64 | None, int]:
        """Select the used parcels of a batch [m, P, P] and fill what is missing.

        Returns the three arrays in float64 and the number of subjects that had a gap.
        """
        keep = np.flatnonzero(self.used)
        if not self.used.all():
            C0, C1 = (C[:, keep][:, :, keep] for C in (C0, C1))
            edges = None if edges is None else edges[..., keep]
        c0, c1 = C0.astype(np.float64), C1.astype(np.float64)
        e = None if edges is None else edges.astype(np.float64)
        missing = np.diagonal(c0, axis1=1, axis2=2) <= 0
        gaps = np.flatnonzero(missing.any(axis=1))
        for row in gaps:
            fill, residual = self._regression(missing[row])
            c0[row] = fill @ c0[row] @ fill.T + residual @ self.C0 @ residual.T
            c1[row] = fill @ c1[row] @ fill.T + residual @ self.C1 @ residual.T
            if e is not None:
                e[row] = e[row] @ fill.T
        return c0, c1, e, len(gaps)

    def _regression(self, missing: BoolArray) -> tuple[Float64, Float64]:
        """Maps [P, P]: observed -> all parcels, and the part of missing ones that they do not explain.

        Both together keep a covariance positive definite: it is that of the predicted series plus an
        independent one with the group's residual moments.
        """
        seen = np.flatnonzero(~missing)
        gone = np.flatnonzero(missing)
        if not len(seen):
            raise UserError("a subject has none of the parcels that the training subjects share")
        ridge = 1e-6 * np.trace(self.C0) / len(self.C0) * np.eye(len(seen))
        weights = np.linalg.solve(self.C0[np.ix_(seen, seen)] + ridge, self.C0[np.ix_(seen, gone)]).T
        fill = np.diag((~missing).astype(np.float64))
        fill[np.ix_(gone, seen)] = weights
        residual = np.diag(missing.astype(np.float64))
        residual[np.ix_(gone, seen)] = -weights
        return fill, residual
