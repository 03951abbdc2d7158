"""Which parcels a cohort shares, and how the few that a subject lacks are filled in.

Contract: everything is learned from training subjects. A parcel is used when at least ``min_present`` of the
training subjects have it; a subject that lacks some of the used parcels gets them from its other parcels by
the group's regression, so that an incomplete scan sits near the group mean in what it cannot know. How many
parcels were dropped and how many subjects were filled is counted, never silent.

What it does NOT know: why a parcel is missing, or what is done with the moments afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genebrain.types import BoolArray, FloatArray, UserError

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class SharedParcels:
    """Parcels used (bool [P]) and the training means (float64 [kept, kept]) that fill gaps."""

    used: BoolArray
    C0: Float64
    C1: Float64

    @classmethod
    def fit(cls, C0: FloatArray, C1: FloatArray, min_present: float = 0.95) -> SharedParcels:
        """Learn from training moments [n, P, P]; zero diagonals mark missing parcels."""
        present = np.diagonal(C0, axis1=1, axis2=2) > 0
        used = present.mean(axis=0) >= min_present
        if used.sum() < 2:
            raise UserError(
                f"only {int(used.sum())} of {len(used)} parcels are valid in {min_present:.0%} "
                f"of the {len(C0)} training subjects, at least 2 are needed: check atlas and coverage."
            )
        keep = np.flatnonzero(used)
        # Rows of a missing parcel are zero: divide the sum by the number of subjects that have the pair.
        seen = present[:, keep].astype(np.float64)
        pairs = np.maximum(seen.T @ seen, 1)
        return cls(used, _sum(C0, keep) / pairs, _sum(C1, keep) / pairs)

    def apply(
        self, C0: FloatArray, C1: FloatArray, edges: FloatArray | None
    ) -> tuple[Float64, Float64, Float64 | None, int]:
        """Select the used parcels of a batch [m, P, P] and fill what is missing.

        Returns the three arrays in float64 and the number of subjects that had a gap.
        """
        keep = np.flatnonzero(self.used)
        c0, c1 = (C[:, keep][:, :, keep].astype(np.float64) for C in (C0, C1))
        e = None if edges is None else edges[..., keep].astype(np.float64)
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


def _sum(C: FloatArray, keep: NDArray[np.intp], chunk: int = 64) -> Float64:
    """Sum over subjects in float64 without a float64 copy of the cohort."""
    total = np.zeros((len(keep), len(keep)))
    for start in range(0, len(C), chunk):
        total += C[start : start + chunk].sum(axis=0, dtype=np.float64)[np.ix_(keep, keep)]
    return total
