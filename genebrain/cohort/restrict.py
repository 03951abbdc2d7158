"""A cohort without some of its people, everything else about it still true and the loss counted."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from genebrain.cohort.participants import Cohort
from genebrain.cohort.relatedness.kinship import Pairs
from genebrain.common.types import IntArray, UserError


def restrict(cohort: Cohort, keep: IntArray, reason: str) -> Cohort:
    """Keep some people of a cohort, in their order.

    Parameters
    ----------
    cohort : Cohort
    keep : int array
        Sorted row numbers of the people who stay.
    reason : str
        Under which the others are counted in ``funnel["dropped"]``.

    Raises
    ------
    UserError
        If nobody is left.
    """
    if len(keep) == 0:
        raise UserError(f"nobody of {len(cohort)} people is left: {reason}")
    place = np.full(len(cohort), -1)
    place[keep] = np.arange(len(keep))
    scans = cohort.scans[place[cohort.scans["person"]] >= 0].copy()
    scans["person"] = place[scans["person"]]
    pairs = cohort.pairs
    stay = (place[pairs.first] >= 0) & (place[pairs.second] >= 0)
    dropped = dict(cohort.funnel.get("dropped", {}))
    dropped[reason] = dropped.get(reason, 0) + len(cohort) - len(keep)
    digest = hashlib.sha256(cohort.fingerprint.encode() + keep.astype(np.int64).tobytes()).hexdigest()[:32]
    return replace(
        cohort,
        table=cohort.table.iloc[keep].reset_index(drop=True),
        scans=scans.reset_index(drop=True),
        pairs=Pairs(place[pairs.first[stay]], place[pairs.second[stay]], pairs.kinship[stay]),
        funnel={**cohort.funnel, "after_filters": len(keep), "dropped": dropped},
        fingerprint=digest,
    )
