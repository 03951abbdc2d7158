"""Divide whole families among parts of given sizes, each site in the same proportions.

scikit-learn's grouped splitters give shares of 1/k only and let sizes drift with the groups; here the sizes
asked for are met within one family, and exactly when enough people have no relatives. Knows labels only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from genebrain.common.types import FloatArray, IntArray


def allocate_families(family: IntArray, sites: pd.Series[str], sizes: Sequence[int], seed: int) -> IntArray:
    """Part number of each person.

    Families are placed at random, the largest first, each in a part with room: the chance of a part is the
    room that it has left at the family's site (the site of most members). Single people come last and fill
    the sizes exactly.

    Parameters
    ----------
    family : int array ``[people]``
        Family labels.
    sites : Series ``[people]``
        Site of each person.
    sizes : sequence of int
        People wanted in each part; their sum must be the number of people.
    seed : int
        Of the order of families and the choice of parts.

    Returns
    -------
    int64 array ``[people]``
    """
    if sum(sizes) != len(family):
        raise ValueError(f"sizes add up to {sum(sizes)}, there are {len(family)} people")
    generator = np.random.default_rng(seed)
    site_names, site = np.unique(sites.to_numpy(dtype=str), return_inverse=True)
    members = [rows for _, rows in sorted(pd.Series(family).groupby(family).indices.items())]
    order = generator.permutation(len(members))
    order = order[np.argsort([-len(members[i]) for i in order], kind="stable")]

    room = np.array(sizes, dtype=np.float64)
    site_room = np.outer(np.bincount(site, minlength=len(site_names)), room / room.sum())
    part = np.empty(len(family), dtype=np.int64)
    for i in order:
        rows = members[i]
        counts = np.bincount(site[rows], minlength=len(site_names))
        at_home = site_room[counts.argmax()]
        chosen = _choose(at_home, room, len(rows), generator)
        part[rows] = chosen
        room[chosen] -= len(rows)
        site_room[:, chosen] -= counts
    return part


def _choose(at_home: FloatArray, room: FloatArray, size: int, generator: np.random.Generator) -> int:
    """A part with room for ``size`` people, by its room at the family's site; the roomiest when none has."""
    fits = room >= size
    if not fits.any():
        return int(room.argmax())
    weights = np.where(fits, np.maximum(at_home, 0), 0.0)
    if weights.sum() <= 0:
        weights = np.where(fits, room, 0.0)
    return int(generator.choice(len(room), p=weights / weights.sum()))
