"""Families of a simulated cohort, and inheritance: Mendel with crossing over.

Siblings are pairs of full siblings whose parents are not in the cohort; identical twins are one child twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pedigree:
    """Founders are the genomes that are simulated; people are made of them.

    Attributes
    ----------
    n_founders : int
    parents : int ``[births, 2]``
        Founder rows of mother and father; equal for a person who is a founder.
    birth : int ``[people]``
        Birth of each person; identical twins share one.
    family : int ``[people]``
    """

    n_founders: int
    parents: NDArray[np.int64]
    birth: NDArray[np.int64]
    family: NDArray[np.int64]

    @property
    def is_founder(self) -> NDArray[np.bool_]:
        """Births ``[births]`` that are founders themselves."""
        return np.asarray(self.parents[:, 0] == self.parents[:, 1])

    @property
    def is_only_founders(self) -> bool:
        """Whether everybody is a founder, so that nothing is inherited."""
        return len(self.parents) == self.n_founders and bool(self.is_founder.all())


def plan_families(n_people: int, siblings: float, twins: float) -> Pedigree:
    """Pedigree with the given shares of people in sibling pairs and twin pairs; unrelated people come first."""
    sibling_pairs, twin_pairs = round(n_people * siblings / 2), round(n_people * twins / 2)
    alone = n_people - 2 * (sibling_pairs + twin_pairs)
    couples = sibling_pairs + twin_pairs
    pairs = alone + np.arange(2 * couples).reshape(couples, 2)
    parents = np.concatenate(
        [
            np.repeat(np.arange(alone)[:, None], 2, axis=1),
            np.repeat(pairs[:sibling_pairs], 2, axis=0),
            pairs[sibling_pairs:],
        ]
    )
    birth = np.concatenate(
        [np.arange(alone + 2 * sibling_pairs), alone + 2 * sibling_pairs + np.repeat(np.arange(twin_pairs), 2)]
    )
    family = np.concatenate([np.arange(alone), alone + np.repeat(np.arange(couples), 2)])
    return Pedigree(alone + 2 * couples, parents.astype(np.int64), birth.astype(np.int64), family.astype(np.int64))


def inherit(
    founders: NDArray[np.int8], pedigree: Pedigree, recombination: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int8]:
    """Genomes of the people of a pedigree.

    Parameters
    ----------
    founders : int8 ``[sites, founders, 2]``
    recombination : float ``[sites]``
        Chance of a crossing over between this site and the one before; 0.5 starts a new unlinked stretch.

    Returns
    -------
    int8 ``[sites, people, 2]``
        Founders keep their two copies; of a child, the first copy is the mother's gift.
    """
    if pedigree.is_only_founders:
        return founders
    born = np.empty((len(founders), len(pedigree.parents), 2), np.int8)
    founder = pedigree.is_founder
    born[:, founder] = founders[:, pedigree.parents[founder, 0]]
    children = np.flatnonzero(~founder)
    for side in (0, 1):
        crossed = rng.random((len(founders), len(children))) < recombination[:, None]
        crossed[:1] = rng.random((min(1, len(founders)), len(children))) < 0.5
        copy = np.cumsum(crossed, axis=0) % 2
        gift = founders[:, pedigree.parents[children, side]]
        born[:, children, side] = np.take_along_axis(gift, copy[:, :, None], axis=2)[:, :, 0]
    return born[:, pedigree.birth]
